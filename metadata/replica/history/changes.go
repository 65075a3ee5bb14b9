package history

import (
	"context"
	"sync"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// Changes remembers recent changes for watchers. All fields are guarded by mu; wake is closed and replaced at every publish.
//
// Bound: between limit and twice as many changes are remembered (plus those of one entry). A watcher who is further behind is told
// state.ChangeAll and goes on from the newest change.
type Changes struct {
	limit int

	mu      sync.Mutex
	changes []state.Change // the newest ones, oldest first
	first   uint64         // sequence number of changes[0]; sequence numbers count all changes ever published here
	index   uint64         // newest published entry
	floor   uint64         // changes of entries ≤ floor may be missing
	begun   bool
	wake    chan struct{}
	stopped bool
}

// NewChanges remembers limit changes.
func NewChanges(limit int) *Changes { return &Changes{limit: limit, wake: make(chan struct{})} }

// Publish makes the changes of entry index known, and the index with them.
func (h *Changes) Publish(index uint64, changes []state.Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.changes)+len(changes) > 2*h.limit { // trimmed rarely and by half, so that publishing stays cheap
		drop := max(len(h.changes)-h.limit, 0)
		if drop > 0 {
			h.floor = h.changes[drop-1].Index
			h.changes = append([]state.Change(nil), h.changes[drop:]...)
			h.first += uint64(drop)
		}
	}
	h.changes = append(h.changes, changes...)
	h.index = index
	close(h.wake)
	h.wake = make(chan struct{})
}

// Jump makes index known without its changes: watchers are told to look at everything.
func (h *Changes) Jump(index uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.begun {
		h.first += uint64(len(h.changes)) + 1
	}
	h.changes = nil
	h.begun, h.floor, h.index = true, index, index
	close(h.wake)
	h.wake = make(chan struct{})
}

// Stop releases everybody who waits.
func (h *Changes) Stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped = true
	close(h.wake)
	h.wake = make(chan struct{})
}

// Wait blocks until index is published.
func (h *Changes) Wait(ctx context.Context, index uint64) error {
	for {
		h.mu.Lock()
		reached, stopped, wake := h.index >= index, h.stopped, h.wake
		h.mu.Unlock()
		switch {
		case reached:
			return nil
		case stopped:
			return metadata.ErrStopped
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Next answers the changes with a sequence number ≥ seq, or what to wait for. gap: some were forgotten; index is then the
// newest entry that the gap stands for.
func (h *Changes) Next(seq uint64) (changes []state.Change, after uint64, gap bool, index uint64, wake <-chan struct{}, stopped bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	end := h.first + uint64(len(h.changes))
	if seq < h.first {
		return nil, end, true, h.index, h.wake, h.stopped
	}
	// The slice is only ever appended to or replaced, so that a reader may keep a part of it.
	return h.changes[seq-h.first : len(h.changes) : len(h.changes)], end, false, h.index, h.wake, h.stopped
}

// Start answers the sequence number of the first change after entry since, or a gap.
func (h *Changes) Start(since uint64) (seq uint64, gap bool, index uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	end := h.first + uint64(len(h.changes))
	if !h.begun || since < h.floor {
		return end, h.begun, h.index
	}
	seq = h.first
	for _, c := range h.changes {
		if c.Index > since {
			break
		}
		seq++
	}
	return seq, false, h.index
}
