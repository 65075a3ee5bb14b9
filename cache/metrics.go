package cache

import "github.com/prometheus/client_golang/prometheus"

// tier is where a chunk was found.
type tier int

const (
	tierWindow tier = iota
	tierMemory
	tierDisk
	tiers
)

var (
	tierNames  = [tiers]string{"window", "memory", "disk"}
	classNames = [classes]string{"tail", "backfill"}
)

// perClass is one counter for each class of reads.
type perClass [classes]prometheus.Counter

// metrics are the counters of one cache, resolved once so that a hit costs no look-up.
//
// collectors and registerer are set by Open.
type metrics struct {
	hits      [tiers]perClass
	misses    perClass
	joined    perClass
	readBytes perClass
	gets      perClass
	getBytes  perClass
	getErrors perClass
	evictions [tiers]prometheus.Counter
	inFlight  prometheus.Gauge

	diskSkipped prometheus.Counter
	diskCorrupt prometheus.Counter
	diskOff     prometheus.Gauge

	collectors []prometheus.Collector
	registerer prometheus.Registerer
}

func newMetrics() *metrics {
	m := &metrics{}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.collectors = append(m.collectors, v)
		return v
	}
	classed := func(name, help string) (p perClass) {
		v := vec(name, help, "class")
		for c := range classes {
			p[c] = v.WithLabelValues(classNames[c])
		}
		return p
	}
	hits := vec("leat_cache_hits_total", "Chunks found, by tier and class of the read.", "tier", "class")
	evictions := vec("leat_cache_evictions_total", "Chunks that had to leave a tier.", "tier")
	for t := range tiers {
		m.evictions[t] = evictions.WithLabelValues(tierNames[t])
		for c := range classes {
			m.hits[t][c] = hits.WithLabelValues(tierNames[t], classNames[c])
		}
	}
	m.misses = classed("leat_cache_misses_total", "Chunks found in no tier.")
	m.joined = classed("leat_cache_joined_total", "Chunks for which a reader waited for another reader's flight.")
	m.readBytes = classed("leat_cache_read_bytes_total", "Bytes answered to readers.")
	m.gets = classed("leat_cache_gets_total", "GETs sent to the source.")
	m.getBytes = classed("leat_cache_get_bytes_total", "Bytes read from the source.")
	m.getErrors = classed("leat_cache_get_errors_total", "GETs that failed.")
	m.diskSkipped = vec("leat_cache_disk_skipped_total", "Chunks not written to disk because its queue was full.").WithLabelValues()
	m.diskCorrupt = vec("leat_cache_disk_corrupt_total", "Chunks on disk that failed their checksum.").WithLabelValues()
	m.inFlight = prometheus.NewGauge(prometheus.GaugeOpts{Name: "leat_cache_gets_in_flight", Help: "GETs under way."})
	m.diskOff = prometheus.NewGauge(prometheus.GaugeOpts{Name: "leat_cache_disk_off", Help: "1 once the disk tier was given up."})
	m.collectors = append(m.collectors, m.inFlight, m.diskOff)
	return m
}

// register adds the collectors and the gauges of c to r, all or none.
func (m *metrics) register(r prometheus.Registerer, c *Cache) error {
	if r == nil {
		return nil
	}
	held := func(name string, value func() int64) {
		m.collectors = append(m.collectors, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "leat_cache_held_bytes", Help: "Bytes held, by tier.", ConstLabels: prometheus.Labels{"tier": name},
		}, func() float64 { return float64(value()) }))
	}
	held("window_tail", c.windows[Tail].held)
	held("window_backfill", c.windows[Backfill].held)
	held("memory", c.memory.held)
	if c.disk != nil {
		held("disk", c.disk.held)
	}
	m.registerer = r
	for i, collector := range m.collectors {
		if err := r.Register(collector); err != nil {
			m.collectors = m.collectors[:i]
			m.unregister()
			return err
		}
	}
	return nil
}

// unregister removes what register added, so that a cache can be opened again with the same registerer.
func (m *metrics) unregister() {
	if m.registerer == nil {
		return
	}
	for _, collector := range m.collectors {
		m.registerer.Unregister(collector)
	}
	m.registerer = nil
}
