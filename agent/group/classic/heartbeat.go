package classic

import (
	"time"

	"github.com/leat-stream/leat/agent/group/reply"
)

// HeartbeatRequest is a Heartbeat.
type HeartbeatRequest struct {
	Group, Member, Instance string
	Generation              int32
}

// Beat handles a Heartbeat.
func (r *HeartbeatRequest) Beat(g *Group, w *reply.To[struct{}], now time.Time) {
	w.Answer(struct{}{}, r.beat(g, now))
}

func (r *HeartbeatRequest) beat(g *Group, now time.Time) error {
	m, err := g.validate(r.Member, r.Instance)
	if err != nil {
		return err
	}
	if r.Generation != g.Generation {
		return ErrIllegalGeneration
	}
	g.beat(m, now)
	if g.Phase == Preparing {
		return ErrRebalanceInProgress
	}
	return nil
}
