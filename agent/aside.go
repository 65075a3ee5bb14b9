package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/leat-stream/leat/agent/brokers"
	"github.com/leat-stream/leat/agent/wire"
)

// An agent that alone does not reach the bucket can neither store what producers send nor read what consumers want, while others can. It
// steps aside:
//
//	serves ──bucket stuck, others are there──► says so ──all agents know──► relieved: clients are refused and go to
//	  ▲                                                                     others, groups move, uploads are given up
//	  │                                                                        │
//	  └───────────────── all agents know ◄── says so ◄── stays a while ◄── bucket answers
//
// Being relieved is what the view says (brokers.View.Relieved), so nobody is sent to and fro between agents that believe different
// things. Where the bucket is away for all, nobody is relieved: with the journal in the bucket nobody can say anything, with
// another journal all do, and then all serve as before.
const (
	// asideRetry is the time between attempts to say it, and to have another agent lead the metadata.
	asideRetry = time.Second
	// From the second time within flapWindow on, an agent stays aside for flapStay after the bucket answers, twice as long each
	// time, up to flapMost.
	flapWindow = 5 * time.Minute
	flapStay   = 5 * time.Second
	flapMost   = time.Minute
	// flapMemory is how many times are remembered.
	flapMemory = 8
)

// asideDeps is what an aside works on.
type asideDeps struct {
	stuck        func() error           // why the bucket does not answer; nil: it does
	stuckChanged func() <-chan struct{} // closed when stuck may answer something else
	hint         func()                 // the bucket may be back
	view         func() *brokers.View
	viewChanged  func() <-chan struct{}
	say          func(ctx context.Context, back bool) error // tells all agents
	// yield gives up the lead of the metadata if it needs the bucket and another agent leads; with ask, it asks the others to.
	yield    func(ctx context.Context, ask bool)
	relieved func(why error)           // others do this agent's work from now on; nil: until now
	shed     func(ctx context.Context) // meanwhile, until ctx ends: sends away clients who cannot be told where to go
	log      *slog.Logger
}

// aside has an agent step aside and come back. All fields but deps belong to run, until done is closed.
type aside struct {
	asideDeps
	stop context.CancelFunc
	ctx  context.Context // of stop
	done chan struct{}   // closed when run has ended

	said   bool           // what the last command said that was decided
	saying chan said      // its outcome, while a command is under way; else nil
	spoke  time.Time      // when the last one ended
	away   error          // what stuck answered last
	since  time.Time      // when that was not nil for the first time
	until  time.Time      // not back before
	times  []time.Time    // when this agent stepped aside, the newest
	relief func()         // ends shed; nil: this agent is not relieved
	able   int            // how many others do not leave
	asked  time.Time      // when yield was last called
	work   sync.WaitGroup // what runs beside run
}

// said is the outcome of a command.
type said struct {
	aside bool
	err   error
}

func newAside(d asideDeps) *aside {
	s := &aside{asideDeps: d, done: make(chan struct{})}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// errAside is why batches are refused meanwhile.
var errAside = errors.New("this agent does not reach the object store, others do")

// run watches until ctx ends or end is called.
func (s *aside) run(ctx context.Context) error {
	defer close(s.done)
	defer s.work.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(s.ctx, stop)()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		stuckChanged, viewChanged := s.stuckChanged(), s.viewChanged()
		timer.Reset(s.look(ctx, time.Now()))
		select {
		case <-ctx.Done():
		case <-stuckChanged:
		case <-viewChanged:
		case <-timer.C:
		case got := <-s.saying:
			s.saying, s.spoke = nil, time.Now()
			s.said = got.aside == (got.err == nil) // what is not so, the view will tell
		}
	}
	return nil
}

// end stops it where it stands, for an agent that is about to end. It must run, or have run.
func (s *aside) end() {
	s.stop()
	<-s.done
}

// look does what is to be done now, and answers after how long to look again if nothing happens.
func (s *aside) look(ctx context.Context, now time.Time) time.Duration {
	v := s.view()
	others := v.Others()
	s.note(s.stuck(), now, len(others))
	s.follow(ctx, now, v, others)
	next := time.Hour
	want := s.away != nil && len(others) > 0
	if s.said && !want && now.Before(s.until) {
		want, next = true, s.until.Sub(now)
	}
	if s.saying == nil {
		if wait := s.spoke.Add(asideRetry).Sub(now); wait > 0 { // the view may not know yet
			next = min(next, wait)
		} else if own, ok := v.Self(); ok {
			s.said = own.Aside
		}
		if want != s.said {
			s.tell(ctx, want)
		}
	}
	if s.away != nil && len(others) > 0 {
		if now.Sub(s.asked) >= asideRetry {
			ask := s.asked.Before(s.since) // once each time
			s.asked = now
			s.work.Go(func() { s.yield(ctx, ask) })
		}
		next = min(next, asideRetry)
	}
	return next
}

// tell tells all agents. A failure is heard of after a pause.
func (s *aside) tell(ctx context.Context, aside bool) {
	result := make(chan said, 1)
	s.saying = result
	s.work.Go(func() {
		err := s.say(ctx, !aside)
		if err != nil {
			sleep(ctx, asideRetry)
		}
		result <- said{aside, err}
	})
}

// note notes whether the bucket answers.
func (s *aside) note(away error, now time.Time, others int) {
	switch {
	case away != nil && s.away == nil:
		s.since = now
		s.log.Warn("the object store does not answer this agent", "others", others, "error", away)
	case away == nil && s.away != nil:
		s.until = now.Add(s.stay(now))
		s.log.Warn("the object store answers this agent again", "after", now.Sub(s.since).Round(time.Millisecond), "aside_for", s.until.Sub(now))
	}
	s.away = away
}

// stay is how long to stay aside when the bucket is back.
func (s *aside) stay(now time.Time) time.Duration {
	lately := 0
	for _, at := range s.times {
		if now.Sub(at) < flapWindow {
			lately++
		}
	}
	if lately < 2 {
		return 0
	}
	return min(flapStay<<(lately-2), flapMost)
}

// follow does what the view says.
func (s *aside) follow(ctx context.Context, now time.Time, v *brokers.View, others []brokers.Broker) {
	able := 0
	for _, b := range others {
		if !b.Leaving {
			able++
		}
	}
	if able > s.able && s.away != nil { // perhaps one that had stepped aside, too
		s.hint()
	}
	s.able = able
	back := s.away == nil && !now.Before(s.until) // what it said was decided too late, and is about to be taken back
	switch relieved := v.Relieved() && !back; {
	case relieved == (s.relief != nil):
	case relieved:
		s.times = append(s.times, now)
		s.times = s.times[max(len(s.times)-flapMemory, 0):]
		why := errAside
		if s.away != nil {
			why = fmt.Errorf("%w: %w", errAside, s.away)
		}
		s.log.Warn("this agent steps aside: its clients are sent to other agents until the object store answers it", "others", able)
		s.relieved(why)
		ctx, s.relief = context.WithCancel(ctx)
		s.work.Go(func() { s.shed(ctx) })
	default:
		s.relief()
		s.relief = nil
		s.relieved(nil)
		s.log.Warn("this agent takes its share of the work again")
	}
}

// asideDeps ties an aside to this agent.
func (a *Agent) asideDeps(known *brokers.Brokers) asideDeps {
	var one sync.Mutex
	return asideDeps{
		stuck: a.ground.health.Stuck, stuckChanged: a.ground.health.Changed, hint: a.ground.health.Hint,
		view: known.View, viewChanged: known.Changed, say: a.session.StepAside, log: a.log,
		yield: func(ctx context.Context, ask bool) {
			if a.ground.yielding != nil && a.replica.Leading() && one.TryLock() {
				defer one.Unlock()
				a.ground.yielding.Yield(ctx, a.others.client, known.View().Others(), ask)
			}
		},
		relieved: func(why error) {
			a.web.aside.Store(why != nil)
			if why == nil {
				a.producer.Resume()
				return
			}
			a.producer.Halt(why)
		},
		shed: func(ctx context.Context) {
			for ctx.Err() == nil && a.shared() {
				a.server.Shed(ctx, leaveTime)
				sleep(ctx, asideRetry)
			}
		},
	}
}

// shared tells whether there are clients that know one address for all agents.
func (a *Agent) shared() bool {
	return slices.ContainsFunc(a.cfg.Wire.Listeners, func(l wire.Listener) bool { return l.Shared })
}
