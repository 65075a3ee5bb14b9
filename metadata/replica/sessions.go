package replica

import (
	"context"
	"errors"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/replica/sessions"
	"github.com/leat-stream/leat/metadata/state"
)

// office is a leader as the keeper of sessions sees it.
type office struct{ *Replica }

var _ sessions.Leader = office{}

// keeper closes dead sessions while this replica leads.
func (r office) keeper() *sessions.Keeper {
	k := &sessions.Keeper{
		Leader: r, Alive: r.net.alive, Log: r.log,
		Limits: sessions.Limits{Beat: r.cfg.Beat, Patience: r.cfg.Patience, SessionPatience: r.cfg.SessionPatience},
	}
	if r.net.peers == nil {
		k.Alone = r.at.Load().term
	}
	return k
}

// Leads implements sessions.Leader.
func (r office) Leads(ctx context.Context) bool {
	return r.Ask(ctx, metadata.Fresh(), func(state.Reader) {}) == nil && r.Leading()
}

// Gone implements sessions.Leader. A process that answers and believes to lead in an older term is told to look.
func (r office) Gone(ctx context.Context, s state.Session) bool {
	status, err := r.net.peers.Status(ctx, s.Peer)
	switch {
	case errors.Is(err, ErrRefused):
		return true
	case err != nil:
		return false
	case status.Session != s.ID:
		return true
	}
	r.net.alive.Hear(s.ID, time.Now())
	if status.Heard == 0 && status.Term < r.at.Load().term {
		ctx, cancel := context.WithTimeout(ctx, tipPatience)
		defer cancel()
		_, _ = r.net.peers.Tip(ctx, s.Peer, maxHops) // to prove it, it looks into the journal, and finds that it does not lead
	}
	return false
}

// Close implements sessions.Leader.
func (r office) Close(ctx context.Context, id state.UUID) error {
	_, _, err := r.doHere(ctx, []state.Command{{Time: r.cfg.Clock().UnixMilli(), Op: state.CloseSession{Session: id}}})
	return err
}

// Sessions implements sessions.Leader.
func (r office) Sessions() []state.Session { return r.openSessions() }

// openSessions is those of the other agents.
func (r *Replica) openSessions() (open []state.Session) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for s := range r.st.Reader().Sessions() {
		if !s.Closed && s.ID != r.cfg.Leader.Session {
			open = append(open, s)
		}
	}
	return open
}
