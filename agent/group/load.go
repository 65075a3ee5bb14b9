package group

import (
	"context"
	"time"

	"github.com/leat-stream/leat/agent/group/classic"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// load reads the group from the journal, and claims it if it has members: from then on nobody else's writes count, also
// not late ones of this agent's earlier claims. A group without members is claimed when there is something to write, so that
// asking for groups that do not exist leaves no trace.
func (a *actor) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, a.c.cfg.WriteTimeout)
	defer cancel()
	d, owner, claim, err := a.read(ctx, metadata.Fresh())
	if err != nil {
		return err
	}
	if !a.c.mine(a.id) { // which this agent has just learned, perhaps
		return ErrNotCoordinator
	}
	a.claim = claim
	a.peopled = len(d.Members) > 0
	undecided := claim != 0 && owner == a.c.door.ID() // a write under our earlier claim may be
	for try := 1; (len(d.Members) > 0 || undecided) && !a.claimed; try++ {
		results, err := a.c.door.Do(ctx, state.ClaimGroup{Group: a.id, Replaces: a.claim})
		if err != nil {
			return unavailable(err)
		}
		r := results[0]
		if r.Code == state.CodeConflict && try < claimTries {
			a.claim = uint64(r.Number)
			continue
		}
		if err := codeError(r.Code); err != nil {
			return err
		}
		a.c.m.claims.Inc()
		a.claimed, a.claim = true, r.Index
		if d, _, claim, err = a.read(ctx, metadata.At(r.Index)); err != nil {
			return err
		}
		if claim != a.claim {
			return ErrNotCoordinator
		}
	}
	now := time.Now()
	a.g = classic.Restore(&a.c.cfg.Limits, d, now)
	_, a.times.deaf = a.c.door.Look(now)
	return nil
}

func (a *actor) read(ctx context.Context, f metadata.Freshness) (d state.Group, owner state.UUID, claim uint64, err error) {
	err = a.c.door.Ask(ctx, f, func(r state.Reader) {
		d, _ = r.Group(a.id)
		owner, claim = r.Claim(a.id)
	})
	d.ID = a.id
	if err != nil {
		err = unavailable(err)
	}
	return d, owner, claim, err
}
