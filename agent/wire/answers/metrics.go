package answers

import "github.com/prometheus/client_golang/prometheus"

// metrics of the budget.
type metrics struct {
	waits   prometheus.Counter
	refused prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, b *Budget) (*metrics, error) {
	m := &metrics{
		waits: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "leat_wire_answer_memory_waits_total", Help: "Fetches that waited for memory for their answer."}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "leat_wire_answer_memory_refusals_total", Help: "Fetches that answered nothing for want of memory for their answer."}),
	}
	used := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "leat_wire_answer_memory_bytes", Help: "Memory budget held by answers that are assembled or written."},
		func() float64 { return float64(b.Used()) })
	limit := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "leat_wire_answer_memory_limit_bytes", Help: "Memory budget for answers that are assembled or written."},
		func() float64 { return float64(b.limit) })
	for _, c := range []prometheus.Collector{m.waits, m.refused, used, limit} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
