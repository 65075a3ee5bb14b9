package classic

import (
	"time"

	"github.com/leat-stream/leat/agent/group/reply"
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

// Leave handles a LeaveGroup: w is answered an error for each member, nil, ErrUnknownMember or ErrFencedInstance, when it is in the journal
// that those are gone whom it knew.
func (r *LeaveRequest) Leave(g *Group, w *reply.To[[]error], now time.Time) {
	errs := r.leave(g, now)
	g.afterWrite(func() { w.Answer(errs, nil) })
}

func (r *LeaveRequest) leave(g *Group, now time.Time) []error {
	errs := make([]error, len(r.Members))
	gone, known := 0, g.roster.known()
	for i, l := range r.Members {
		errs[i] = l.leave(g)
		if errs[i] == nil {
			gone++
		}
	}
	if gone > 0 && g.Phase != Empty {
		g.rebalanceOrComplete("members leave", now)
	}
	if g.Phase == Preparing && g.roster.known() < known { // else the generation that follows is written
		g.want(nil)
	}
	return errs
}

func (l *Leaver) leave(g *Group) error {
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
