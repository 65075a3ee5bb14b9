package traffic

import "github.com/prometheus/client_golang/prometheus"

var (
	records = prometheus.NewDesc("leat_topic_records_total",
		"Records acknowledged (in) and answered to fetches (out), by topic: at most 1,000 topics apart, the rest as (other).",
		[]string{"topic", "direction"}, nil)
	bytes = prometheus.NewDesc("leat_topic_bytes_total",
		"Bytes of record batches acknowledged (in) and answered to fetches (out), as stored, by topic: at most 1,000 topics apart, the rest as (other).",
		[]string{"topic", "direction"}, nil)
	counted = prometheus.NewDesc("leat_topic_counted", "Topics that this agent counts apart.", nil, nil)
)

// Describe implements prometheus.Collector.
func (t *Topics) Describe(ch chan<- *prometheus.Desc) {
	ch <- records
	ch <- bytes
	ch <- counted
}

// Collect implements prometheus.Collector.
func (t *Topics) Collect(ch chan<- prometheus.Metric) {
	all := t.named()
	for name, s := range all {
		s.in.collect(ch, name, "in")
		s.out.collect(ch, name, "out")
	}
	ch <- prometheus.MustNewConstMetric(counted, prometheus.GaugeValue, float64(len(all)-1))
}

func (f *flow) collect(ch chan<- prometheus.Metric, labels ...string) {
	ch <- prometheus.MustNewConstMetric(records, prometheus.CounterValue, float64(f.records.Load()), labels...)
	ch <- prometheus.MustNewConstMetric(bytes, prometheus.CounterValue, float64(f.bytes.Load()), labels...)
}
