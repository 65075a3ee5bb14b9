package snapshot

import "github.com/prometheus/client_golang/prometheus"

// metrics of a writer. Names are documented by their help texts.
type metrics struct {
	snapshots *prometheus.CounterVec
	snapIndex prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		snapshots: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "leat_metadata_snapshots_total", Help: "Snapshots of the metadata, by outcome: published, superseded, dropped or failed.",
		}, []string{"outcome"}),
		snapIndex: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "leat_metadata_snapshot_index", Help: "Journal index of the newest snapshot that this agent published or loaded.",
		}),
	}
	for _, outcome := range []string{"published", "superseded", "dropped", "failed"} {
		m.snapshots.WithLabelValues(outcome)
	}
	if reg != nil {
		reg.MustRegister(m.snapshots, m.snapIndex)
	}
	return m
}
