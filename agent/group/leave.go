package group

import (
	"context"
	"slices"
	"time"
)

// LeaveRequest is a LeaveGroup.
type LeaveRequest struct {
	Group   string
	Members []Leaver
}

// Leaver is a member that leaves, or is sent away by its group.instance.id alone (Member is "" then).
type Leaver struct {
	Member, Instance string
	Reason           string // KIP-800
}

// Leave removes members and answers an error for each: nil, ErrUnknownMember, ErrFencedInstance. That members are gone whom the
// journal knew is in the journal before Leave returns: the next coordinator does not wait for them until their sessions end. Errors of the whole request: ErrInvalidGroupID, ErrNotCoordinator, ErrCoordinatorNotAvailable.
func (c *Coordinator) Leave(ctx context.Context, r LeaveRequest) ([]error, error) {
	if r.Group == "" || len(r.Group) > MaxGroupID {
		return nil, ErrInvalidGroupID
	}
	errs, err := call(ctx, c, r.Group, needMembers, func(g *group, w *waiter[[]error], now time.Time) {
		errs := r.leave(g, now)
		g.afterWrite(func() { w.Answer(errs, nil) })
	})
	if err == ErrUnknownMember {
		errs = make([]error, len(r.Members))
		for i := range errs {
			errs[i] = ErrUnknownMember
		}
		return errs, nil
	}
	if i := slices.IndexFunc(errs, func(e error) bool { return e != nil }); i >= 0 && c.verdict(ctx, r.Group, errs[i]) != errs[i] {
		return nil, ErrNotCoordinator
	}
	return errs, err
}

func (r *LeaveRequest) leave(g *group, now time.Time) []error {
	errs := make([]error, len(r.Members))
	gone, known := 0, g.roster.known()
	for i, l := range r.Members {
		errs[i] = l.leave(g)
		if errs[i] == nil {
			gone++
		}
	}
	if gone > 0 && g.phase != phaseEmpty {
		g.rebalanceOrComplete("members leave", now)
	}
	if g.phase == phasePreparing && g.roster.known() < known { // else the generation that follows is written
		g.want(nil)
	}
	return errs
}

func (l *Leaver) leave(g *group) error {
	id := l.Member
	if id == "" {
		m := g.roster.instance(l.Instance)
		if m == nil {
			return ErrUnknownMember
		}
		id = m.id
	} else if _, ok := g.pending[id]; ok {
		g.removePending(id)
		return nil
	} else if _, err := g.validate(id, l.Instance); err != nil {
		return err
	}
	m := g.roster.byID[id]
	g.roster.answer(m, JoinResponse{}, ErrUnknownMember)
	if m.sync != nil {
		m.sync.Answer(SyncResponse{}, ErrUnknownMember)
		m.sync = nil
	}
	g.remove(id)
	return nil
}
