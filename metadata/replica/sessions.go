package replica

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/replica/liveness"
	"github.com/leat-stream/leat/metadata/state"
)

// knownBeats is the silence, in beats, after which the leader asks whether a session's process still is there.
const knownBeats = 2

// keeper closes dead sessions, for a leader. seen is when it first saw each session that is open; the goroutine in run has it.
type keeper struct {
	*Replica
	seen map[state.UUID]time.Time
}

// run closes the sessions of processes that are gone, as long as this replica leads: at once when nothing listens where
// they did or another process does, otherwise after SessionPatience without a sign of life. A leader without peers closes
// those that were opened before it led, and nothing else: whoever had them was fenced with the journal.
//
// A session that is closed too early costs its agent a new life, and its clients a retry; nothing else depends on it.
func (r keeper) run(ctx context.Context) {
	w := liveness.NewWaking(time.Now())
	var wg sync.WaitGroup
	wg.Go(func() { w.Run(ctx, r.cfg.Beat, r.cfg.Patience) })
	defer wg.Wait()
	tick := time.NewTicker(r.cfg.Beat)
	defer tick.Stop()
	for known := w.Look(time.Now(), r.cfg.Patience); ; {
		now := time.Now()
		since := w.Look(now, r.cfg.Patience)
		if since == known || r.leads(ctx) {
			known = since
			r.closeDead(ctx, r.findDead(ctx, now, since))
			r.net.alive.Forget(now, r.cfg.SessionPatience)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// leads looks into the journal, after this process slept: it may have been deposed meanwhile, and nobody would tell it.
func (r keeper) leads(ctx context.Context) bool {
	return r.Ask(ctx, metadata.Fresh(), func(state.Reader) {}) == nil && r.Leading()
}

// dead is a session to be closed, and why.
type dead struct {
	state.Session
	why string
}

// see answers the open sessions, and notes when each was first seen: an agent that has just begun was not silent before.
func (r keeper) see(now time.Time) []state.Session {
	open := r.openSessions()
	still := make(map[state.UUID]time.Time, len(open))
	for _, s := range open {
		still[s.ID] = now
		if at, ok := r.seen[s.ID]; ok {
			still[s.ID] = at
		}
	}
	clear(r.seen)
	maps.Copy(r.seen, still)
	return open
}

// findDead asks about those who have been silent, as of now. Nobody could be heard before since.
func (r keeper) findDead(ctx context.Context, now, since time.Time) (found []dead) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, probes)
	add := func(s state.Session, why string) {
		mu.Lock()
		defer mu.Unlock()
		found = append(found, dead{s, why})
	}
	for _, s := range r.see(now) {
		last := r.net.alive.Last(s.ID)
		silent := min(now.Sub(last), now.Sub(since), now.Sub(r.seen[s.ID]))
		switch {
		case r.net.peers == nil:
			if s.Opened < r.at.Load().term {
				add(s, "another process had the journal before this one")
			}
		case silent > r.cfg.SessionPatience:
			add(s, "nothing was heard of it for "+silent.Round(time.Second).String())
		case s.Peer != "" && (last.IsZero() || silent > knownBeats*r.cfg.Beat):
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				if r.gone(ctx, s) {
					add(s, "its process is not there any more")
				}
			})
		}
	}
	wg.Wait()
	return found
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
	r.net.alive.Hear(s.ID, time.Now())
	if status.Heard == 0 && status.Term < r.at.Load().term {
		ctx, cancel := context.WithTimeout(ctx, tipPatience)
		defer cancel()
		_, _ = r.net.peers.Tip(ctx, s.Peer, maxHops) // to prove it, it looks into the journal, and finds that it does not lead
	}
	return false
}

// closeDead has this replica close the sessions; if another one leads meanwhile, that one judges for itself.
func (r keeper) closeDead(ctx context.Context, all []dead) {
	for _, s := range all {
		if _, err := r.doHere(ctx, []state.Command{{Time: r.cfg.Clock().UnixMilli(), Op: state.CloseSession{Session: s.ID}}}); err != nil {
			return // it leads no more, or stops
		}
		r.log.Info("session of an agent closed", "why", s.why, "whose", s.Agent, "broker", s.NodeID, "peer", s.Peer, "closed", s.ID)
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
