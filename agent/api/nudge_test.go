package api

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/batch"
	"github.com/leat-stream/leat/metadata/state"
)

// nudging is an agent of zone z1 whose neighbour 11 in the zone leads the partition that the tests use.
type nudging struct {
	*server
	now       time.Time
	partition int32 // that 11 leads
	own       int32 // that this agent leads
	metrics   *prometheus.Registry
}

func newNudging(t *testing.T) *nudging {
	t.Helper()
	n := &nudging{now: time.Now().Add(time.Hour), metrics: prometheus.NewRegistry()} // all came into view before
	n.server = crowd(t, func(d *Deps) {
		cfg := Default()
		cfg.Clock = func() time.Time { return n.now }
		d.Nudges = NewNudges(cfg, n.metrics)
	})
	n.client.Conn = 7
	n.create("t", 30)
	found := 0
	for i, p := range n.ask(describe(12, "t")).(*kmsg.MetadataResponse).Topics[0].Partitions {
		switch p.Leader {
		case 11:
			n.partition = int32(i)
			found |= 1
		case 5:
			n.own = int32(i)
			found |= 2
		}
	}
	if found != 3 {
		t.Fatal("nobody leads anything")
	}
	return n
}

// from is a batch of two records of an idempotent producer.
func (n *nudging) from(id int64, epoch int16, first int32) []byte {
	return records(n.t, batch.Options{Producer: &batch.Producer{ID: id, Epoch: epoch, BaseSequence: first}}, "a", "b")
}

func (n *nudging) plain() []byte { return records(n.t, batch.Options{}, "a", "b") }

const (
	served = "ok"
	nudged = "NOT_LEADER_FOR_PARTITION"
)

// sends produces bytes to the partition, and wants this outcome.
func (n *nudging) sends(label, want string, bytes []byte) {
	n.t.Helper()
	if got := errorName(n.produce("t", n.partition, bytes).ErrorCode); got != want {
		n.t.Errorf("%s: %s, want %s", label, got, want)
	}
}

func TestAProducerIsNudgedOnceAndThenServed(t *testing.T) {
	n := newNudging(t)
	n.sends("first", nudged, n.from(1, 0, 0))
	n.sends("the same again", served, n.from(1, 0, 0))
	n.sends("the next", served, n.from(1, 0, 2))
	if got := n.produce("t", n.own, n.from(1, 0, 0)); got.ErrorCode != 0 {
		t.Errorf("what this agent leads: %s", errorName(got.ErrorCode))
	}
	n.now = n.now.Add(9 * time.Second)
	n.sends("before the interval is over", served, n.from(1, 0, 4))
	n.now = n.now.Add(2 * time.Second)
	n.sends("after the interval", nudged, n.from(1, 0, 6))
	n.sends("once", served, n.from(1, 0, 6))
	n.now = n.now.Add(19 * time.Second)
	n.sends("the interval has doubled", served, n.from(1, 0, 8))
	n.now = n.now.Add(2 * time.Second)
	n.sends("after twice the interval", nudged, n.from(1, 0, 10))
	n.client.Conn = 8
	n.sends("another connection", nudged, n.from(1, 0, 10))
	if got := n.produce("t", n.partition, n.from(1, 0, 10)); got.BaseOffset != 10 {
		t.Errorf("base offset %d: something was accepted that was refused", got.BaseOffset)
	}
	families, err := n.metrics.Gather()
	must(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "leat_api_nudges_total" && m.GetLabel()[0].GetValue() == "Produce" && m.GetCounter().GetValue() == 4 {
				return
			}
		}
	}
	t.Errorf("four nudges are not counted: %v", families)
}

// TestPipelinedBatchesStayBehindTheNudgedOne: all are begun before any is answered, as a producer with five in flight sends them.
func TestPipelinedBatchesStayBehindTheNudgedOne(t *testing.T) {
	n := newNudging(t)
	pipeline := func(want string, first ...int32) {
		t.Helper()
		var finish []func() string
		for _, q := range first {
			begun := n.begin(produceOne(12, "t", n.partition, n.from(1, 0, q)))
			finish = append(finish, func() string {
				return errorName(begun().Message.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode)
			})
		}
		for i, f := range finish {
			if got := f(); got != want {
				t.Errorf("batch at %d: %s, want %s", first[i], got, want)
			}
		}
	}
	pipeline(nudged, 0, 2, 4, 6, 8)
	n.sends("sent before the answer was read", nudged, n.from(1, 0, 10))
	pipeline(served, 0, 2, 4, 6, 8)
	n.now = n.now.Add(11 * time.Second)
	n.client.Conn = 7
	pipeline(nudged, 10, 12)
	n.sends("a retry of what came before the nudge", served, n.from(1, 0, 8))
	n.sends("which does not end the nudge", nudged, n.from(1, 0, 12))
	n.sends("a new epoch", served, n.from(1, 1, 0))
	n.sends("another producer", served, n.from(2, 0, 0))
	n.sends("still behind", nudged, n.from(1, 0, 12))
	n.now = n.now.Add(nudgeSettle + time.Millisecond)
	n.sends("no longer refused: it went elsewhere meanwhile", served, n.from(1, 1, 2))
}

func TestSequencesFollowAcrossTheWrap(t *testing.T) {
	const top = 1<<31 - 1
	for _, row := range []struct {
		q, first sequence
		follows  bool
	}{
		{sequence{1, 0, 5}, sequence{1, 0, 5}, false},
		{sequence{1, 0, 6}, sequence{1, 0, 5}, true},
		{sequence{1, 0, 4}, sequence{1, 0, 5}, false},
		{sequence{1, 0, 0}, sequence{1, 0, top}, true},
		{sequence{1, 0, top}, sequence{1, 0, 0}, false},
		{sequence{1, 1, 6}, sequence{1, 0, 5}, false},
		{sequence{2, 0, 6}, sequence{1, 0, 5}, false},
		{sequence{-1, -1, -1}, sequence{1, 0, 5}, false},
		{sequence{1, 0, 5}, sequence{-1, -1, -1}, false},
		{sequence{-1, -1, -1}, sequence{-1, -1, -1}, true},
	} {
		if got := row.q.follows(row.first); got != row.follows {
			t.Errorf("%v after %v: %v", row.q, row.first, got)
		}
	}
}

func TestAProducerWithoutSequencesIsRefusedForAMoment(t *testing.T) {
	n := newNudging(t)
	n.sends("first", nudged, n.plain())
	n.sends("which of them it is nobody knows", nudged, n.plain())
	n.now = n.now.Add(nudgeSettle / 2)
	n.sends("yet", nudged, n.plain())
	n.now = n.now.Add(nudgeSettle)
	n.sends("then it is served", served, n.plain())
	n.sends("and stays so", served, n.plain())
}

func TestTheMomentBeginsWithTheAnswer(t *testing.T) {
	n := newNudging(t)
	begun := n.begin(produceOne(12, "t", n.partition, n.plain()))
	n.now = n.now.Add(8 * time.Second) // while the answers before it are waited for
	n.sends("its refusal is not told yet", nudged, n.plain())
	begun()
	n.now = n.now.Add(nudgeSettle / 2)
	n.sends("just told", nudged, n.plain())
	n.now = n.now.Add(nudgeSettle)
	n.sends("told", served, n.plain())
}

func TestWhoIsNotNudged(t *testing.T) {
	for label, edit := range map[string]func(n *nudging){
		"forwarded":                func(n *nudging) { n.client.ForwardedBy = "agent" },
		"in a zone without agents": func(n *nudging) { n.client.Zone = "z9" },
		"of another listener":      func(n *nudging) { n.client.Listener = "inside" },
		"while the other agent is new": func(n *nudging) {
			n.now = n.now.Add(-time.Hour - 9*time.Second) // the clock is before its coming into view
		},
	} {
		n := newNudging(t)
		edit(n)
		n.sends(label, served, n.from(1, 0, 0))
		if got := errorsOf(n.ask(fetchOne(12, "t", n.partition, 0))); got != "ok ok" {
			t.Errorf("%s: fetch: %s", label, got)
		}
	}
	n := newNudging(t)
	acks0 := edited(produceOne(12, "t", n.partition, n.plain()), func(r *kmsg.ProduceRequest) { r.Acks = 0 })
	if got := n.begin(acks0)(); got.Close || !got.NoReply {
		t.Errorf("acks=0: %+v", got)
	}
}

func TestAConsumerIsNudgedOnceAndThenServed(t *testing.T) {
	n := newNudging(t)
	fetch := func(partition int32) string { return errorsOf(n.ask(fetchOne(12, "t", partition, 0))) }
	for i, step := range []struct {
		later time.Duration
		want  string
	}{{0, nudged}, {0, served}, {9 * time.Second, served}, {2 * time.Second, nudged}, {19 * time.Second, served}, {2 * time.Second, nudged}} {
		n.now = n.now.Add(step.later)
		if got := fetch(n.partition); got != "ok "+step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
		if got := fetch(n.own); got != "ok ok" {
			t.Errorf("step %d: what this agent leads: %s", i, got)
		}
	}
	if got := errorsOf(n.ask(listOne(11, "t", n.partition, -1))); got != "ok" {
		t.Errorf("ListOffsets is served by all: %s", got)
	}
}

func TestALeavingAgentSendsEverybodyAway(t *testing.T) {
	n := newNudging(t)
	n.meets(state.LeaveSession{Session: state.UUID{1}})
	for range 3 {
		for _, p := range []int32{n.partition, n.own} {
			for _, n.client.Zone = range []string{"z1", "z2", "z9"} {
				if got := errorName(n.produce("t", p, n.plain()).ErrorCode); got != nudged {
					t.Errorf("produce: %s", got)
				}
				if got := errorsOf(n.ask(fetchOne(12, "t", p, 0))); got != "ok "+nudged {
					t.Errorf("fetch: %s", got)
				}
			}
		}
	}
	if got := n.ask(describe(12, "t")).(*kmsg.MetadataResponse); len(got.Brokers) != 5 || got.ControllerID != 11 {
		t.Errorf("%+v", got.Brokers)
	}
	for _, node := range []int32{11, 12, 21, 22, 31, 41} { // all leave: then there is nowhere to go
		n.meets(state.LeaveSession{Session: other(node, "").Session})
	}
	n.sends("nobody stays", served, n.plain())
}

func TestNoHintGoesWithANudge(t *testing.T) {
	n := newNudging(t)
	resp := n.ask(produceOne(12, "t", n.partition, n.plain())).(*kmsg.ProduceResponse)
	if p := resp.Topics[0].Partitions[0]; len(resp.Brokers) > 0 || p.CurrentLeader.LeaderID != -1 || p.BaseOffset != -1 {
		t.Errorf("%+v", resp)
	}
	fetched := n.ask(edited(fetchOne(16, "", n.partition, 0), func(r *kmsg.FetchRequest) {
		r.Topics[0].TopicID = n.ask(describe(12, "t")).(*kmsg.MetadataResponse).Topics[0].TopicID
	})).(*kmsg.FetchResponse)
	if p := fetched.Topics[0].Partitions[0]; errorName(p.ErrorCode) != nudged || len(fetched.Brokers) > 0 || p.CurrentLeader.LeaderID != -1 {
		t.Errorf("%+v", fetched)
	}
}

func TestNudgesAreForgottenWithTheirConnection(t *testing.T) {
	now := time.Now()
	cfg := Default()
	cfg.Clock = func() time.Time { return now }
	n := NewNudges(cfg, nil)
	ctx, end := context.WithCancel(t.Context())
	for p := range int32(10) {
		tp := state.TopicPartition{Partition: p}
		if refused, fresh := n.produce(ctx, 1, tp, shouldGo, nil); !refused || fresh == nil {
			t.Fatal("not nudged")
		}
		if !n.fetch(ctx, 1, tp, shouldGo) || !n.point(ctx, 1, tp) || !n.fetch(t.Context(), 2, tp, shouldGo) {
			t.Fatal("not nudged")
		}
	}
	if got := n.held.Load(); got != 40 {
		t.Fatalf("%d held", got)
	}
	if n.fetch(t.Context(), 2, state.TopicPartition{Partition: 3}, stay) || n.held.Load() != 39 {
		t.Errorf("%d held: a nudge is forgotten once this agent is as good as any", n.held.Load())
	}
	end()
	for n.held.Load() != 9 {
		if t.Context().Err() != nil {
			t.Fatal("never forgotten")
		}
	}
	n.held.Store(maxNudges)
	if refused, _ := n.produce(t.Context(), 3, state.TopicPartition{}, shouldGo, nil); refused {
		t.Error("beyond the bound everybody is served")
	}
	if n.held.Store(9); n.byConn[1] != nil {
		t.Error("the connection is remembered")
	}
}

func TestConfigIsChecked(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	for i, edit := range []func(*Config){
		func(c *Config) { c.NudgeInterval = 0 }, func(c *Config) { c.NudgeAfter = -1 }, func(c *Config) { c.Clock = nil },
	} {
		c := Default()
		if edit(&c); c.Validate() == nil {
			t.Error(fmt.Sprint("edit ", i))
		}
	}
}
