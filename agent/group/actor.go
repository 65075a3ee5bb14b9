package group

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

const (
	// idleLinger is how long a group is kept in memory of which the journal knows all.
	idleLinger = 5 * time.Minute
	// stallTolerance is how late a timer may be. Later means that the whole process stood still: sessions did not end
	// meanwhile, since nobody could have been heard.
	stallTolerance = time.Second
	// claimTries bounds how often a claim is tried that somebody else changed meanwhile.
	claimTries = 3
)

// event is something that happens to a group.
type event func(g *group, now time.Time)

// actor holds one group in memory: it owns the group, its claim and its deadlines, and commits what the group wants. While it
// commits it hears nobody, so a group has one write in flight, and who asks meanwhile waits at the unbuffered inbox: as many
// as there are requests, which agent/wire bounds.
//
// All fields but inbox, gone and listing are owned by run; err may be read when gone is closed.
type actor struct {
	c       *Coordinator
	id      string
	inbox   chan event
	gone    chan struct{}
	err     error                   // why it is gone
	listing atomic.Pointer[Listing] // what ListGroups shows; nil before it is loaded

	g       *group
	peopled bool   // the journal may know members, all of which may die: somebody must hold the group
	claimed bool   // claim is ours. Else it is the claim that stood when the group, without members, was loaded
	claim   uint64 // its id, 0: none
	charged int64  // of the coordinator's newcomers
	settled uint64 // completed generations that the metrics know
}

func newActor(c *Coordinator, id string, peopled bool) *actor {
	return &actor{c: c, id: id, peopled: peopled, inbox: make(chan event), gone: make(chan struct{})}
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
	c.newcomers.Add(-a.charged)
	c.mu.Lock()
	delete(c.groups, a.id)
	if a.peopled && errors.Is(err, ErrCoordinatorNotAvailable) {
		c.orphans[a.id] = struct{}{}
	}
	c.mu.Unlock()
	if a.g != nil && err != errRetired && ctx.Err() == nil {
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
		at := a.g.wake
		if a.g.idle() {
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
		case ev := <-a.inbox:
			if err := a.stands(ctx); err != nil {
				return err
			}
			ev(a.g, time.Now())
		case <-timer.C:
			now := time.Now()
			if a.g.idle() {
				if now.Sub(idleSince) >= idleLinger {
					return errRetired
				}
				continue
			}
			if late := now.Sub(at); late > stallTolerance {
				a.g.postpone(late)
				continue
			}
			a.c.m.expired.Add(float64(a.g.expire(now)))
		}
		if err := a.settle(ctx); err != nil {
			return err
		}
	}
}

// account tells the coordinator, and those who look from outside, what the group has become.
func (a *actor) account() {
	a.c.newcomers.Add(a.g.newcomers.used - a.charged)
	a.charged = a.g.newcomers.used
	a.g.newcomers.left = a.c.cfg.MaxNewcomerBytes - a.c.newcomers.Load()
	a.c.m.rebalances.Add(float64(a.g.rebalance.completing - a.settled))
	a.settled = a.g.rebalance.completing
	now := Listing{ID: a.id, ProtocolType: a.g.protocolType, State: a.g.phase.String()}
	if old := a.listing.Load(); old == nil || *old != now {
		if old != nil {
			a.c.log.Debug("group changes", "group", a.id, "from", old.State, "to", now.State,
				"generation", a.g.generation, "reason", a.g.rebalance.reason)
		}
		a.listing.Store(&now)
	}
}

// settle commits what the group wants, and tells those who wait for it.
func (a *actor) settle(ctx context.Context) error {
	for a.g.wanted != nil {
		began := time.Now()
		if err := a.write(ctx); err != nil {
			return err
		}
		w := a.g.wanted
		a.g.wanted = nil
		now := time.Now()
		if deaf := now.Sub(began); deaf > 0 {
			a.g.postpone(deaf) // who sent a heartbeat meanwhile was not heard
		}
		for _, then := range w.then {
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
	}
	_, err := a.do(ctx, state.WriteGroup{Claim: a.claim, Group: a.g.durable(time.Now())})
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

// stands checks, in what this agent has applied, that nobody else has claimed the group and that it was not deleted.
func (a *actor) stands(ctx context.Context) error {
	var owner state.UUID
	var claim uint64
	if err := a.c.door.Ask(ctx, metadata.Local(), func(r state.Reader) { owner, claim = r.Claim(a.id) }); err != nil {
		return unavailable(err)
	}
	switch self := a.c.door.ID(); {
	case claim == a.claim && (!a.claimed || owner == self):
		return nil
	case claim == 0 || owner == self:
		return errRetired
	}
	return ErrNotCoordinator
}
