package replica

import "github.com/prometheus/client_golang/prometheus"

// metrics of a replica. Names are documented by their help texts.
type metrics struct {
	applied  prometheus.Gauge
	commands prometheus.Counter
	append   prometheus.Histogram
	leading  prometheus.Gauge
	terms    prometheus.Counter
	diverged prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		applied: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "leat_metadata_applied_index", Help: "Index of the last journal entry applied by this agent.",
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
		reg.MustRegister(m.applied, m.commands, m.append, m.leading, m.terms, m.diverged)
	}
	return m
}
