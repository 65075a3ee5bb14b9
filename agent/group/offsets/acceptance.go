package offsets

import (
	"context"
	"sync"
	"time"

	"github.com/leat-stream/leat/agent/group/proof"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

const (
	tick = 250 * time.Millisecond
	// stall is how long no tick comes if the process stood still.
	stall = time.Second
	// unread is how long after it stood still a request may be one that was sent meanwhile and waited to be read.
	unread = 500 * time.Millisecond
)

// Acceptance tells what this agent had applied when a request that is read now reached it. For one that waited to be read while the process
// stood still, that is what was applied before. How long one lay unread otherwise is for whoever reads to know: he asks when he has found
// nothing to read (wire.Config.Mark).
//
// applied never changes; mu guards what is below it. Run alone writes it.
type Acceptance struct {
	applied func() uint64 // 0 while the metadata cannot be read

	mu     sync.Mutex
	at     time.Time // of the last tick; zero before the first
	index  uint64    // applied then
	before uint64    // applied before the process stood still
	until  time.Time // so long requests may be as old as that
}

// NewAcceptance makes one; until Run runs it knows nothing of time. applied may be nil: then d is asked.
func NewAcceptance(d proof.Door, applied func() uint64) *Acceptance {
	if applied == nil {
		applied = func() (index uint64) {
			if err := d.Ask(context.Background(), metadata.Local(), func(r state.Reader) { index = r.Index() }); err != nil {
				return 0
			}
			return index
		}
	}
	return &Acceptance{applied: applied}
}

// Index is the journal index for a request that is read now; 0 while the metadata cannot be read. It waits for nothing.
func (a *Acceptance) Index() uint64 {
	index, now := a.applied(), time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.at.IsZero():
	case now.Sub(a.at) > stall:
		index = min(index, a.index)
	case now.Before(a.until):
		index = min(index, a.before)
	}
	return index
}

// Run ticks until ctx ends.
func (a *Acceptance) Run(ctx context.Context) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		if index := a.applied(); index > 0 {
			a.note(index, time.Now())
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// note is a tick.
func (a *Acceptance) note(index uint64, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.at.IsZero() && now.Sub(a.at) > stall {
		if !now.Before(a.until) { // else it stood still once more: what is older counts
			a.before = a.index
		}
		a.until = now.Add(unread)
	}
	a.at, a.index = now, index
}
