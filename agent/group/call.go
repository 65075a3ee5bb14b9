package group

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leat-stream/leat/agent/group/classic"
	"github.com/leat-stream/leat/agent/group/proof"
	"github.com/leat-stream/leat/agent/group/reply"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// waiter is where the answer to one request goes.
type waiter[T any] = reply.To[T]

// need tells for whom a group is wanted.
type need uint8

const (
	needHeld    need = iota // only if it is in memory
	needHint                // as needHeld, and the answer is not the last word: the claim need not be confirmed
	needMembers             // also if the journal knows members of it; else it is ErrUnknownMember
	needAny                 // a new one is made if need be
)

// errAbsent: there is no group of the kind that was needed. errRetired: the actor had nothing to do any more; ask again.
var (
	errAbsent  = errors.New("group is absent")
	errRetired = errors.New("group is not in memory any more")
)

func (c *Coordinator) acquire(ctx context.Context, id string, n need) (*actor, error) {
	c.mu.Lock()
	a, ready := c.groups[id], c.running != nil && !c.stopped
	left := time.Now().Before(c.orphans[id].notBefore) // to the agent that claimed it
	mine := c.mine(id) && (a != nil || !left)
	if a == nil && ready && mine && n == needAny && c.start(id) {
		a = c.groups[id]
	}
	c.mu.Unlock()
	switch {
	case ready && !mine:
		return nil, ErrNotCoordinator
	case a != nil:
		return a, nil
	case !ready || n == needAny:
		return nil, ErrCoordinatorNotAvailable
	case n != needMembers:
		return nil, errAbsent
	}
	// Nothing negative is said before it was looked up freshly (rule R7).
	found := false
	if err := c.door.Ask(ctx, metadata.Fresh(), func(r state.Reader) { found = peopled(r, id) }); err != nil {
		return nil, unavailable(err)
	}
	if !found && c.mine(id) {
		return nil, ErrUnknownMember
	}
	return c.acquire(ctx, id, needAny)
}

// call runs f in the group's goroutine and waits until f, or something that happens later, answers w. Unless the answer is a
// hint, it is given only while the claim is confirmed (rule R11).
func call[T any](
	ctx context.Context, c *Coordinator, id string, n need, f func(g *classic.Group, w *waiter[T], now time.Time),
) (T, error) {
	var zero T
	for {
		a, err := c.acquire(ctx, id, n)
		if err != nil {
			return zero, err
		}
		w := reply.New[T]()
		answer, err := ask(ctx, a, w, func(g *classic.Group, now time.Time, proven bool) {
			if !proven && n != needHint {
				w.Answer(zero, proof.ErrNone)
				return
			}
			f(g, w, now)
		})
		switch err {
		case errRetired:
		case proof.ErrNone:
			if err := c.door.Await(ctx); err != nil {
				return zero, unavailable(err)
			}
		default:
			return answer, c.verdict(ctx, id, err)
		}
	}
}

// verdict holds what memory says against a member to a fresh look (rule R7): the claim may have been replaced just now, and
// the new coordinator know better.
func (c *Coordinator) verdict(ctx context.Context, id string, said error) error {
	if said != ErrUnknownMember && said != ErrIllegalGeneration && said != ErrFencedInstance {
		return said
	}
	var owner state.UUID
	found := false
	err := c.door.Ask(ctx, metadata.Fresh(), func(r state.Reader) {
		owner, _ = r.Claim(id)
		found = peopled(r, id)
	})
	switch {
	case err != nil:
		return unavailable(err)
	case !c.mine(id) || found && owner != c.door.ID():
		return ErrNotCoordinator
	}
	return said
}

func ask[T any](ctx context.Context, a *actor, w *waiter[T], ev event) (T, error) {
	var zero T
	select {
	case a.inbox <- ev:
	case <-a.gone:
		return zero, a.err
	case <-ctx.Done():
		return zero, unavailable(context.Cause(ctx))
	}
	switch value, ok, err := w.Await(ctx, a.gone); {
	case ok:
		return value, err
	case ctx.Err() != nil:
		return zero, unavailable(context.Cause(ctx))
	}
	return zero, a.err
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", ErrCoordinatorNotAvailable, err) }
