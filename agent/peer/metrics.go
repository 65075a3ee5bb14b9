package peer

import "github.com/prometheus/client_golang/prometheus"

// metrics are what one end counts. Labels come from closed sets: the service's methods, and outcome.
type metrics struct {
	calls    *prometheus.CounterVec // method, outcome
	received prometheus.Counter
	sent     prometheus.Counter
	open     prometheus.Gauge
	rejected *prometheus.CounterVec // reason
}

// The reasons of leat_peer_connections_rejected_total.
const (
	rejectedHandshake = "handshake" // the other end is a stranger, or slow
	rejectedLimit     = "limit"     // too many connections or handshakes
)

// newMetrics registers the metrics of one side, "client" or "server"; reg may be nil.
func newMetrics(reg prometheus.Registerer, side string) (*metrics, error) {
	labels := prometheus.Labels{"side": side}
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "leat_peer_calls_total", Help: "Calls between agents that ended, by method and outcome.", ConstLabels: labels,
		}, []string{"method", "outcome"}),
		received: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "leat_peer_received_bytes_total", Help: "Bytes received from other agents, encryption included.", ConstLabels: labels}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "leat_peer_sent_bytes_total", Help: "Bytes sent to other agents, encryption included.", ConstLabels: labels}),
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "leat_peer_connections_open", Help: "Connections between agents that are open.", ConstLabels: labels}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "leat_peer_connections_rejected_total", Help: "Connections closed before anything was answered, by reason.", ConstLabels: labels,
		}, []string{"reason"}),
	}
	for _, reason := range []string{rejectedHandshake, rejectedLimit} {
		m.rejected.WithLabelValues(reason)
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.calls, m.received, m.sent, m.open, m.rejected} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) count(method string, err error) {
	m.calls.WithLabelValues(method, outcome(err)).Inc()
}
