package offsets

import (
	"context"
	"sync"
	"time"

	"github.com/leat-stream/leat/agent/group/proof"
)

const (
	tick = 250 * time.Millisecond
	// stall is how long no tick comes if the process stood still.
	stall = time.Second
	// unread is how long after it stood still a request may be one that was sent meanwhile and waited to be read.
	unread = 500 * time.Millisecond
)

// Acceptance tells what this agent had applied when a request reached it: no more than what was committed before it was sent. For one
// that waited to be read while the process stood still, that is what was applied before.
//
// door never changes; mu guards what is below it. Run alone writes it.
type Acceptance struct {
	door proof.Door

	mu     sync.Mutex
	at     time.Time // of the last tick; zero before the first
	index  uint64    // applied then
	before uint64    // applied before the process stood still
	until  time.Time // so long requests may be as old as that
}

// NewAcceptance makes one; until Run runs it knows nothing of time.
func NewAcceptance(d proof.Door) *Acceptance { return &Acceptance{door: d} }

// Index is the journal index for a request that was just read; 0 while the metadata cannot be read.
func (a *Acceptance) Index(ctx context.Context) uint64 {
	index, err := applied(ctx, a.door)
	if err != nil {
		return 0
	}
	now := time.Now()
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
		if index, err := applied(ctx, a.door); err == nil {
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
