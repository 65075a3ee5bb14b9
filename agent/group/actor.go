package group

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/leat-stream/leat/agent/group/classic"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

const (
	// idleLinger is how long a group is kept in memory of which the journal knows all.
	idleLinger = 5 * time.Minute
	// stallTolerance is how late a timer may be. Later means that the whole process stood still: sessions did not end
	// meanwhile, since nobody could have been heard.
	stallTolerance = time.Second
	// lastCall is given to members whose sessions end: the process may have stood still until just now, and what they sent wait
	// to be read.
	lastCall   = 500 * time.Millisecond
	claimTries = 3 // bounds how often a claim is tried that somebody else changed meanwhile
)

// event is something that happens to a group; proven: the claim is known to have stood lately.
type event func(g *classic.Group, now time.Time, proven bool)

// actor holds one group in memory: it owns the group, its claim and its deadlines, and commits what the group wants. While it
// commits it hears nobody, so a group has one write in flight, and who asks meanwhile waits at the unbuffered inbox: as many
// as there are requests, which agent/wire bounds.
//
// All fields but inbox, nudged, gone and listing are owned by run; err may be read when gone is closed.
type actor struct {
	c       *Coordinator
	id      string
	inbox   chan event
	nudged  chan struct{} // the claim, or who should coordinate the group, may have changed; holds one
	gone    chan struct{}
	err     error                   // why it is gone
	listing atomic.Pointer[Listing] // what ListGroups shows; nil before it is loaded

	g       *classic.Group
	peopled bool   // the journal may know members, all of which may die: somebody must hold the group
	claimed bool   // claim is ours. Else it is the claim that stood when the group, without members, was loaded
	claim   uint64 // its id, 0: none
	times   times
	told    told
}

// times is what an actor knows about time.
type times struct {
	began  time.Time
	losses int           // in a row, of the claim, before that
	deaf   time.Duration // as of the last proof, see proof.look
	called bool          // those whose sessions end now have had their last call
}

// told is what an actor has told the coordinator about its group: bytes of newcomers, 1 if it is peopled, generations.
type told struct {
	newcomers, peopled int64
	settled            uint64
}

func newActor(c *Coordinator, id string, peopled bool, losses int) *actor {
	return &actor{
		c: c, id: id, peopled: peopled, inbox: make(chan event), nudged: make(chan struct{}, 1), gone: make(chan struct{}),
		times: times{began: time.Now(), losses: losses},
	}
}

// nudge makes the actor look whether the group is still its own.
func (a *actor) nudge() {
	select {
	case a.nudged <- struct{}{}:
	default:
	}
}

// run serves the group until ctx ends, its claim is lost, a write fails, or there is nothing left to do.
func (a *actor) run(ctx context.Context) {
	err := a.load(ctx)
	if err == nil {
		err = a.serve(ctx)
	}
	if ctx.Err() != nil {
		err = ErrCoordinatorNotAvailable
	}
	c := a.c
	c.newcomers.Add(-a.told.newcomers)
	c.peopled.Add(-a.told.peopled)
	c.mu.Lock()
	delete(c.groups, a.id)
	mine := c.mine(a.id)
	if a.peopled && mine {
		c.orphans[a.id] = a.lost(errors.Is(err, ErrNotCoordinator))
	}
	c.mu.Unlock()
	switch {
	case a.g == nil || err == errRetired || ctx.Err() != nil:
	case !mine:
		c.m.moved.Inc()
	default:
		c.m.forgotten.Inc()
		c.log.Warn("group is taken out of memory", "group", a.id, "reason", err)
	}
	a.err = err
	close(a.gone)
}

func (a *actor) serve(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	idleSince := time.Now()
	for {
		a.account()
		at := a.g.Wake
		if a.g.Idle() {
			at = idleSince.Add(idleLinger)
		} else {
			idleSince = time.Now()
		}
		if at.IsZero() {
			at = idleSince.Add(idleLinger) // everybody waits for an event
		}
		timer.Reset(time.Until(at))
		select {
		case <-ctx.Done():
			return ErrCoordinatorNotAvailable
		case <-a.nudged:
			if err := a.stands(ctx); err != nil {
				return err
			}
			continue
		case ev := <-a.inbox:
			proven := a.proven(time.Now()) // before the look at the claim, which then is no older
			if err := a.stands(ctx); err != nil {
				return err
			}
			ev(a.g, time.Now(), proven)
		case <-timer.C:
			now := time.Now()
			if a.g.Idle() {
				if now.Sub(idleSince) >= idleLinger {
					a.peopled = false
					return errRetired
				}
				continue
			}
			if a.inTime(at, now) {
				a.c.m.expired.Add(float64(a.g.Expire(now)))
			}
		}
		if err := a.settle(ctx); err != nil {
			return err
		}
	}
}

// proven reports whether the claim is known to have stood lately. Members that could not be answered meanwhile, and gave
// up or looked elsewhere, get time to come back.
func (a *actor) proven(now time.Time) bool {
	good, deaf := a.c.door.Look(now)
	if gap := deaf - a.times.deaf; gap > 0 && good {
		if a.times.deaf = deaf; a.g.Phase != classic.Empty { // else there was no need of a proof
			a.spare(gap, now)
		}
	}
	return good
}

// inTime reports whether what is due at a time may happen now: only if everybody could be heard until then, and answered.
func (a *actor) inTime(at, now time.Time) bool {
	if !a.proven(now) && a.g.Phase != classic.Empty {
		a.g.Wake = now.Add(a.c.cfg.ConfirmEvery)
		return false
	}
	if late := now.Sub(at); late > stallTolerance {
		a.spare(late, now)
		return false
	}
	a.times.called = !a.times.called && classic.Overdue(a.g, now)
	if a.times.called {
		a.g.Wake = now.Add(lastCall)
	}
	return !a.times.called
}

// spare gives everybody a whole timeout from now on, since for gap nobody could be heard or answered.
func (a *actor) spare(gap time.Duration, now time.Time) {
	a.g.Deadlines(func(at time.Time, whole time.Duration) time.Time {
		return slices.MaxFunc([]time.Time{at.Add(gap), now.Add(whole)}, time.Time.Compare)
	})
}

// account tells the coordinator, and those who look from outside, what the group has become.
func (a *actor) account() {
	told := told{newcomers: a.g.Newcomers.Used, settled: a.g.Rebalance.Completing}
	if a.g.Phase != classic.Empty {
		told.peopled = 1
		if a.told.peopled == 0 {
			a.c.door.Kick()
		}
	}
	a.c.newcomers.Add(told.newcomers - a.told.newcomers)
	a.c.peopled.Add(told.peopled - a.told.peopled)
	a.c.m.rebalances.Add(float64(told.settled - a.told.settled))
	a.told = told
	a.g.Newcomers.Left = a.c.cfg.MaxNewcomerBytes - a.c.newcomers.Load()
	a.list()
}

// list publishes what ListGroups shows.
func (a *actor) list() {
	now := Listing{ID: a.id, ProtocolType: a.g.ProtocolType, State: a.g.Phase.String()}
	if old := a.listing.Load(); old == nil || *old != now {
		if old != nil {
			a.c.log.Debug("group changes", "group", a.id, "from", old.State, "to", now.State,
				"generation", a.g.Generation, "reason", a.g.Rebalance.Reason)
		}
		a.listing.Store(&now)
	}
}

// settle commits what the group wants, and tells those who wait for it.
func (a *actor) settle(ctx context.Context) error {
	for a.g.Wanted != nil {
		began := time.Now()
		if err := a.write(ctx); err != nil {
			return err
		}
		w := a.g.Wanted
		a.g.Wanted = nil
		a.list() // before anybody is answered, who may look at once
		now := time.Now()
		if deaf := now.Sub(began); deaf > 0 {
			a.g.Postpone(deaf) // who sent a heartbeat meanwhile was not heard
		}
		for _, then := range w.Then {
			then(now)
		}
	}
	return nil
}

func (a *actor) write(ctx context.Context) error {
	a.peopled = true
	ctx, cancel := context.WithTimeout(ctx, a.c.cfg.WriteTimeout)
	defer cancel()
	if !a.claimed {
		r, err := a.do(ctx, state.ClaimGroup{Group: a.id, Replaces: a.claim})
		if err != nil {
			return err
		}
		a.claimed, a.claim = true, r.Index
		a.c.m.claims.Inc()
		d, _, _, err := a.read(ctx, metadata.At(r.Index))
		if err != nil {
			return err
		}
		if len(d.Members) > 0 || d.Generation >= a.g.Generation { // a write of who held the claim before, decided after load
			return fmt.Errorf("%w: the group changed before it was claimed", ErrCoordinatorNotAvailable)
		}
	}
	_, err := a.do(ctx, state.WriteGroup{Claim: a.claim, Group: a.g.Durable(time.Now())})
	return err
}

// do commits one op. If its outcome is unknown the group must be forgotten: the next claim, which is decided later, tells
// what became of it, and fences it if it was never decided.
func (a *actor) do(ctx context.Context, op state.Op) (state.Result, error) {
	results, err := a.c.door.Do(ctx, op)
	if err != nil {
		return state.Result{}, unavailable(err)
	}
	return results[0], codeError(results[0].Code)
}

// stands checks, in what this agent has applied, that the group is this agent's to coordinate, that nobody else has claimed it, and
// if nobody here has, that it is still what was loaded. If it was deleted, which happens only while the journal knows no
// members, those who are joining go on.
func (a *actor) stands(ctx context.Context) error {
	if !a.c.mine(a.id) {
		return ErrNotCoordinator
	}
	var owner state.UUID
	var claim uint64
	stale := false
	err := a.c.door.Ask(ctx, metadata.Local(), func(r state.Reader) {
		if owner, claim = r.Claim(a.id); !a.claimed {
			d, _ := r.Group(a.id)
			stale = len(d.Members) > 0 || d.Generation > a.g.Generation
		}
	})
	self := a.c.door.ID()
	switch {
	case err != nil:
		return unavailable(err)
	case stale:
		a.peopled = true
		return errRetired
	case claim == a.claim && (!a.claimed || owner == self):
		return nil
	case claim == 0 && (a.g.Phase == classic.Empty || a.g.Phase == classic.Preparing && a.g.Rebalance.Initial):
		a.claimed, a.claim = false, 0
		return nil
	case claim == 0 || owner == self:
		return errRetired
	}
	return ErrNotCoordinator
}
