//go:build localstack

package localstack

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// slot is where a record is in the topic.
type slot struct {
	partition int32
	offset    int64
}

// traffic is one idempotent producer that counts up, from partition to partition, until it is told to stop.
type traffic struct {
	topic  string
	client *kgo.Client
	stop   context.CancelFunc
	done   chan struct{} // closed when nothing more is produced

	mu     sync.Mutex
	acked  map[slot]string
	failed []error
}

const (
	partitions = 6
	pace       = 4 * time.Millisecond // between two records
)

// startTraffic makes the topic and begins.
func startTraffic(t *testing.T, topic string, addresses []string) *traffic {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	r := &traffic{topic: topic, stop: stop, done: make(chan struct{}), acked: map[slot]string{}}
	r.client = newClient(t, addresses, kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(5*time.Millisecond))
	if _, err := kadm.NewClient(r.client).CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	go r.run(ctx) // finish waits for it, and the cleanup
	t.Cleanup(func() {
		stop()
		<-r.done
	})
	return r
}

func (r *traffic) run(ctx context.Context) {
	defer close(r.done)
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		record := &kgo.Record{Partition: int32(n % partitions), Value: []byte(strconv.Itoa(n))}
		r.client.Produce(context.WithoutCancel(ctx), record, func(record *kgo.Record, err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if err != nil {
				r.failed = append(r.failed, err)
				return
			}
			r.acked[slot{record.Partition, record.Offset}] = string(record.Value)
		})
	}
}

func (r *traffic) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.acked)
}

// flows waits until so many more records are acknowledged.
func (r *traffic) flows(t *testing.T, more int) {
	t.Helper()
	want := r.count() + more
	eventually(t, strconv.Itoa(more)+" more records are acknowledged", func() bool { return r.count() >= want })
}

// finish stops producing, waits for all answers, and compares what was acknowledged with the log that addresses serve: each record once,
// at its offset, in order, and nothing else.
func (r *traffic) finish(t *testing.T, addresses []string) {
	t.Helper()
	r.stop()
	<-r.done
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.client.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, err := range r.failed {
		t.Errorf("produce: %v", err)
	}
	log, last := r.read(ctx, t, addresses), map[int32]int{}
	for _, record := range log {
		at := slot{record.Partition, record.Offset}
		if want := r.acked[at]; want != string(record.Value) {
			t.Errorf("%v holds %q, acknowledged was %q", at, record.Value, want)
		}
		n, err := strconv.Atoi(string(record.Value))
		if before, any := last[record.Partition]; err != nil || any && n != before+partitions {
			t.Errorf("%v holds %q after %d", at, record.Value, before)
		}
		last[record.Partition] = n
	}
	if len(log) != len(r.acked) {
		t.Errorf("the log has %d records, %d were acknowledged", len(log), len(r.acked))
	}
	t.Logf("%d records, each once and in order", len(log))
}

// read reads the topic from its beginning to its end.
func (r *traffic) read(ctx context.Context, t *testing.T, addresses []string) (all []*kgo.Record) {
	t.Helper()
	client := newClient(t, addresses, kgo.ConsumeTopics(r.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, r.topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	left := 0
	ends.Each(func(o kadm.ListedOffset) { left += int(o.Offset) })
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d records are missing: %v", left, err)
		}
		all = append(all, fetches.Records()...)
		left -= fetches.NumRecords()
	}
	return all
}

// newClient makes a client, closed when the test ends.
func newClient(t *testing.T, addresses []string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(addresses...), kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.AlwaysRetryEOF(), // else a connection that dies with its first request passes for a refused login
		kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }),
	}, opts...)...)
	if err != nil {
		t.Fatalf("client of %s: %v", strings.Join(addresses, ","), err)
	}
	t.Cleanup(client.Close)
	return client
}
