package liveness

import (
	"context"
	"sync"
	"time"
)

// Waking is since when this process has been awake: whom it did not hear while it slept, or had no processor, was not silent.
// Guarded by mu.
type Waking struct {
	mu    sync.Mutex
	since time.Time
	last  time.Time // when it last was seen to be awake
}

// NewWaking is awake since now.
func NewWaking(now time.Time) *Waking { return &Waking{since: now, last: now} }

// Run looks every beat, until ctx ends. Longer than patience between two looks is sleep.
func (w *Waking) Run(ctx context.Context, beat, patience time.Duration) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.Look(time.Now(), patience)
		}
	}
}

// Look notes that the process is awake, and answers since when.
func (w *Waking) Look(now time.Time, patience time.Duration) (since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Sub(w.last) > patience {
		w.since = now
	}
	if now.After(w.last) {
		w.last = now
	}
	return w.since
}
