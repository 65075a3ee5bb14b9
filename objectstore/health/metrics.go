package health

import "github.com/prometheus/client_golang/prometheus"

// metrics is what a Store tells Prometheus.
type metrics struct{ probes prometheus.Counter }

func newMetrics(reg prometheus.Registerer, s *Store) metrics {
	m := metrics{probes: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "leat_objectstore_probes_total", Help: "Times that the object store was probed because it seemed not to answer.",
	})}
	if reg != nil {
		reg.MustRegister(m.probes, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "leat_objectstore_stuck", Help: "1 while the object store does not answer this agent, else 0.",
		}, func() float64 {
			if s.Stuck() != nil {
				return 1
			}
			return 0
		}))
	}
	return m
}
