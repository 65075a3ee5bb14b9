// Package sessions closes the sessions of processes that are gone, for the replica that leads.
//
// It judges by silence, and must never be needed for safety: a session that is closed too early costs its agent a new life, and its
// clients a retry; nothing else depends on it.
package sessions

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/leat-stream/leat/metadata/replica/liveness"
	"github.com/leat-stream/leat/metadata/state"
)

// Leader is what a keeper needs of the replica that leads. Its methods are safe for concurrent use.
type Leader interface {
	// Sessions is the open ones of the other agents.
	Sessions() []state.Session
	// Leads looks into the journal whether this replica still leads.
	Leads(ctx context.Context) bool
	// Gone asks where a session's process should be, and tells whether it certainly is not there any more. It answers soon.
	Gone(ctx context.Context, s state.Session) bool
	// Close has this replica close a session. An error: it leads no more, or stops. If another one leads meanwhile, that one judges
	// for itself.
	Close(ctx context.Context, id state.UUID) error
}

// Limits are those of replica.Config.
type Limits struct {
	Beat            time.Duration // between two looks
	Patience        time.Duration // longer than this between two looks is sleep
	SessionPatience time.Duration // silence after which a session is closed
}

const (
	// knownBeats is the silence, in beats, after which the leader asks whether a session's process still is there.
	knownBeats = 2
	// probes is how many peers are asked at once.
	probes = 16
)

// Keeper closes dead sessions during one leadership. seen is when it first saw each session that is open; the goroutine in Run has it.
type Keeper struct {
	Leader Leader
	Alive  *liveness.Agents // who was heard of when
	Limits Limits
	Log    *slog.Logger
	Alone  uint64 // not 0: no other process has the journal, and whoever had it before that index was fenced with it

	seen map[state.UUID]time.Time
}

// Run closes sessions until ctx ends: at once when nothing listens where their processes did or another process does, otherwise after
// SessionPatience without a sign of life. Alone, it closes those that were opened before, and nothing else.
func (k *Keeper) Run(ctx context.Context) {
	w := liveness.NewWaking(time.Now())
	var wg sync.WaitGroup
	wg.Go(func() { w.Run(ctx, k.Limits.Beat, k.Limits.Patience) })
	defer wg.Wait()
	tick := time.NewTicker(k.Limits.Beat)
	defer tick.Stop()
	for known := w.Look(time.Now(), k.Limits.Patience); ; {
		now := time.Now()
		since := w.Look(now, k.Limits.Patience)
		if since == known || k.Leader.Leads(ctx) { // after a sleep it may have been deposed, and nobody would tell it
			known = since
			k.closeDead(ctx, k.findDead(ctx, now, since))
			k.Alive.Forget(now, k.Limits.SessionPatience)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// dead is a session to be closed, and why.
type dead struct {
	state.Session
	why string
}

// see answers the open sessions, and notes when each was first seen: an agent that has just begun was not silent before.
func (k *Keeper) see(now time.Time) []state.Session {
	open := k.Leader.Sessions()
	still := make(map[state.UUID]time.Time, len(open))
	for _, s := range open {
		still[s.ID] = now
		if at, ok := k.seen[s.ID]; ok {
			still[s.ID] = at
		}
	}
	k.seen = still
	return open
}

// findDead asks about those who have been silent, as of now. Nobody could be heard before since.
func (k *Keeper) findDead(ctx context.Context, now, since time.Time) (found []dead) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, probes)
	add := func(s state.Session, why string) {
		mu.Lock()
		defer mu.Unlock()
		found = append(found, dead{s, why})
	}
	for _, s := range k.see(now) {
		last := k.Alive.Last(s.ID)
		silent := min(now.Sub(last), now.Sub(since), now.Sub(k.seen[s.ID]))
		switch {
		case k.Alone > 0:
			if s.Opened < k.Alone {
				add(s, "another process had the journal before this one")
			}
		case silent > k.Limits.SessionPatience:
			add(s, "nothing was heard of it for "+silent.Round(time.Second).String())
		case s.Peer != "" && (last.IsZero() || silent > knownBeats*k.Limits.Beat):
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				if k.Leader.Gone(ctx, s) {
					add(s, "its process is not there any more")
				}
			})
		}
	}
	wg.Wait()
	return found
}

func (k *Keeper) closeDead(ctx context.Context, all []dead) {
	for _, s := range all {
		if k.Leader.Close(ctx, s.ID) != nil {
			return
		}
		k.Log.Info("session of an agent closed", "why", s.why, "whose", s.Agent, "broker", s.NodeID, "peer", s.Peer, "closed", s.ID)
	}
}
