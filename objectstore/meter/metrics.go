package meter

import "github.com/prometheus/client_golang/prometheus"

// metrics are what a Store tells Prometheus. The caller registers the Store, which collects them.
type metrics struct {
	requests *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	broken   prometheus.Counter
}

func newMetrics() metrics {
	return metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "leat_objectstore_requests_total",
			Help: "Requests to the object store as it bills them, by operation and outcome.",
		}, []string{"operation", "outcome"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "leat_objectstore_bytes_total",
			Help: "Bytes of object bodies sent to and read from the object store, by operation.",
		}, []string{"operation"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "leat_objectstore_request_seconds",
			Help:    "Seconds until a call was answered, for get until its first byte, by operation.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16), // 0.5 ms to 16 s
		}, []string{"operation"}),
		broken: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "leat_objectstore_broken_reads_total",
			Help: "Objects whose bytes broke off while they were read.",
		}),
	}
}

// Describe implements prometheus.Collector.
func (m metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.all() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.all() {
		c.Collect(ch)
	}
}

func (m metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.bytes, m.seconds, m.broken}
}
