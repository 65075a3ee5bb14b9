package replica

import "github.com/prometheus/client_golang/prometheus"

// metrics of a replica. Names are documented by their help texts.
type metrics struct {
	applied   prometheus.Gauge
	commands  prometheus.Counter
	append    prometheus.Histogram
	snapshots *prometheus.CounterVec
	snapIndex prometheus.Gauge
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
		snapshots: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "leat_metadata_snapshots_total", Help: "Snapshots of the metadata, by outcome: published, superseded or failed.",
		}, []string{"outcome"}),
		snapIndex: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "leat_metadata_snapshot_index", Help: "Journal index of the newest snapshot that this agent published or loaded.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.applied, m.commands, m.append, m.snapshots, m.snapIndex)
	}
	return m
}
