package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	partitions = 16
	valueSize  = 1 << 10
	// buffered records bound the producer's memory: 64 MiB, enough for four batches of 1 MiB to each partition.
	buffered = 64 << 10
)

// values are sentences of made-up words, the same in each run, which lz4 halves as it does with much real data.
var values = func() [][]byte {
	chance := rand.New(rand.NewPCG(1, 2))
	words := make([][]byte, 2000)
	for i := range words {
		word := make([]byte, 3+chance.IntN(9))
		for j := range word {
			word[j] = byte('a' + chance.IntN(26))
		}
		words[i] = append(word, ' ')
	}
	all := make([][]byte, 4096)
	for i := range all {
		value := make([]byte, 0, valueSize+12)
		for len(value) < valueSize {
			value = append(value, words[chance.IntN(len(words))]...)
		}
		all[i] = value[:valueSize]
	}
	return all
}()

// load is a way to produce.
type load struct {
	name   string
	linger time.Duration
	batch  int32 // bytes
	codec  kgo.CompressionCodec
}

var loads = []load{
	{"produce, linger 10 ms, batches of 16 KiB", 10 * time.Millisecond, 16 << 10, kgo.NoCompression()},
	{"produce, linger 100 ms, batches of 1 MiB", 100 * time.Millisecond, 1 << 20, kgo.NoCompression()},
	{"produce lz4, linger 10 ms, batches of 1 MiB", 10 * time.Millisecond, 1 << 20, kgo.Lz4Compression()},
}

// create makes a topic of many partitions.
func create(ctx context.Context, broker, topic string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		return err
	}
	defer client.Close()
	answers, err := kadm.NewClient(client).CreateTopics(ctx, partitions, 1, nil, topic)
	return errors.Join(err, answers.Error())
}

// send sends records as fast as they are taken, for as long as length, and waits until all are acknowledged by acks=all,
// the producer being idempotent as Kafka's own is. It answers the bytes of values.
func send(ctx context.Context, broker, topic string, l load, length time.Duration) (int64, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(l.linger),
		kgo.ProducerBatchMaxBytes(l.batch), kgo.ProducerBatchCompression(l.codec), kgo.MaxBufferedRecords(buffered))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	var acknowledged atomic.Int64
	var failed atomic.Pointer[error]
	done := func(_ *kgo.Record, err error) {
		if err != nil {
			failed.CompareAndSwap(nil, &err)
			return
		}
		acknowledged.Add(valueSize)
	}
	for i, began := 0, time.Now(); i%256 != 0 || time.Since(began) < length; i++ {
		client.Produce(ctx, &kgo.Record{Value: values[i%len(values)]}, done)
	}
	if err := client.Flush(ctx); err != nil {
		return 0, err
	}
	if err := failed.Load(); err != nil {
		return 0, fmt.Errorf("produce: %w", *err)
	}
	return acknowledged.Load(), nil
}

// consume reads a topic from its start until it has as many bytes of values.
func consume(ctx context.Context, broker, topic string, want int64) (int64, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxBytes(50<<20))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	var have int64
	for have < want {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return 0, fmt.Errorf("consume: %w", err)
		}
		fetches.EachRecord(func(r *kgo.Record) { have += int64(len(r.Value)) })
	}
	return have, nil
}

// pace is how many records a second the measurement of acknowledgements sends.
const pace = 1000

// acknowledgements sends records one by one, pace a second, with a linger of 5 ms, and answers how long each took from
// Produce to its acknowledgement, sorted.
func acknowledgements(ctx context.Context, broker, topic string, length time.Duration) ([]time.Duration, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(5*time.Millisecond))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if err := client.ProduceSync(ctx, &kgo.Record{Value: values[0]}).FirstErr(); err != nil { // connected, producer id at hand
		return nil, err
	}
	var mu sync.Mutex
	var took []time.Duration
	var failed error
	began := time.Now()
	ticker := time.NewTicker(time.Second / pace)
	defer ticker.Stop()
	for sent := 0; ctx.Err() == nil && time.Since(began) < length; <-ticker.C {
		for ; sent < int(time.Since(began)*pace/time.Second); sent++ { // a late tick sends what it has missed
			at := time.Now()
			client.Produce(ctx, &kgo.Record{Value: values[sent%len(values)]}, func(_ *kgo.Record, err error) {
				mu.Lock()
				defer mu.Unlock()
				took, failed = append(took, time.Since(at)), errors.Join(failed, err)
			})
		}
	}
	err = client.Flush(ctx)
	mu.Lock()
	defer mu.Unlock()
	if err = errors.Join(err, failed); err == nil && len(took) == 0 {
		err = errors.New("nothing was acknowledged")
	}
	slices.Sort(took)
	return took, err
}
