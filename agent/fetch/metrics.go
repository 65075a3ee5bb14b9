package fetch

import "github.com/prometheus/client_golang/prometheus"

// metrics of the read path.
type metrics struct {
	bytes    prometheus.Counter
	seconds  prometheus.Histogram
	failures prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, waiting *Waiters) *metrics {
	m := &metrics{
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "leat_fetch_bytes_total", Help: "Bytes of record batches answered to fetches.",
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "leat_fetch_seconds", Help: "Time of fetches that answered records, waiting included, in seconds.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "leat_fetch_failures_total", Help: "Partitions of fetches that failed because an object was missing, corrupt or out of reach.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.bytes, m.seconds, m.failures, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "leat_fetch_waiting", Help: "Fetches that wait for more records.",
		}, waiting.count))
	}
	return m
}
