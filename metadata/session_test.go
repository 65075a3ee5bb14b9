package metadata_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/journal/mem"
	"github.com/leat-stream/leat/metadata/journal/object"
	"github.com/leat-stream/leat/metadata/replica"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
	memstore "github.com/leat-stream/leat/objectstore/mem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lossy is a real service whose answers may get lost: the command is committed, the caller is told that nobody knows.
type lossy struct {
	metadata.Service
	lose  atomic.Int32  // so many answers get lost
	calls atomic.Int32  // of Do
	gate  chan struct{} // if set, calls of Do wait until it is closed
}

func (l *lossy) Do(ctx context.Context, commands ...state.Command) ([]state.Result, error) {
	l.calls.Add(1)
	if l.gate != nil {
		<-l.gate
	}
	results, err := l.Service.Do(ctx, commands...)
	if l.lose.Add(-1) >= 0 {
		return nil, metadata.ErrUnknown
	}
	return results, err
}

// service runs a replica over a journal in memory until the test ends.
func service(t *testing.T) *lossy {
	t.Helper()
	keys, err := objectstore.NewKeys("c")
	must(t, err)
	r, err := replica.Open(t.Context(), replica.Default(), mem.New().Open(), object.NewImages(memstore.New(), keys), nil, slog.New(slog.DiscardHandler), nil)
	must(t, err)
	run(t, r.Run)
	return &lossy{Service: r}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run runs something until the test ends, or stop is called, which answers its error.
func run(t *testing.T, f func(context.Context) error) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	return stop
}

// session opens a session and runs it.
func session(t *testing.T, svc metadata.Service, id byte) (s *metadata.Session, stop func() error) {
	t.Helper()
	s = metadata.NewSession(svc, metadata.Identity{Session: state.UUID{15: id}, NodeID: -1, Agent: fmt.Sprintf("agent-%d", id)}, time.Now)
	must(t, s.Open(t.Context()))
	return s, run(t, s.Run)
}

func create(i int) state.Op {
	return state.CreateTopic{Topic: state.UUID{0: 1, 14: byte(i >> 8), 15: byte(i)}, Name: fmt.Sprintf("t%d", i), Partitions: 1, ReplicationFactor: 1}
}

func TestR2ConcurrentCommandsAreNumberedWithoutAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc := service(t)
		s, _ := session(t, svc, 1)
		svc.gate = make(chan struct{})
		const callers = 500
		for i := range callers {
			go func() {
				results, err := s.Do(context.Background(), create(i))
				if err != nil || results[0].Code != state.CodeOK {
					t.Errorf("command %d: %v %v", i, results, err)
				}
			}()
		}
		synctest.Wait() // the first call at the gate, the others in the lane's queue
		before := svc.calls.Load()
		close(svc.gate)
		synctest.Wait()
		if n := svc.calls.Load() - before; n > 4 {
			t.Errorf("%d commands that had waited went out in %d calls: what waits must go together", callers-1, n)
		}
	})
}

func TestR2ALostAnswerIsAskedForAgainAndTheCommandDoneOnce(t *testing.T) {
	svc := service(t)
	s, _ := session(t, svc, 1)
	for i := range 3 {
		svc.lose.Store(2)
		results, err := s.Do(t.Context(), create(i))
		must(t, err)
		if results[0].Code != state.CodeOK {
			t.Fatalf("code %d: a command that is resent must get its first outcome, not be done twice", results[0].Code)
		}
	}
}

func TestR2ObjectsAreDecidedInOrderAndAGapIsRefused(t *testing.T) {
	svc := service(t)
	s, stop := session(t, svc, 1)
	results, err := s.DoObjects(t.Context(), 1, state.SkipObject{}, state.SkipObject{})
	must(t, err)
	if len(results) != 2 || results[0].Code != state.CodeOK || results[1].Code != state.CodeOK {
		t.Fatalf("results: %+v", results)
	}
	if _, err := s.DoObjects(t.Context(), 4, state.SkipObject{}); err == nil {
		t.Fatal("object 4 was decided before object 3")
	}
	if err := stop(); err == nil {
		t.Fatal("a session that lost count must end")
	}
}

func TestAClosedSessionCommitsNothingMore(t *testing.T) {
	svc := service(t)
	s, stop := session(t, svc, 1)
	_, err := svc.Do(t.Context(), state.Command{Op: state.CloseSession{Session: s.ID()}})
	must(t, err)
	if _, err := s.Do(t.Context(), create(1)); !errors.Is(err, metadata.ErrSessionClosed) {
		t.Fatalf("command of a closed session: %v", err)
	}
	if err := stop(); !errors.Is(err, metadata.ErrSessionClosed) {
		t.Fatalf("Run of a closed session: %v", err)
	}
	if _, err := s.Do(t.Context(), create(2)); !errors.Is(err, metadata.ErrSessionClosed) {
		t.Fatalf("command after that: %v", err)
	}
}

func TestACallerWhoGivesUpIsToldThatNobodyKnows(t *testing.T) {
	svc := service(t)
	s := metadata.NewSession(svc, metadata.Identity{Session: state.UUID{15: 1}, NodeID: -1}, time.Now)
	must(t, s.Open(t.Context())) // and is not run: commands wait
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Do(ctx, create(1))
	if !errors.Is(err, metadata.ErrUnknown) && !errors.Is(err, metadata.ErrNotApplied) {
		t.Fatalf("given up: %v", err)
	}
}

func TestANameKeepsItsBrokerID(t *testing.T) {
	svc := service(t)
	first, _ := session(t, svc, 1)
	_, _ = session(t, svc, 2)
	must(t, first.Close(t.Context()))
	again := metadata.NewSession(svc, metadata.Identity{Session: state.UUID{15: 9}, NodeID: -1, Agent: "agent-1"}, time.Now)
	must(t, again.Open(t.Context()))
	if again.NodeID() != first.NodeID() {
		t.Fatalf("broker id %d, was %d", again.NodeID(), first.NodeID())
	}
}

func TestACommandTooLargeForAnEntryIsRefusedAndTheSessionGoesOn(t *testing.T) {
	svc := service(t)
	s, _ := session(t, svc, 1)
	op := create(1).(state.CreateTopic)
	op.Configs = []state.Config{{Name: "k", Value: strings.Repeat("v", journal.MaxBody)}}
	if _, err := s.Do(t.Context(), op); !errors.Is(err, metadata.ErrNotApplied) {
		t.Fatalf("a command that no journal entry holds: %v", err)
	}
	results, err := s.Do(t.Context(), create(2))
	must(t, err)
	if results[0].Code != state.CodeOK {
		t.Fatalf("the command after it: %+v", results)
	}
}

// late is a service to which commands of the general lane get through only after the session was closed.
type late struct {
	metadata.Service
	arrived, closed chan struct{}
}

func (l *late) Do(ctx context.Context, commands ...state.Command) ([]state.Result, error) {
	if commands[0].Lane == state.LaneOther {
		close(l.arrived)
		<-l.closed
	}
	return l.Service.Do(ctx, commands...)
}

func TestClosingASessionIsAnOrderlyEndOfItsRun(t *testing.T) {
	svc := &late{Service: service(t), arrived: make(chan struct{}), closed: make(chan struct{})}
	s, stop := session(t, svc, 1)
	answer := make(chan error, 1)
	go func() {
		_, err := s.Do(context.Background(), create(1)) // on its way when the session is closed, as a group's timers may be
		answer <- err
	}()
	<-svc.arrived
	must(t, s.Close(t.Context()))
	close(svc.closed)
	if err := <-answer; !errors.Is(err, metadata.ErrSessionClosed) {
		t.Errorf("command on its way: %v", err)
	}
	if err := stop(); err != nil {
		t.Fatalf("an agent that drains must not exit with an error: %v", err)
	}
}

func TestASessionThatWasClosedBeforeItsOpeningWasKnownIsClosed(t *testing.T) {
	svc := service(t)
	id := state.UUID{15: 7}
	_, err := svc.Do(t.Context(), state.Command{Op: state.OpenSession{Session: id, NodeID: -1, Level: state.Level}})
	must(t, err)
	_, err = svc.Do(t.Context(), state.Command{Op: state.CloseSession{Session: id}})
	must(t, err)
	s := metadata.NewSession(svc, metadata.Identity{Session: id, NodeID: -1}, time.Now)
	if err := s.Open(t.Context()); !errors.Is(err, metadata.ErrSessionClosed) {
		t.Fatalf("opening it again: %v", err)
	}
}
