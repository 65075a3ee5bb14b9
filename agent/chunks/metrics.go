package chunks

import "github.com/prometheus/client_golang/prometheus"

// from is where bytes came from.
type from int

const (
	fromBucket from = iota
	fromOwner
	fromWriter
	origins
)

// reason is why the bucket was asked although a peer should have the bytes.
type reason int

const (
	avoiding reason = iota // it failed lately
	slow                   // it gave no byte for too long
	busy                   // it said so
	missing                // it did not find the object
	length                 // it answered another number of bytes
	failed                 // any other error
	wanted                 // another agent waits for the same bytes, so this one may not wait for any
	reasons
)

var (
	fromNames   = [origins]string{"bucket", "peer", "writer"}
	reasonNames = [reasons]string{"avoided", "slow", "busy", "missing", "length", "failed", "wanted"}
	winnerNames = [2]string{fromBucket: "bucket", fromOwner: "peer"}
	classNames  = [2]string{"tail", "backfill"}
)

// metrics of a Reader.
type metrics struct {
	reads     [origins]prometheus.Counter
	bytes     [origins]prometheus.Counter
	fallbacks [reasons]prometheus.Counter
	hedges    [2]prometheus.Counter // by who won: fromBucket or fromOwner
}

// served are the metrics of a Server, by class.
type served struct {
	reads, bytes, refused [2]prometheus.Counter
}

func counters(name, help, label string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
}

// resolve fills one counter per name.
func resolve(v *prometheus.CounterVec, into []prometheus.Counter, names []string) {
	for i, name := range names {
		into[i] = v.WithLabelValues(name)
	}
}

// newMetrics registers the metrics of r.
func newMetrics(reg prometheus.Registerer, r *Reader) (*metrics, error) {
	m := &metrics{}
	reads := counters("leat_chunks_reads_total", "Reads that the cache missed, by where the bytes came from.", "from")
	bytes := counters("leat_chunks_read_bytes_total", "Bytes that the cache missed, by where they came from.", "from")
	fallbacks := counters("leat_chunks_fallbacks_total", "Reads that asked the bucket although a peer should have the bytes, by reason.", "reason")
	hedges := counters("leat_chunks_hedges_total", "Reads that asked the bucket while a peer had not answered, by who was first.", "winner")
	resolve(reads, m.reads[:], fromNames[:])
	resolve(bytes, m.bytes[:], fromNames[:])
	resolve(fallbacks, m.fallbacks[:], reasonNames[:])
	resolve(hedges, m.hedges[:], winnerNames[:])
	return m, register(reg, reads, bytes, fallbacks, hedges,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "leat_chunks_avoided_peers", Help: "Peers that are not asked now because they failed.",
		}, r.avoided.count),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "leat_chunks_bucket_seconds", Help: "How long a read from the bucket usually takes, in seconds.",
		}, func() float64 { return r.usual.get().Seconds() }))
}

func newServed(reg prometheus.Registerer) (*served, error) {
	s := &served{}
	reads := counters("leat_chunks_served_reads_total", "Reads served to peers.", "class")
	bytes := counters("leat_chunks_served_bytes_total", "Bytes served to peers.", "class")
	refused := counters("leat_chunks_refused_reads_total", "Reads refused to peers because there were too many, or given up by them.", "class")
	resolve(reads, s.reads[:], classNames[:])
	resolve(bytes, s.bytes[:], classNames[:])
	resolve(refused, s.refused[:], classNames[:])
	return s, register(reg, reads, bytes, refused)
}

// register registers all or fails; reg may be nil.
func register(reg prometheus.Registerer, all ...prometheus.Collector) error {
	if reg == nil {
		return nil
	}
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			return err
		}
	}
	return nil
}
