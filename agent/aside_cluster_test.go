package agent_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leat-stream/leat/agent"
	"github.com/leat-stream/leat/metadata/journal/etcd/etcdproc"
	"github.com/leat-stream/leat/objectstore/storetest/minioproc"
	"github.com/leat-stream/leat/objectstore/storetest/miniotest"
)

// line is one agent's line to the bucket. Cut, connections end, and new ones end at once; or nothing more comes through.
type line struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu    sync.Mutex
	state condition
	open  map[net.Conn]bool
}

// condition is that of a line.
type condition int

const (
	whole condition = iota
	cut
	silent
)

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
		w.set(cut)
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
	if w.state == cut {
		w.mu.Unlock()
		return
	}
	w.open[client], w.open[server] = true, true
	w.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			_, _ = io.Copy(valve{way[0], w}, way[1])
			_ = way[0].Close()
		})
	}
	both.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, client)
	delete(w.open, server)
}

// valve lets bytes through unless the line is silent: what was written then is lost, and the connection with it.
type valve struct {
	net.Conn
	line *line
}

func (v valve) Write(b []byte) (int, error) {
	v.line.mu.Lock()
	state := v.line.state
	v.line.mu.Unlock()
	if state == silent {
		return len(b), nil
	}
	return v.Conn.Write(b)
}

// set changes the condition. Connections of a line that is whole again, or cut, begin anew.
func (w *line) set(state condition) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.state = state; state != silent {
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

// threeLined starts three agents on one bucket.
func threeLined(t *testing.T, server *minioproc.Server, place, journal string) []*lined {
	t.Helper()
	return startLined(t, 3, server, place, journal, nothing)
}

// nothing leaves the configuration of agents as it is.
func nothing(*agent.Config) {}

// startLined starts agents on one bucket. They know each other.
func startLined(t *testing.T, n int, server *minioproc.Server, place, journal string, change func(*agent.Config)) (all []*lined) {
	t.Helper()
	for range n {
		l := newLine(t, server.Address)
		cfg := config(strings.ReplaceAll(server.MinioURL(place), server.Address, l.listener.Addr().String()), journal)
		change(&cfg)
		all = append(all, &lined{start(t, cfg), l})
	}
	for _, a := range all {
		eventually(t, "all agents know each other", func() bool { return a.metric("leat_agents_alive") == float64(n) })
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
	late    time.Duration       // of all beats together: how long this machine let goroutines wait
}

// asidePartitions are so many that no agent of three is without one.
const asidePartitions = 36

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
				case <-time.After(50 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
	}
	s.ended.Go(func() { s.beat(ctx) })
	t.Cleanup(s.end)
	return s
}

// beat notes how late this machine is.
func (s *stream) beat(ctx context.Context) {
	const pause = 50 * time.Millisecond
	for ctx.Err() == nil {
		began := time.Now()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		s.mu.Lock()
		s.late += max(0, time.Since(began)-pause)
		s.mu.Unlock()
	}
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

// worst is the longest time that a partition was without an ack, up to now, since worst was called; and how late beats were in all.
func (s *stream) worst() (worst, late time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	worst, late = s.longest, s.late
	for _, at := range s.last {
		worst = max(worst, time.Since(at))
	}
	s.longest, s.late = 0, 0
	return worst, late
}

// settle waits until every partition has had so many more acks.
func (s *stream) settle(acks int) {
	s.t.Helper()
	s.mu.Lock()
	before := maps.Clone(s.acked)
	s.mu.Unlock()
	eventually(s.t, "all partitions are written", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for p := range int32(asidePartitions) {
			if s.acked[p] < before[p]+acks {
				return false
			}
		}
		return true
	})
}

// steady reports whether something holds for a second.
func steady(holds func() bool) bool {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 20 {
		if !holds() {
			return false
		}
		<-tick.C
	}
	return true
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

// oneOf is the agent that leads the metadata, or one that does not.
func oneOf(t *testing.T, agents []*lined, leading bool) (one *lined) {
	t.Helper()
	eventually(t, "one agent leads", func() bool {
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
	return one
}

// TestAgentsThatLoseTheBucket runs clusters on one MinIO. They wait most of the time, so as many run at once as there are processors.
func TestAgentsThatLoseTheBucket(t *testing.T) {
	server := miniotest.Start(t)
	for _, test := range []struct { // those that take longest first
		name string
		run  func(*testing.T, *minioproc.Server)
	}{
		{"one steps aside, the journal in the bucket", oneStepsAside},
		{"one that is aside stops in time", oneAsideStopsInTime},
		{"one steps aside, the journal elsewhere", oneStepsAsideWithItsJournal},
		{"all stay, the journal elsewhere", func(t *testing.T, server *minioproc.Server) { allStay(t, server, "all-elsewhere", etcdURL(t)) }},
		{"behind one address connections end", connectionsEndBehindOneAddress},
		{"all stay, the journal in the bucket", func(t *testing.T, server *minioproc.Server) { allStay(t, server, "all", "bucket:") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, server)
		})
	}
}

// oneStepsAside: whichever agent it is that alone loses the bucket, and however, its producers go on elsewhere within seconds, nothing is
// lost or doubled, and it has its share again when the bucket is back.
func oneStepsAside(t *testing.T, server *minioproc.Server) {
	agents := threeLined(t, server, "alone", "bucket:")
	agents[0].topic("events", asidePartitions)
	s := newStream(t, "events", agents)
	s.survives(agents, false, cut)
	s.survives(agents, true, cut)
	s.survives(agents, true, silent)
	s.check("events", agents[1])
}

// oneStepsAsideWithItsJournal: the same, and who leads goes on leading.
func oneStepsAsideWithItsJournal(t *testing.T, server *minioproc.Server) {
	agents := threeLined(t, server, "alone-elsewhere", etcdURL(t))
	agents[0].topic("events", asidePartitions)
	s := newStream(t, "events", agents)
	s.survives(agents, true, cut)
	s.check("events", agents[1])
}

// survives cuts the line of the agent that leads the metadata, or of another, and mends it again.
func (s *stream) survives(agents []*lined, leading bool, how condition) {
	t := s.t
	t.Helper()
	one := oneOf(t, agents, leading)
	for _, a := range agents {
		a.leads(t)
	}
	s.worst()
	began := time.Now()
	one.line.set(how)
	eventually(t, "it steps aside", one.aside)
	aside := time.Since(began)
	if got := one.get("/readyz"); got == "serving\n" {
		t.Error("it says that it serves")
	}
	s.settle(20)
	worst, late := s.worst()
	t.Logf("leading %v, how %v: aside after %v, longest without an ack %v; this machine was late by %v", leading, how, aside, worst, late)
	if worst > 20*time.Second+late { // the times add up to six, and this machine is busy
		t.Errorf("clients waited for %v", worst)
	}
	if stored := one.metric("leat_produce_records_total"); !steady(func() bool { return one.metric("leat_produce_records_total") == stored }) {
		t.Error("clients still come")
	}
	one.line.set(whole)
	began = time.Now()
	eventually(t, "it comes back", func() bool { return !one.aside() && one.get("/readyz") == "serving\n" })
	t.Logf("back after %v", time.Since(began))
	one.leads(t)
}

// etcdURL is a journal in an etcd of its own.
func etcdURL(t *testing.T) string {
	t.Helper()
	etcd, err := etcdproc.Start(t.Context(), t.TempDir(), etcdproc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Stop)
	return etcd.URL("leat/aside")
}

// allStay: if the bucket is away for all, producers wait, and then everything is as it was before. Nobody is moved for long.
func allStay(t *testing.T, server *minioproc.Server, place, journal string) {
	agents := threeLined(t, server, place, journal)
	agents[0].topic("events", asidePartitions)
	s := newStream(t, "events", agents)
	for _, a := range agents {
		a.leads(t)
	}
	for _, a := range agents {
		a.line.set(cut)
	}
	for _, a := range agents {
		eventually(t, "it notices", func() bool { return a.metric("leat_objectstore_stuck") == 1 })
	}
	for _, a := range agents { // with the journal elsewhere, the last one to say so has all of them serve again
		eventually(t, "it does not leave its work to others that cannot do it either", func() bool {
			return a.get("/readyz") == "serving\n" && a.metric("leat_agent_aside") == 0
		})
	}
	for _, a := range agents {
		a.line.set(whole)
	}
	for _, a := range agents {
		eventually(t, "it is as before", func() bool {
			return a.metric("leat_objectstore_stuck") == 0 && a.metric("leat_agents_alive") == 3 && a.metric("leat_agent_aside") == 0
		})
	}
	for _, a := range agents {
		a.leads(t)
	}
	s.check("events", agents[1])
}

// connectionsEndBehindOneAddress while the agent is aside: nobody can tell these clients where to go, but their next connection may land
// elsewhere.
func connectionsEndBehindOneAddress(t *testing.T, server *minioproc.Server) {
	agents := startLined(t, 2, server, "shared", "bucket:", func(c *agent.Config) {
		c.Wire.Listeners[0].Advertised, c.Wire.Listeners[0].Shared = "balancer.example.org:9092", true
	})
	one := oneOf(t, agents, false)
	one.topic("events", 1)
	waits, idles := one.dial(), one.dial()
	for _, c := range []*conn{waits, idles} {
		if p := c.produce("events", oneBatch(t, 1)); p.ErrorCode != 0 {
			t.Fatal(p)
		}
	}
	one.line.set(cut)
	if p := waits.produce("events", oneBatch(t, 1)); p.ErrorCode != kerr.KafkaStorageError.Code {
		t.Error(p)
	}
	if !one.aside() {
		t.Error("it gave a batch up for another reason")
	}
	waits.closed()
	idles.closed()
	one.line.set(whole)
	eventually(t, "it comes back", func() bool { return !one.aside() })
	again := one.dial()
	if !steady(func() bool { return again.produce("events", oneBatch(t, 1)).ErrorCode == 0 }) {
		t.Error("it does not serve again")
	}
}
