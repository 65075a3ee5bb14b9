package metadata

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leat-stream/leat/metadata/state"
)

// Identity is what an agent tells about itself when it opens a session.
type Identity struct {
	Session state.UUID // fresh and random, never used before
	NodeID  int32      // wanted broker id; -1: any
	Agent   string     // stable name, or ""
	Address string     // host:port that clients of the first listener reach
	Zone    string

	Peer      string           // host:port that other agents reach; "": none does
	Listeners []state.Listener // where clients reach it, by listener
}

// Session numbers a process's commands and hands them to a Service, in order (rule R2). Commands of one lane are decided in
// the order of the calls. What is waiting while a batch is being committed goes out together in the next one, so a busy
// lane costs few journal entries and an idle one adds no wait.
//
// Each lane is owned by its goroutine in Run; callers only enqueue. A lane's queue holds at most laneQueue operations:
// beyond, callers wait.
type Session struct {
	svc   Service
	who   Identity
	node  int32 // set by Open
	now   func() time.Time
	lanes map[state.Lane]*lane

	closing  atomic.Bool   // Close was called: that the session is over is no error then
	dead     chan struct{} // closed once the session can never commit again
	deadOnce sync.Once
	deadErr  error // set before dead is closed
}

// ErrSessionClosed: the session was closed by a command; this process must not commit anything any more.
var ErrSessionClosed = errors.New("this agent's session is closed")

// NewSession makes a session that is to be opened before its first command; now is the clock for the times in commands.
func NewSession(svc Service, who Identity, now func() time.Time) *Session {
	s := &Session{svc: svc, who: who, now: now, dead: make(chan struct{}), lanes: map[state.Lane]*lane{}}
	for _, kind := range []state.Lane{state.LaneObjects, state.LaneOther} {
		s.lanes[kind] = &lane{kind: kind, calls: make(chan *call, laneQueue), next: 1, misfits: make(map[uint64]struct{})}
	}
	return s
}

// namePatience is how long an agent waits for the session that an earlier process of the same name has left open: the metadata leader
// closes it once it finds that process gone.
const namePatience = 15 * time.Second

// Open opens the session by a command. It is called once, before Run, and before NodeID is asked for. It is repeated until the
// outcome is known, or ctx ends. ErrSessionClosed if the session was opened, and closed by others before this process learned it.
func (s *Session) Open(ctx context.Context) error {
	op := state.OpenSession{
		Session: s.who.Session, NodeID: s.who.NodeID, Agent: s.who.Agent, Address: s.who.Address, Zone: s.who.Zone, Level: state.Level,
		Peer: s.who.Peer, Listeners: s.who.Listeners,
	}
	began := s.now()
	for try := 0; ; try++ {
		results, err := s.svc.Do(ctx, state.Command{Time: s.now().UnixMilli(), Op: op})
		switch {
		case errors.Is(err, ErrUnknown) && ctx.Err() == nil:
		case err != nil:
			return fmt.Errorf("open session %s: %w", s.who.Session, err)
		case results[0].Code == state.CodeOK:
			s.node = int32(results[0].Number)
			return nil
		case results[0].Code == state.CodeSessionExists && s.opened(ctx): // by an attempt whose answer got lost
			return nil
		case results[0].Code == state.CodeSessionExists: // likewise, and the other agents have taken this one for dead since
			return fmt.Errorf("open session %s: %w", s.who.Session, ErrSessionClosed)
		case results[0].Code == state.CodeConflict && s.who.Agent != "" && s.now().Sub(began) < namePatience:
		default:
			return s.refused(ctx, results[0].Code)
		}
		if err := backOff(ctx, try); err != nil {
			return fmt.Errorf("open session %s: %w", s.who.Session, err)
		}
	}
}

// opened finds the session in the state.
func (s *Session) opened(ctx context.Context) (open bool) {
	err := s.svc.Ask(ctx, Local(), func(r state.Reader) {
		if found, ok := r.Session(s.who.Session); ok && !found.Closed {
			open, s.node = true, found.NodeID
		}
	})
	return err == nil && open
}

// refused says why a session could not be opened.
func (s *Session) refused(ctx context.Context, code state.Code) error {
	if code != state.CodeConflict {
		return fmt.Errorf("open session %s as broker %d named %q: refused with code %d", s.who.Session, s.who.NodeID, s.who.Agent, code)
	}
	var other state.Session
	if err := s.svc.Ask(ctx, Local(), func(r state.Reader) {
		for found := range r.Sessions() {
			if !found.Closed && found.Agent == s.who.Agent {
				other = found
			}
		}
	}); err != nil {
		return fmt.Errorf("open session %s: %w", s.who.Session, err)
	}
	return fmt.Errorf("an agent named %q is already running (broker %d, clients at %s, agents at %s): every agent needs a name of its own",
		s.who.Agent, other.NodeID, other.Address, other.Peer)
}

// Leave says that this agent is about to end, so that clients are sent elsewhere; commands are still taken until Close.
func (s *Session) Leave(ctx context.Context) error {
	_, err := s.svc.Do(ctx, state.Command{Time: s.now().UnixMilli(), Op: state.LeaveSession{Session: s.who.Session}})
	return err
}

// StepAside says that this agent cannot do its work for now, so that clients are sent elsewhere, or with back that it can again. It goes
// through the general lane: whatever becomes of one call, a later one is decided after it. Errors as Do.
func (s *Session) StepAside(ctx context.Context, back bool) error {
	_, err := s.Do(ctx, state.StepAside{Session: s.who.Session, Back: back})
	return err
}

// Close closes the session by a command; nothing can be committed through it afterwards, and callers who wait are told so. Run
// then ends without an error.
func (s *Session) Close(ctx context.Context) error {
	s.closing.Store(true)
	s.die(ErrSessionClosed)
	_, err := s.svc.Do(ctx, state.Command{Time: s.now().UnixMilli(), Op: state.CloseSession{Session: s.who.Session}})
	return err
}

// Closing reports whether Close was called.
func (s *Session) Closing() bool { return s.closing.Load() }

// ID is the session's id, which also owns its data objects.
func (s *Session) ID() state.UUID { return s.who.Session }

// NodeID is the agent's broker id.
func (s *Session) NodeID() int32 { return s.node }

// Service is the door that the session's commands go through.
func (s *Session) Service() Service { return s.svc }

// Do commits ops through the session's general lane and answers a result for each, once they are applied here. An error
// means that the outcome is unknown (ctx ended, or the session is over), unless it matches ErrNotApplied: then nothing was or will
// be committed. With ErrNotApplied comes ErrTooLarge if an op fits no journal entry.
func (s *Session) Do(ctx context.Context, ops ...state.Op) ([]state.Result, error) {
	return s.do(ctx, state.LaneOther, 0, ops)
}

// DoObjects decides the objects first, first+1, … in order: each op is a CommitObject or a SkipObject. One caller at a
// time, in order, without a gap. An object whose commit fits no journal entry is skipped, and its result is state.CodeInvalid:
// the objects after it need no other numbers.
func (s *Session) DoObjects(ctx context.Context, first uint64, ops ...state.Op) ([]state.Result, error) {
	return s.do(ctx, state.LaneObjects, first, ops)
}

// Ask reads the metadata; it makes a Session all that most users of the metadata need.
func (s *Session) Ask(ctx context.Context, f Freshness, read func(state.Reader)) error {
	return s.svc.Ask(ctx, f, read)
}

// Watch follows the changes of the metadata; see Service.Watch.
func (s *Session) Watch(ctx context.Context, since uint64) iter.Seq2[state.Change, error] {
	return s.svc.Watch(ctx, since)
}

func (s *Session) do(ctx context.Context, kind state.Lane, first uint64, ops []state.Op) ([]state.Result, error) {
	if len(ops) == 0 {
		return nil, nil
	}
	if len(ops) > laneBatch {
		return nil, fmt.Errorf("%d operations at once, at most %d are possible: %w", len(ops), laneBatch, ErrNotApplied)
	}
	for _, op := range ops {
		if kind != state.LaneObjects && !fits(op) {
			return nil, fmt.Errorf("%w: about %d bytes, at most %d: %w", ErrTooLarge, state.SizeHint(op), opBytes, ErrNotApplied)
		}
	}
	c := &call{ops: ops, first: first, done: make(chan struct{})}
	select {
	case <-s.dead:
		return nil, s.deadErr
	default:
	}
	select {
	case s.lanes[kind].calls <- c:
	case <-s.dead:
		return nil, s.deadErr
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrNotApplied, context.Cause(ctx))
	}
	select {
	case <-c.done:
		return c.results, c.err
	case <-s.dead:
		select {
		case <-c.done: // answered just before the session died
			return c.results, c.err
		default:
			return nil, s.deadErr
		}
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnknown, context.Cause(ctx))
	}
}

// Run sends the lanes' commands until ctx ends or the session was closed by Close (nil), or until it can never commit again,
// which is the error it returns.
func (s *Session) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for _, l := range s.lanes {
		wg.Go(func() {
			if err := s.runLane(ctx, l); err != nil {
				s.die(err)
				cancel()
			}
		})
	}
	wg.Wait()
	s.die(ErrStopped)
	if errors.Is(s.deadErr, ErrStopped) || s.closing.Load() && errors.Is(s.deadErr, ErrSessionClosed) {
		return nil
	}
	return s.deadErr
}

func (s *Session) die(err error) {
	s.deadOnce.Do(func() {
		s.deadErr = err
		close(s.dead)
	})
}
