package api

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/api/versions"
	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// reached is an agent that clients reach over the network, and what they asked it.
type reached struct {
	*server
	address string

	mu       sync.Mutex
	produced map[int32]int  // batches by partition, refused ones, too
	fetched  map[int32]int  // fetches that named the partition, by partition
	answered map[string]int // batches by how they were answered
}

// reach starts an agent behind real connections.
func (w *world) reach(node int32, zone string) *reached {
	w.t.Helper()
	a := &reached{produced: map[int32]int{}, fetched: map[int32]int{}, answered: map[string]int{}}
	cfg := wire.Default()
	cfg.Listeners, cfg.Zone, cfg.Drain = []wire.Listener{{Name: "default", Address: "127.0.0.1:0"}}, zone, 0
	front, err := wire.New(cfg, versions.Range, w.log, prometheus.NewRegistry())
	must(w.t, err)
	must(w.t, front.Listen(w.ctx))
	a.address = front.Advertised("default")
	a.server = w.agent(metadata.Identity{
		Session: state.UUID{byte(node)}, NodeID: node, Agent: fmt.Sprint("agent-", node), Zone: zone,
		Listeners: []state.Listener{{Name: "default", Address: a.address}},
	}, func(d *Deps) {
		d.Advertise = front.Advertised
		d.Nudges = NewNudges(settledNudges(), nil)
	})
	w.run(func(ctx context.Context) error { return front.Serve(ctx, a) })
	return a
}

// Begin implements wire.Handler.
func (a *reached) Begin(ctx context.Context, r wire.Request, body kmsg.Request) func() wire.Response {
	finish := a.Server.Begin(ctx, r, body)
	a.mu.Lock()
	defer a.mu.Unlock()
	switch req := body.(type) {
	case *kmsg.ProduceRequest:
		for _, t := range req.Topics {
			for _, p := range t.Partitions {
				a.produced[p.Partition]++
			}
		}
	case *kmsg.FetchRequest:
		for _, t := range req.Topics {
			for _, p := range t.Partitions {
				a.fetched[p.Partition]++
			}
		}
	}
	return func() wire.Response {
		got := finish()
		if resp, ok := got.Message.(*kmsg.ProduceResponse); ok {
			a.mu.Lock()
			defer a.mu.Unlock()
			for _, t := range resp.Topics {
				for _, p := range t.Partitions {
					a.answered[errorName(p.ErrorCode)]++
				}
			}
		}
		return got
	}
}

func (a *reached) count(of map[int32]int, partition int32) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return of[partition]
}

func client(t *testing.T, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(options,
		kgo.MetadataMinAge(20*time.Millisecond), kgo.DisableClientMetrics(), kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond }))...)
	must(t, err)
	t.Cleanup(cl.Close)
	return cl
}

const crowdedPartitions = 8

// led is the partitions that an agent leads, in its own eyes.
func (a *reached) led() (partitions []int32) {
	view := a.Brokers.View()
	var id state.UUID
	must(a.t, a.Session.Ask(a.t.Context(), metadata.Local(), func(r state.Reader) {
		t, _ := r.TopicByName("t")
		id = t.ID
	}))
	for p := range int32(crowdedPartitions) {
		if b, _ := view.Leader(id, p, a.client.Zone); b.Session == a.Session.ID() {
			partitions = append(partitions, p)
		}
	}
	return partitions
}

// writer produces numbers to each partition, in order, always with several batches in flight, until it is told to stop.
func writer(t *testing.T, cl *kgo.Client, until func() bool) (written [crowdedPartitions]int) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	var failed atomic.Bool
	for !until() {
		if time.Now().After(deadline) || failed.Load() {
			t.Fatal("the producer does not follow")
		}
		for p := range written {
			cl.Produce(t.Context(), &kgo.Record{Topic: "t", Partition: int32(p), Value: []byte(fmt.Sprint(written[p]))}, func(_ *kgo.Record, err error) {
				if err != nil {
					failed.Store(true)
					t.Errorf("partition %d: %v", p, err)
				}
			})
			written[p]++
		}
	}
	must(t, cl.Flush(t.Context()))
	return written
}

// checkNumbers reads everything back: each number once, in order.
func checkNumbers(t *testing.T, address string, written [crowdedPartitions]int) {
	t.Helper()
	total := 0
	for _, n := range written {
		total += n
	}
	cl := client(t, kgo.SeedBrokers(address), kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	var next [crowdedPartitions]int
	for read := 0; read < total; {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		fetches := cl.PollFetches(ctx)
		cancel()
		for _, e := range fetches.Errors() {
			t.Fatalf("%d of %d read: %v", read, total, e.Err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if string(r.Value) != fmt.Sprint(next[r.Partition]) || r.Offset != int64(next[r.Partition]) {
				t.Fatalf("partition %d: %s at %d, want %d", r.Partition, r.Value, r.Offset, next[r.Partition])
			}
			next[r.Partition]++
			read++
		})
	}
}

// TestProducersFollowNudgesInSequence: kgo with five requests in flight writes to one agent; another joins, leaves, and every record is
// there once, in order, without an error.
func TestProducersFollowNudgesInSequence(t *testing.T) {
	w := newWorld(t)
	first := w.reach(1, "z")
	first.create("t", crowdedPartitions)
	cl := client(t, kgo.SeedBrokers(first.address), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0), kgo.ProducerBatchMaxBytes(1000), kgo.MaxBufferedRecords(2000))
	var second *reached
	phase := 0
	written := writer(t, cl, func() bool {
		switch phase {
		case 0: // the first has served everything
			if first.count(first.produced, 0) > 20 {
				second = w.reach(2, "z")
				phase++
			}
		case 1: // what the second leads has moved
			first.sees(2)
			phase++
		case 2:
			for _, p := range second.led() {
				if second.count(second.produced, p) < 20 {
					return false
				}
			}
			second.meets(state.LeaveSession{Session: second.Session.ID()})
			first.mu.Lock()
			clear(first.produced)
			first.mu.Unlock()
			phase++
		case 3: // and back
			for _, p := range []int32{0, 1, 2, 3, 4, 5, 6, 7} {
				if first.count(first.produced, p) < 20 {
					return false
				}
			}
			return true
		}
		return false
	})
	checkNumbers(t, first.address, written)
	for _, a := range []*reached{first, second} {
		if a.answered[nudged] == 0 || len(a.answered) != 2 { // served and nudged: a batch that overtook another would be out of order
			t.Errorf("agent %d answered %v", a.Session.NodeID(), a.answered)
		}
	}
}

// consume reads until it has as many records as were written and the condition holds; more are written as long as it does not.
func consume(t *testing.T, w *kgo.Client, r *kgo.Client, until func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	wrote, read := 0, 0
	for !until() || read < wrote {
		if !until() {
			for p := range int32(crowdedPartitions) {
				must(t, w.ProduceSync(ctx, &kgo.Record{Topic: "t", Partition: p, Value: []byte("v")}).FirstErr())
				wrote++
			}
		}
		fetches := r.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("%d of %d read: %v", read, wrote, err)
		}
		for _, e := range fetches.Errors() {
			t.Fatal(e.Err)
		}
		read += fetches.NumRecords()
	}
}

func TestAConsumerReadsInItsRack(t *testing.T) {
	w := newWorld(t)
	near, far := w.reach(1, "z1"), w.reach(2, "z2")
	near.sees(2)
	near.create("t", crowdedPartitions)
	producer := client(t, kgo.SeedBrokers(near.address), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	consumer := client(t, kgo.SeedBrokers(near.address), kgo.ClientID("app,zone=z1"), kgo.Rack("z2"), kgo.ConsumeTopics("t"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond), kgo.DisableFetchSessions())
	consume(t, producer, consumer, func() bool {
		for p := range int32(crowdedPartitions) {
			if far.count(far.fetched, p) < 20 {
				return false
			}
		}
		return true
	})
	for p := range int32(crowdedPartitions) {
		if n := near.count(near.fetched, p); n > 2 {
			t.Errorf("partition %d was fetched %d times in the other zone", p, n)
		}
	}
}

func TestConsumersFollowNudges(t *testing.T) {
	w := newWorld(t)
	first := w.reach(1, "z")
	first.create("t", crowdedPartitions)
	producer := client(t, kgo.SeedBrokers(first.address), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	consumer := client(t, kgo.SeedBrokers(first.address), kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(50*time.Millisecond), kgo.DisableFetchSessions())
	consume(t, producer, consumer, func() bool { return first.count(first.fetched, 0) > 3 })
	second := w.reach(2, "z")
	first.sees(2)
	consume(t, producer, consumer, func() bool {
		for _, p := range second.led() {
			if second.count(second.fetched, p) < 5 {
				return false
			}
		}
		return true
	})
}
