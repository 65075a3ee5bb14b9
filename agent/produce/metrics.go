package produce

import "github.com/prometheus/client_golang/prometheus"

// metrics of the write path, by stage of the journey.
type metrics struct {
	records, bytes, refused, objects, uploadErrors, missing prometheus.Counter
	sealSeconds, uploadSeconds, queueSeconds, commitSeconds prometheus.Histogram
	ackSeconds, objectBytes                                 prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, buf *buffer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	seconds := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16)})
	}
	m := &metrics{
		records:       counter("leat_produce_records_total", "Records acknowledged, duplicates not counted."),
		bytes:         counter("leat_produce_bytes_total", "Bytes of record batches acknowledged, as stored, duplicates not counted."),
		refused:       counter("leat_produce_refused_batches_total", "Batches refused: because of what they are, by the metadata, or because the bucket was away."),
		objects:       counter("leat_produce_objects_total", "Objects committed."),
		missing:       counter("leat_produce_missing_predecessors_total", "Batches of idempotent producers refused after a wait, because batches before them never came."),
		uploadErrors:  counter("leat_produce_upload_errors_total", "Failed attempts to store an object."),
		sealSeconds:   seconds("leat_produce_seal_seconds", "Time from accept until the buffer was sealed, of its oldest batch, in seconds."),
		uploadSeconds: seconds("leat_produce_upload_seconds", "Time to store one object, with all its attempts, in seconds."),
		queueSeconds:  seconds("leat_produce_queue_seconds", "Time that a stored object waited for those before it, and for the commit under way, in seconds."),
		commitSeconds: seconds("leat_produce_commit_seconds", "Time to commit stored objects, until this agent has applied that, in seconds."),
		ackSeconds:    seconds("leat_produce_ack_seconds", "Time from accept to acknowledgement of a batch, in seconds."),
		objectBytes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "leat_produce_object_bytes", Help: "Size of stored objects in bytes.", Buckets: prometheus.ExponentialBuckets(1<<10, 4, 9),
		}),
	}
	if reg != nil {
		reg.MustRegister(m.records, m.bytes, m.refused, m.objects, m.uploadErrors, m.missing,
			m.sealSeconds, m.uploadSeconds, m.queueSeconds, m.commitSeconds, m.ackSeconds, m.objectBytes,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "leat_produce_buffered_bytes", Help: "Bytes of record batches between accept and acknowledgement.",
			}, buf.heldBytes),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "leat_produce_buffered_limit_bytes", Help: "Bytes of record batches between accept and acknowledgement at most: then connections are left unread.",
			}, func() float64 { return float64(buf.limit) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "leat_produce_early_batches", Help: "Batches of idempotent producers that wait for their predecessors.",
			}, func() float64 { return float64(buf.lobby.n.Load()) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "leat_produce_early_batches_total", Help: "Batches of idempotent producers that arrived before their predecessors.",
			}, func() float64 { return float64(buf.lobby.waited.Load()) }))
	}
	return m
}
