package fetch

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/objectstore"
)

// cause is why a partition could not be read.
type cause int

const (
	missing cause = iota // the bucket has no such object
	corrupt              // its bytes are not those that were written
	away                 // the bucket did not answer
	causes
)

var causeNames = [causes]string{"missing", "corrupt", "unreachable"}

// causeOf tells why the bytes that the metadata names could not be had.
func causeOf(err error) cause {
	switch {
	case errors.Is(err, objectstore.ErrNotFound):
		return missing
	case errors.Is(err, ErrStorage): // assembly and cursor found them wrong
		return corrupt
	}
	return away
}

// metrics of the read path, by stage of the journey.
type metrics struct {
	records, bytes              prometheus.Counter
	seconds, locate, wait, read prometheus.Histogram
	failures                    [causes]prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, waiting *Waiters) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	seconds := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16)})
	}
	m := &metrics{
		records: counter("leat_fetch_records_total", "Records answered to fetches; whole batches, as they are sent."),
		bytes:   counter("leat_fetch_bytes_total", "Bytes of record batches answered to fetches."),
		seconds: seconds("leat_fetch_seconds", "Time of fetches that answered records, waiting included, in seconds."),
		locate:  seconds("leat_fetch_locate_seconds", "Time to find where the wanted offsets are, proof of a bad offset included, in seconds."),
		wait:    seconds("leat_fetch_wait_seconds", "Time that fetches waited for more records, of those that had to, in seconds."),
		read:    seconds("leat_fetch_read_seconds", "Time to read and assemble the records of a fetch, from the cache or beyond, in seconds."),
	}
	failures := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "leat_fetch_failures_total", Help: "Partitions of fetches that failed because an object was missing, corrupt or out of reach, by cause.",
	}, []string{"cause"})
	for c, name := range causeNames {
		m.failures[c] = failures.WithLabelValues(name)
	}
	if reg != nil {
		reg.MustRegister(m.records, m.bytes, m.seconds, m.locate, m.wait, m.read, failures, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "leat_fetch_waiting", Help: "Fetches that wait for more records.",
		}, waiting.count))
	}
	return m
}
