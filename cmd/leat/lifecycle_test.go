package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/batch"
	"github.com/leat-stream/leat/objectstore/storetest/minioproc"
	"github.com/leat-stream/leat/objectstore/storetest/miniotest"
)

// beats counts the heartbeats that were answered to one client.
type beats struct{ answered atomic.Int64 }

func (b *beats) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e kgo.BrokerE2E) {
	if key == kmsg.Heartbeat.Int16() && e.Err() == nil {
		b.answered.Add(1)
	}
}

func TestKillNineCausesNoRebalance(t *testing.T) {
	addr := freeAddress(t)
	args := []string{"--listen", addr, "--store", "file://" + t.TempDir() + "/bucket"}
	agent := startAgent(t, args...)
	adm := kadm.NewClient(client(t, addr))
	if _, err := adm.CreateTopic(bounded(t), 2, 1, nil, "words"); err != nil {
		t.Fatal(err)
	}
	type member struct {
		cl         *kgo.Client
		beats      beats
		assigned   atomic.Int64
		revoked    atomic.Int64
		id         string
		generation int32
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var polling sync.WaitGroup
	defer polling.Wait()
	defer stop()
	members := []*member{{}, {}}
	for _, m := range members {
		lost := func(context.Context, *kgo.Client, map[string][]int32) { m.revoked.Add(1) }
		m.cl = client(t, addr, patient(t), persistent, kgo.ConsumerGroup("pair"), kgo.ConsumeTopics("words"), kgo.HeartbeatInterval(100*time.Millisecond),
			kgo.WithHooks(&m.beats), kgo.OnPartitionsRevoked(lost), kgo.OnPartitionsLost(lost),
			kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, got map[string][]int32) {
				m.assigned.Add(int64(len(got["words"])))
			}))
		polling.Go(func() {
			for ctx.Err() == nil {
				m.cl.PollFetches(ctx)
			}
		})
	}
	stable := func() bool {
		groups, err := adm.DescribeGroups(bounded(t), "pair")
		if err != nil || groups["pair"].State != "Stable" || len(groups["pair"].Members) != 2 {
			return false
		}
		for _, m := range groups["pair"].Members {
			a, ok := m.Assigned.AsConsumer()
			if !ok || len(a.Topics) != 1 || len(a.Topics[0].Partitions) != 1 {
				return false
			}
		}
		return true
	}
	agent.until("both members have a partition", stable)
	for _, m := range members {
		m.revoked.Store(0)
		m.id, m.generation = m.cl.GroupMetadata()
	}
	for range 3 {
		agent.Kill()
		agent = startAgent(t, args...)
		for i, m := range members {
			before := m.beats.answered.Load()
			agent.until(fmt.Sprintf("member %d is alive again", i), func() bool { return m.beats.answered.Load() >= before+3 })
			if id, generation := m.cl.GroupMetadata(); id != m.id || generation != m.generation || m.revoked.Load() != 0 {
				t.Errorf("member %d: %s in generation %d is now %s in %d; partitions were taken from it %d times",
					i, m.id, m.generation, id, generation, m.revoked.Load())
			}
		}
		if !stable() {
			t.Error("the group is not stable any more")
		}
	}
}

func TestAgentsShareABucket(t *testing.T) {
	server := miniotest.Start(t)
	t.Run("a client does not notice that the agent it talks to leaves", func(t *testing.T) {
		args := []string{"--store", server.S3URL("busy")}
		first := startAgent(t, args...)
		second := startAgent(t, args...)
		produceOne(t, second.addr, "the first record")
		var mu sync.Mutex
		acked := map[int64]string{}
		producer := client(t, first.addr, kgo.DefaultProduceTopic("words"))
		ctx, stop := context.WithCancel(bounded(t))
		defer stop()
		var producing sync.WaitGroup
		producing.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				producer.Produce(context.WithoutCancel(ctx), kgo.StringRecord(fmt.Sprint("record ", i)), func(r *kgo.Record, err error) {
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						t.Errorf("%s: %v", r.Value, err)
					}
					acked[r.Offset] = string(r.Value)
				})
				<-time.After(time.Millisecond) // paces the producer
			}
		})
		count := func() int {
			mu.Lock()
			defer mu.Unlock()
			return len(acked)
		}
		second.until("records flow", func() bool { return count() > 100 })
		first.drain()
		before := count()
		second.until("records flow again", func() bool { return count() > before+100 })
		third := startAgent(t, args...)
		second.drain()
		before = count()
		third.until("records flow at the third", func() bool { return count() > before+100 })
		stop()
		producing.Wait()
		if err := producer.Flush(bounded(t)); err != nil {
			t.Fatal(err)
		}

		reader := client(t, third.addr, kgo.ConsumeTopics("words"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		order := 0
		for next, end := int64(0), int64(count()+1); next < end; {
			for _, r := range reader.PollFetches(bounded(t)).Records() {
				switch want := fmt.Sprint("record ", order); {
				case r.Offset != next:
					t.Fatalf("offset %d follows %d", r.Offset, next-1)
				case r.Offset == 0:
				case string(r.Value) != want || acked[r.Offset] != want:
					t.Fatalf("offset %d holds %q, want %q; acknowledged was %q", r.Offset, r.Value, want, acked[r.Offset])
				default:
					order++
				}
				next++
			}
		}
		third.drain()
	})
	t.Run("one that slept begins anew and does no harm", func(t *testing.T) {
		args := []string{"--store", server.MinioURL("asleep")}
		first := startAgent(t, args...)
		first.Signal(syscall.SIGSTOP)
		second := startAgent(t, args...)
		produceOne(t, second.addr, "by the second")
		second.until("the first counts as dead", func() bool {
			return strings.Contains(second.stderr.String(), "session of an agent closed")
		})
		first.Signal(syscall.SIGCONT)
		first.until("it begins anew", func() bool { return strings.Count(first.stderr.String(), "msg=serving") == 2 })
		produceOne(t, first.addr, "by the first")
		second.drain()
		produceOne(t, first.addr, "by the first alone")
		first.drain()
	})
	t.Run("a bolt journal says that it is for one", func(t *testing.T) {
		args := []string{"--store", "file://" + t.TempDir() + "/bucket"}
		first := startAgent(t, args...)
		second, code := run(t, nil, agentArgs(args...)...)
		oneError(t, second, code, "in use by another process", "bucket:")
		first.drain()
	})
}

func produceOne(t *testing.T, addr, value string) {
	t.Helper()
	cl := client(t, addr, kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("words"))
	defer cl.Close()
	if err := cl.ProduceSync(bounded(t), kgo.StringRecord(value)).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func TestDrainAnswersWhatIsInFlight(t *testing.T) {
	// Records gather for long enough that they are in the buffer when the agent is told to stop.
	agent := startAgent(t, "--store", "file://"+t.TempDir()+"/bucket", "--flush-interval", "30s", "--early-puts", "0")
	if _, err := kadm.NewClient(client(t, agent.addr)).CreateTopics(bounded(t), 1, 1, nil, "words", "silent"); err != nil {
		t.Fatal(err)
	}
	for range 20 { // idle connections
		c, err := net.Dial("tcp", agent.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	poll := make(chan error, 1)
	consumer := client(t, agent.addr, kgo.ConsumeTopics("silent"), kgo.FetchMaxWait(5*time.Minute),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	go func() { poll <- consumer.PollFetches(bounded(t)).Err() }() // ends at the latest with the client

	producer := client(t, agent.addr, kgo.DefaultProduceTopic("words"))
	var acked atomic.Int64
	for i := range 50 {
		producer.Produce(t.Context(), kgo.StringRecord(fmt.Sprint(i)), func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("a record that was in flight: %v", err)
				return
			}
			acked.Add(1)
		})
	}
	go func() { _ = producer.Flush(bounded(t)) }()
	agent.until("the records and the fetch are in flight", func() bool {
		page := agent.get("/metrics")
		return metric(page, "leat_produce_buffered_bytes") > 0 && metric(page, "leat_fetch_waiting") > 0
	})
	// The log of the agent, read below, would tell of connections that are cut off, or of records that are not stored in time.
	if took := agent.drain(); took > 25*time.Second { // below what records would gather for
		t.Errorf("draining took %v", took)
	}
	if acked.Load() != 50 {
		t.Errorf("%d of 50 records were acknowledged", acked.Load())
	}
	if text := agent.stderr.String(); strings.Contains(text, "level=WARN") || strings.Contains(text, "level=ERROR") {
		t.Errorf("it complains:\n%s", text)
	}
}

// metric answers the value of a series of a metrics page, 0 if it is not there.
func metric(page, series string) (value float64) {
	for line := range strings.Lines(page) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			_, _ = fmt.Sscan(rest, &value)
		}
	}
	return value
}

func TestBucketGoesAwayAndComesBack(t *testing.T) {
	dir := t.TempDir()
	server, err := minioproc.Start(t.Context(), dir, minioproc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { server.Stop() }()
	for _, e := range server.Env() {
		name, value, _ := strings.Cut(e, "=")
		t.Setenv(name, value)
	}
	agent := startAgent(t, "--store", server.S3URL("away"))
	produceOne(t, agent.addr, "0")

	var mu sync.Mutex
	acked := map[int64]string{}
	producer := client(t, agent.addr, kgo.DefaultProduceTopic("words"), kgo.MaxBufferedRecords(100))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var producing sync.WaitGroup
	producing.Go(func() {
		for i := 1; ctx.Err() == nil; i++ {
			producer.Produce(t.Context(), kgo.StringRecord(fmt.Sprint(i)), func(r *kgo.Record, err error) {
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					if ctx.Err() == nil {
						t.Errorf("record %q: %v", r.Value, err)
					}
					return
				}
				acked[r.Offset] = string(r.Value)
			})
			<-time.After(time.Millisecond) // paces the producer
		}
	})
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(acked)
	}
	for round := range 2 {
		before := count()
		agent.until("records are acknowledged", func() bool { return count() > before+50 })
		if round == 0 {
			server.Stop() // it refuses connections
		} else {
			server.Signal(syscall.SIGSTOP) // it does not answer
		}
		// A client that has patience for a second is told something that makes it try again.
		if code := produceBriefly(t, agent.addr); !retriable(code) {
			t.Errorf("while the bucket is away: %v", kerr.ErrorForCode(code))
		}
		agent.alive()
		if round == 0 {
			if server, err = minioproc.Start(t.Context(), dir, minioproc.Options{Address: server.Address}); err != nil {
				t.Fatal(err)
			}
		} else {
			server.Signal(syscall.SIGCONT)
		}
		before = count()
		agent.until("records are acknowledged again", func() bool { return count() > before+50 })
	}
	stop()
	producing.Wait()
	if err := producer.Flush(bounded(t)); err != nil {
		t.Fatal(err)
	}
	reader := client(t, agent.addr, kgo.ConsumeTopics("words"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for found := 0; found < len(acked); {
		fetches := reader.PollFetches(bounded(t))
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d: %v", found, len(acked), err)
		}
		for _, r := range fetches.Records() {
			if value, ok := acked[r.Offset]; ok {
				found++
				if value != string(r.Value) {
					t.Fatalf("offset %d is %q, acknowledged was %q", r.Offset, r.Value, value)
				}
			}
		}
	}
	agent.drain()
}

func retriable(code int16) bool { return code != 0 && kerr.IsRetriable(kerr.ErrorForCode(code)) }

// produceBriefly asks for one record to be stored within a second, and answers the error code. A client of kgo's would hide it.
func produceBriefly(t *testing.T, addr string) int16 {
	t.Helper()
	b := batch.NewBuilder(batch.Options{})
	b.Append(time.Now().UnixMilli(), nil, []byte("impatient"))
	records, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(8)
	req.Acks, req.TimeoutMillis = -1, 1000
	topic, partition := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	topic.Topic, partition.Records = "words", records
	topic.Partitions = append(topic.Partitions, partition)
	req.Topics = append(req.Topics, topic)

	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)); err != nil {
		t.Fatal(err)
	}
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c, answer); err != nil {
		t.Fatal(err)
	}
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	resp.SetVersion(8)
	if err := resp.ReadFrom(answer[4:]); err != nil {
		t.Fatal(err)
	}
	return resp.Topics[0].Partitions[0].ErrorCode
}
