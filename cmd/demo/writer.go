package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// codecs are all that Kafka has, by the name of the topic that each fills.
var codecs = []struct {
	topic string
	codec kgo.CompressionCodec
}{
	{"demo-none", kgo.NoCompression()},
	{"demo-gzip", kgo.GzipCompression()},
	{"demo-snappy", kgo.SnappyCompression()},
	{"demo-lz4", kgo.Lz4Compression()},
	{"demo-zstd", kgo.ZstdCompression()},
}

// writer sends the whole corpus to one topic, with one codec.
type writer struct {
	topic string
	codec kgo.CompressionCodec

	mu             sync.Mutex
	records, bytes int64 // of text, acknowledged; guarded by mu
	sent           int64 // bytes of batches after compression; guarded by mu
	err            error // the first that failed; guarded by mu
	took           time.Duration
}

var _ kgo.HookProduceBatchWritten = (*writer)(nil)

// OnProduceBatchWritten counts bytes after compression.
func (w *writer) OnProduceBatchWritten(_ kgo.BrokerMetadata, _ string, _ int32, m kgo.ProduceBatchMetrics) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent += int64(m.CompressedBytes)
}

// run sends all files, record by record; the records of a file have its name as key, so they keep their order.
func (w *writer) run(ctx context.Context, broker string, files []file) error {
	began := time.Now()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.DefaultProduceTopic(w.topic), kgo.ProducerBatchCompression(w.codec),
		kgo.ProducerLinger(10*time.Millisecond), kgo.WithHooks(w))
	if err != nil {
		return fmt.Errorf("%s: %w", w.topic, err)
	}
	defer client.Close()
	for _, f := range files {
		for record, rest := next(f.text); len(record) > 0; record, rest = next(rest) {
			client.Produce(ctx, &kgo.Record{Key: []byte(f.name), Value: record}, w.acknowledged)
		}
		if w.failed() != nil {
			break
		}
	}
	err = client.Flush(ctx)
	w.took = time.Since(began)
	if err = errors.Join(w.failed(), err); err != nil {
		return fmt.Errorf("%s: %w", w.topic, err)
	}
	return nil
}

func (w *writer) acknowledged(r *kgo.Record, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		if w.err == nil {
			w.err = err
		}
		return
	}
	w.records++
	w.bytes += int64(len(r.Value))
}

func (w *writer) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}
