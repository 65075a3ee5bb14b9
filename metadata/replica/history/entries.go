// Package history is what a replica remembers of the recent past: changes, for those who watch its state, and entries, for the
// replicas that follow it.
//
// It must never hand out anything that was not applied, nor leave a gap that it does not tell of.
package history

import (
	"sync"

	"github.com/leat-stream/leat/metadata/journal"
)

// Bounds of what a replica remembers for those who follow it. Who needs older entries reads the journal.
const (
	recentEntries = 8192
	recentBytes   = 16 << 20
)

// Entries is the newest applied entries, without a gap. wake is closed and replaced whenever one is added.
type Entries struct {
	mu      sync.Mutex
	entries []journal.Entry
	end     uint64 // index of the newest that was added, or that the state began from
	bytes   int
	wake    chan struct{}
}

// NewEntries remembers none yet.
func NewEntries() *Entries { return &Entries{wake: make(chan struct{})} }

// Add remembers an entry that was just applied.
func (r *Entries) Add(e journal.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.entries); n > 0 && r.entries[n-1].Index+1 != e.Index {
		r.entries, r.bytes = nil, 0
	}
	r.entries, r.end = append(r.entries, e), e.Index
	r.bytes += len(e.Body)
	drop := 0
	for len(r.entries)-drop > recentEntries || r.bytes > recentBytes && len(r.entries)-drop > 1 {
		r.bytes -= len(r.entries[drop].Body)
		r.entries[drop] = journal.Entry{} // the array is shared with nobody, and lives until append moves it
		drop++
	}
	r.entries = r.entries[drop:]
	close(r.wake)
	r.wake = make(chan struct{})
}

// Reset forgets everything: the state begins from the snapshot at index.
func (r *Entries) Reset(index uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries, r.bytes, r.end = nil, 0, index
	close(r.wake)
	r.wake = make(chan struct{})
}

// From answers copies of up to 64 entries from index on, and what to wait for when there are none. missing: entries up to end
// are needed that are not remembered.
func (r *Entries) From(index uint64) (entries []journal.Entry, missing bool, end uint64, wake <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if index > r.end {
		return nil, false, r.end, r.wake
	}
	if len(r.entries) == 0 || index < r.entries[0].Index {
		return nil, true, r.end, r.wake
	}
	list := r.entries[index-r.entries[0].Index:]
	return append([]journal.Entry(nil), list[:min(len(list), 64)]...), false, r.end, r.wake
}
