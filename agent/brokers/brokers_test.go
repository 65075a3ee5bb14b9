package brokers

import (
	"context"
	"log/slog"
	"reflect"
	"testing"
	"time"

	"go.uber.org/goleak"

	journal "github.com/leat-stream/leat/metadata/journal/mem"
	"github.com/leat-stream/leat/metadata/journal/object"
	"github.com/leat-stream/leat/metadata/replica"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/mem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a real replica, and Brokers that follow it.
type world struct {
	t       *testing.T
	replica *replica.Replica
	brokers *Brokers
	stop    func() error
	now     time.Time // changed only while nothing changes
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, f func(context.Context) error) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stop = func() error { cancel(); err := <-done; done <- err; return err }
	t.Cleanup(func() { _ = stop() })
	return stop
}

func newWorld(t *testing.T, before ...state.Op) *world {
	t.Helper()
	keys, err := objectstore.NewKeys("c")
	must(t, err)
	r, err := replica.Open(t.Context(), replica.Default(), journal.New().Open(), object.NewImages(mem.New(), keys), nil, slog.New(slog.DiscardHandler), nil)
	must(t, err)
	w := &world{t: t, replica: r, now: time.Unix(1000, 0)}
	w.stop = start(t, r.Run)
	w.do(before...)
	w.brokers, err = New(t.Context(), r, state.UUID{1}, func() time.Time { return w.now })
	must(t, err)
	return w
}

func (w *world) do(ops ...state.Op) {
	w.t.Helper()
	for _, op := range ops {
		results, err := w.replica.Do(w.t.Context(), state.Command{Op: op})
		must(w.t, err)
		if results[0].Code != state.CodeOK {
			w.t.Fatalf("%+v: code %d", op, results[0].Code)
		}
	}
}

// after does what changes the view, and answers it then.
func (w *world) after(ops ...state.Op) *View {
	w.t.Helper()
	changed := w.brokers.Changed()
	w.do(ops...)
	select {
	case <-changed:
	case <-time.After(2 * time.Minute):
		w.t.Fatal("the view does not follow")
	}
	return w.brokers.View()
}

func opened(id byte, zone string) state.OpenSession {
	return state.OpenSession{
		Session: state.UUID{id}, NodeID: int32(id), Agent: "agent-" + string('a'+rune(id)), Zone: zone, Level: state.Level, Peer: "peer:1",
		Listeners: []state.Listener{{Name: "default", Address: "host:9092"}},
	}
}

func TestTheViewFollowsTheSessions(t *testing.T) {
	w := newWorld(t, opened(2, "z2"), opened(3, "z3"), state.CloseSession{Session: state.UUID{3}})
	if got := nodesOf(w.brokers.View().All()); !reflect.DeepEqual(got, []int32{2}) {
		t.Fatalf("before Run: %v", got)
	}
	if _, ok := w.brokers.View().Self(); ok {
		t.Fatal("this agent has no session yet")
	}
	w.do(opened(4, "z1")) // between New and Run: must not be missed
	changed := w.brokers.Changed()
	start(t, w.brokers.Run)
	select {
	case <-changed:
	case <-time.After(2 * time.Minute):
		t.Fatal("what happened before Run is missed")
	}
	v := w.after(opened(1, "z1"))
	self, ok := v.Self()
	if want := (Broker{NodeID: 1, Session: state.UUID{1}, Zone: "z1", Peer: "peer:1", Listeners: []state.Listener{{Name: "default", Address: "host:9092"}}}); !ok || !reflect.DeepEqual(self, want) {
		t.Fatalf("self: %+v", self)
	}
	if got := nodesOf(v.All()); !reflect.DeepEqual(got, []int32{1, 2, 4}) {
		t.Fatalf("opened: %v", got)
	}
	if got := nodesOf(w.after(state.LeaveSession{Session: state.UUID{2}}).All()); !reflect.DeepEqual(got, []int32{1, 4}) {
		t.Fatalf("leaving: %v", got)
	}
	v = w.after(state.CloseSession{Session: state.UUID{2}})
	if _, ok := v.Broker(2); ok || len(v.All()) != 2 {
		t.Fatalf("closed: %v", nodesOf(v.All()))
	}
}

func TestAViewTellsForHowLongAnAgentIsKnown(t *testing.T) {
	w := newWorld(t, opened(1, "z"), opened(2, "z"))
	start(t, w.brokers.Run)
	w.now = time.Unix(2000, 0)
	w.after(opened(3, "z"))
	w.now = time.Unix(3000, 0)
	v := w.after(state.LeaveSession{Session: state.UUID{1}}) // says nothing new about the others
	for node, want := range map[int32]time.Time{1: {}, 2: {}, 3: time.Unix(2000, 0)} {
		b, _ := v.Broker(node)
		if got := v.Since(b); !got.Equal(want) {
			t.Errorf("agent %d since %v, not %v", node, got, want)
		}
		if got := v.On("default").Since(b); !got.Equal(want) {
			t.Errorf("agent %d on a listener since %v, not %v", node, got, want)
		}
		if got := v.On("other").Since(b); !got.Equal(want) {
			t.Errorf("agent %d on another listener since %v, not %v", node, got, want)
		}
	}
}

func TestWhatDoesNotConcernAgentsChangesNothing(t *testing.T) {
	w := newWorld(t, opened(1, "z"))
	start(t, w.brokers.Run)
	before := w.brokers.View()
	w.do(state.CreateTopic{Topic: state.UUID{5}, Name: "t", Partitions: 1, ReplicationFactor: 1}, state.CloseSession{Session: state.UUID{77}})
	if v := w.after(opened(2, "z")); v == before {
		t.Fatal("no change")
	}
	same := w.brokers.View()
	open, err := w.brokers.look(t.Context())
	must(t, err)
	w.brokers.update(open)
	if w.brokers.View() != same {
		t.Error("a view that says the same took the place of the other")
	}
}

func TestRunEndsWithItsSource(t *testing.T) {
	w := newWorld(t, opened(1, "z"))
	stop := start(t, w.brokers.Run)
	if err := stop(); err != nil {
		t.Errorf("told to stop: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- w.brokers.Run(context.Background()) }()
	_ = w.stop()
	if err := <-done; err == nil {
		t.Error("a view that nobody keeps up to date any more")
	}
}
