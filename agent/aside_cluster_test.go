package agent_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leat-stream/leat/objectstore/storetest/minioproc"
	"github.com/leat-stream/leat/objectstore/storetest/miniotest"
)

// line is one agent's line to the bucket, which can be cut: connections end, and new ones end at once; or, if it swallows, they hang.
type line struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu   sync.Mutex
	cut  bool
	open map[net.Conn]bool
}

func newLine(t *testing.T, target string) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &line{listener: l, target: target, open: map[net.Conn]bool{}}
	w.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.running.Go(func() { w.carry(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		w.set(true)
		w.running.Wait()
	})
	return w
}

// carry passes bytes on, both ways.
func (w *line) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", w.target)
	if err != nil {
		return
	}
	defer server.Close()
	w.mu.Lock()
	if w.cut {
		w.mu.Unlock()
		return
	}
	w.open[client], w.open[server] = true, true
	w.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].Close()
		})
	}
	both.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, client)
	delete(w.open, server)
}

func (w *line) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	if cut {
		for c := range w.open {
			_ = c.Close()
		}
	}
}

// lined is an agent behind a line of its own.
type lined struct {
	*running
	line *line
}

func (a *lined) aside() bool   { return a.metric("leat_agent_aside") == 1 }
func (a *lined) leading() bool { return a.metric("leat_metadata_leading") == 1 }

// threeLined starts three agents on one bucket. They know each other.
func threeLined(t *testing.T, server *minioproc.Server, journal string) []*lined {
	t.Helper()
	var all []*lined
	for range 3 {
		l := newLine(t, server.Address)
		cfg := config(strings.ReplaceAll(server.MinioURL("aside"), server.Address, l.listener.Addr().String()), journal)
		all = append(all, &lined{start(t, cfg), l})
	}
	for _, a := range all {
		eventually(t, "all agents know each other", func() bool { return a.metric("leat_agents_alive") == 3 })
	}
	return all
}

// stream is an idempotent producer that writes numbers to every partition, without a pause, until it is stopped.
type stream struct {
	t     *testing.T
	cl    *kgo.Client
	stop  context.CancelFunc
	ended sync.WaitGroup

	mu      sync.Mutex
	acked   map[int32]int
	last    map[int32]time.Time // ack
	longest time.Duration       // without an ack in a partition
}

const asidePartitions = 12

func newStream(t *testing.T, topic string, agents []*lined) *stream {
	t.Helper()
	var seeds []string
	for _, a := range agents {
		seeds = append(seeds, a.addr)
	}
	ctx, stop := context.WithCancel(t.Context())
	s := &stream{t: t, stop: stop, acked: map[int32]int{}, last: map[int32]time.Time{}}
	s.cl = agents[0].client(kgo.SeedBrokers(seeds...), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for p := range int32(asidePartitions) {
		s.ended.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				err := s.cl.ProduceSync(context.WithoutCancel(ctx), &kgo.Record{Partition: p, Value: fmt.Append(nil, n)}).FirstErr()
				if err != nil {
					t.Errorf("partition %d: record %d: %v", p, n, err)
					return
				}
				s.note(p)
				select {
				case <-time.After(20 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
	}
	t.Cleanup(s.end)
	return s
}

func (s *stream) end() {
	s.stop()
	s.ended.Wait()
}

func (s *stream) note(p int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if at, ok := s.last[p]; ok {
		s.longest = max(s.longest, now.Sub(at))
	}
	s.acked[p], s.last[p] = s.acked[p]+1, now
}

// worst is the longest time that a partition was without an ack, up to now, since worst was called.
func (s *stream) worst() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	worst := s.longest
	for _, at := range s.last {
		worst = max(worst, time.Since(at))
	}
	s.longest = 0
	return worst
}

// check reads everything: each acknowledged number once and in order. It ends the stream.
func (s *stream) check(topic string, from *lined) {
	s.t.Helper()
	s.end()
	total := 0
	for _, n := range s.acked {
		total += n
	}
	next := map[int32]int{}
	reader := from.client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for _, r := range consume(s.t, reader, total) {
		if got := fmt.Sprint(next[r.Partition]); got != string(r.Value) {
			s.t.Fatalf("partition %d at %d: %s, want %s", r.Partition, r.Offset, r.Value, got)
		}
		next[r.Partition]++
	}
	ctx, stop := context.WithTimeout(s.t.Context(), time.Second)
	defer stop()
	if more := reader.PollFetches(ctx).NumRecords(); more > 0 {
		s.t.Errorf("%d records more than were acknowledged", more)
	}
}

// leads reports whether an agent stores what producers send.
func (a *lined) leads(t *testing.T) {
	t.Helper()
	before := a.metric("leat_produce_records_total")
	eventually(t, "the agent has its share", func() bool { return a.metric("leat_produce_records_total") > before })
}

func TestAnAgentThatAloneLosesTheBucketStepsAside(t *testing.T) {
	server := miniotest.Start(t)
	agents := threeLined(t, server, "bucket:")
	agents[0].topic("events", asidePartitions)
	s := newStream(t, "events", agents)
	for _, leading := range []bool{false, true} {
		var one *lined
		eventually(t, "somebody leads, and all have their share", func() bool {
			one = nil
			led := 0
			for _, a := range agents {
				if a.leading() {
					led++
				}
				if a.leading() == leading {
					one = a
				}
			}
			return led == 1 && one != nil
		})
		for _, a := range agents {
			a.leads(t)
		}
		s.worst()
		began := time.Now()
		one.line.set(true)
		eventually(t, "it steps aside", one.aside)
		t.Logf("leading %v: aside after %v", leading, time.Since(began))
		if got := one.get("/readyz"); got == "serving\n" {
			t.Error("it says that it serves")
		}
		<-time.After(5 * time.Second)
		worst := s.worst()
		t.Logf("leading %v: longest without an ack: %v", leading, worst)
		if worst > 9*time.Second {
			t.Errorf("clients waited for %v", worst)
		}
		<-time.After(5 * time.Second)
		if worst := s.worst(); worst > 2*time.Second {
			t.Errorf("clients waited for %v after it had stepped aside", worst)
		}
		one.line.set(false)
		began = time.Now()
		eventually(t, "it comes back", func() bool { return !one.aside() && one.get("/readyz") == "serving\n" })
		t.Logf("leading %v: back after %v", leading, time.Since(began))
		one.leads(t)
	}
	s.check("events", agents[1])
}
