package replica

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// knownBeats is the silence, in beats, after which the leader asks whether a session's process still is there.
const knownBeats = 2

// keeper closes dead sessions, for a leader.
type keeper struct{ *Replica }

// run closes the sessions of processes that are gone, as long as this replica leads: at once when nothing listens where
// they did or another process does, otherwise after SessionPatience without a sign of life. A leader without peers closes
// those that were opened before it led, and nothing else: whoever had them was fenced with the journal.
//
// A session that is closed too early costs its agent a new life, and its clients a retry; nothing else depends on it.
func (r keeper) run(ctx context.Context) {
	began := time.Now()
	tick := time.NewTicker(r.cfg.Beat)
	defer tick.Stop()
	for last := began; ; {
		if now := time.Now(); now.Sub(last) > r.cfg.Patience {
			// This process slept, or had no processor: it may have been deposed meanwhile, and nobody would tell it.
			_ = r.Ask(ctx, metadata.Fresh(), func(state.Reader) {})
		}
		r.closeDead(ctx, r.findDead(ctx, began))
		last = time.Now()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// findDead asks about those who have been silent.
func (r keeper) findDead(ctx context.Context, began time.Time) (dead []state.UUID) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, probes)
	now := time.Now()
	for _, s := range r.openSessions() {
		last := r.net.alive.last(s.ID)
		silent := now.Sub(last)
		if last.Before(began) {
			silent = now.Sub(began)
		}
		switch {
		case r.net.peers == nil:
			if s.Opened < r.at.Load().term {
				dead = append(dead, s.ID)
			}
		case silent > r.cfg.SessionPatience:
			dead = append(dead, s.ID)
		case s.Peer != "" && (last.IsZero() || silent > knownBeats*r.cfg.Beat):
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				if r.gone(ctx, s) {
					mu.Lock()
					dead = append(dead, s.ID)
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	return dead
}

// probes is how many peers are asked for their status at once.
const probes = 16

// gone asks where a session's process should be. One that answers and believes to lead in an older term is told to look.
func (r keeper) gone(ctx context.Context, s state.Session) bool {
	status, err := r.net.peers.Status(ctx, s.Peer)
	switch {
	case errors.Is(err, ErrRefused):
		return true
	case err != nil:
		return false
	case status.Session != s.ID:
		return true
	}
	r.net.alive.hear(s.ID, time.Now())
	if status.Heard == 0 && status.Term < r.at.Load().term {
		ctx, cancel := context.WithTimeout(ctx, tipPatience)
		defer cancel()
		_, _ = r.net.peers.Tip(ctx, s.Peer, maxHops) // to prove it, it looks into the journal, and finds that it does not lead
	}
	return false
}

func (r keeper) closeDead(ctx context.Context, dead []state.UUID) {
	for _, id := range dead {
		if _, err := r.Do(ctx, state.Command{Time: r.cfg.Clock().UnixMilli(), Op: state.CloseSession{Session: id}}); err != nil {
			return // it leads no more, or stops
		}
		r.log.Info("session closed: its agent is gone", "session", id)
	}
}

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
