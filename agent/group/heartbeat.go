package group

import (
	"context"
	"time"
)

// HeartbeatRequest is a Heartbeat.
type HeartbeatRequest struct {
	Group, Member, Instance string
	Generation              int32
}

// Heartbeat keeps a member's session. Errors: ErrInvalidGroupID, ErrUnknownMember, ErrFencedInstance, ErrIllegalGeneration,
// ErrRebalanceInProgress (the session is kept; join again), ErrNotCoordinator, ErrCoordinatorNotAvailable.
func (c *Coordinator) Heartbeat(ctx context.Context, r HeartbeatRequest) error {
	if r.Group == "" || len(r.Group) > MaxGroupID {
		return ErrInvalidGroupID
	}
	_, err := call(ctx, c, r.Group, needMembers, func(g *group, w *waiter[struct{}], now time.Time) {
		w.Answer(struct{}{}, r.beat(g, now))
	})
	return err
}

func (r *HeartbeatRequest) beat(g *group, now time.Time) error {
	m, err := g.validate(r.Member, r.Instance)
	if err != nil {
		return err
	}
	if r.Generation != g.generation {
		return ErrIllegalGeneration
	}
	g.beat(m, now)
	if g.phase == phasePreparing {
		return ErrRebalanceInProgress
	}
	return nil
}
