package replica

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/metadata/state"
)

// metrics of a replica. Names are documented by their help texts.
type metrics struct {
	applied  prometheus.Gauge
	known    prometheus.Gauge
	commands prometheus.Counter
	append   prometheus.Histogram
	leading  prometheus.Gauge
	terms    prometheus.Counter
	diverged prometheus.Counter

	newest uint64 // what known says; the owner's
}

func newMetrics(reg prometheus.Registerer, r *Replica) *metrics {
	m := &metrics{
		applied: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "leat_metadata_applied_index", Help: "Index of the last journal entry applied by this agent.",
		}),
		known: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "leat_metadata_known_index", Help: "Index of the newest journal entry that this agent has heard of: what it lacks is this less the applied index.",
		}),
		commands: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "leat_metadata_commands_total", Help: "Commands committed and applied.",
		}),
		append: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "leat_journal_append_seconds", Help: "Time to append one entry to the journal, until its outcome is known, in seconds.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}),
		leading: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "leat_metadata_leading", Help: "1 while this agent is the metadata leader, else 0.",
		}),
		terms: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "leat_metadata_terms_total", Help: "Fences applied by this agent: metadata leaders that it has seen begin.",
		}),
		diverged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "leat_metadata_diverged_total", Help: "How often this agent's metadata differed from the leader's and were loaded anew.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.applied, m.known, m.commands, m.append, m.leading, m.terms, m.diverged)
		for _, c := range r.seen() {
			reg.MustRegister(c)
		}
	}
	return m
}

// heard notes that there is an entry of that index.
func (m *metrics) heard(index uint64) {
	if index > m.newest {
		m.newest = index
		m.known.Set(float64(index))
	}
}

// seen are gauges of the state, which is looked at when they are read.
func (r *Replica) seen() []prometheus.Collector {
	gauge := func(name, help string, of func(state.Reader) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			r.mu.RLock()
			defer r.mu.RUnlock()
			if r.st == nil { // it is being loaded
				return 0
			}
			return of(r.st.Reader())
		})
	}
	return []prometheus.Collector{
		gauge("leat_metadata_term", "Term of the metadata leader that this agent knows: the journal index of its fence.", func(s state.Reader) float64 {
			_, term := s.Leader()
			return float64(term)
		}),
		gauge("leat_metadata_topics", "Topics of the cluster.", func(s state.Reader) float64 {
			topics, _ := s.TopicCount()
			return float64(topics)
		}),
		gauge("leat_metadata_partitions", "Partitions of the cluster.", func(s state.Reader) float64 {
			_, partitions := s.TopicCount()
			return float64(partitions)
		}),
		gauge("leat_metadata_time_seconds", "Largest time that an agent ever put into a command, in seconds since the epoch.", func(s state.Reader) float64 {
			_, latest := s.Time()
			return float64(latest) / 1000
		}),
		gauge("leat_metadata_time_unconfirmed_seconds",
			"By how much the metadata's time jumped without being confirmed, in seconds: while it is not 0, nothing expires by time.", func(s state.Reader) float64 {
				steady, latest := s.Time()
				return float64(latest-steady) / 1000
			}),
	}
}
