package replica

import "github.com/prometheus/client_golang/prometheus"

// metrics of a replica. Names are documented by their help texts.
type metrics struct {
	applied, known, leading   prometheus.Gauge
	commands, terms, diverged prometheus.Counter
	append                    prometheus.Histogram

	newest uint64 // what known says; the owner's
}

// newMetrics asks known for a leader at every scrape: 1 or 0.
func newMetrics(reg prometheus.Registerer, known func() float64) *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		applied:  gauge("leat_metadata_applied_index", "Index of the last journal entry applied by this agent."),
		known:    gauge("leat_metadata_known_index", "Index of the newest journal entry that this agent has heard of; less the applied index, it is what this agent lacks."),
		leading:  gauge("leat_metadata_leading", "1 while this agent is the metadata leader, else 0."),
		commands: counter("leat_metadata_commands_total", "Commands committed and applied."),
		terms:    counter("leat_metadata_terms_total", "Metadata leaders that began while this agent ran, as far as it has seen."),
		diverged: counter("leat_metadata_diverged_total", "How often this agent's metadata differed from the leader's and were loaded anew."),
		append: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "leat_journal_append_seconds", Help: "Time to append one entry to the journal, until its outcome is known, in seconds.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}),
	}
	if reg != nil {
		reg.MustRegister(m.applied, m.known, m.commands, m.append, m.leading, m.terms, m.diverged)
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "leat_metadata_leader_known",
			Help: "1 while this agent leads the metadata, or has heard of who does within 3 seconds, else 0; a leader whose append hangs for longer does not count.",
		}, known))
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
