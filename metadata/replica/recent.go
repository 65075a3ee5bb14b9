package replica

import (
	"sync"

	"github.com/leat-stream/leat/metadata/journal"
)

// Bounds of what a replica remembers for those who follow it. Who needs older entries reads the journal.
const (
	recentEntries = 8192
	recentBytes   = 16 << 20
)

// recent is the newest applied entries, without a gap. wake is closed and replaced whenever one is added.
type recent struct {
	mu      sync.Mutex
	entries []journal.Entry
	bytes   int
	wake    chan struct{}
}

func newRecent() *recent { return &recent{wake: make(chan struct{})} }

func (r *recent) add(e journal.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.entries); n > 0 && r.entries[n-1].Index+1 != e.Index {
		r.entries, r.bytes = nil, 0
	}
	r.entries = append(r.entries, e)
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

// reset forgets everything.
func (r *recent) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries, r.bytes = nil, 0
	close(r.wake)
	r.wake = make(chan struct{})
}

// from answers copies of up to 64 entries from index on, and what to wait for when there are none. missing: older ones would be
// needed. applied is the newest index that the replica has applied.
func (r *recent) from(index, applied uint64) (entries []journal.Entry, missing bool, wake <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.entries) == 0 {
		return nil, index <= applied, r.wake
	}
	first, last := r.entries[0].Index, r.entries[len(r.entries)-1].Index
	switch {
	case index < first:
		return nil, true, r.wake
	case index > last:
		return nil, index <= applied && applied > last, r.wake
	}
	list := r.entries[index-first:]
	return append([]journal.Entry(nil), list[:min(len(list), 64)]...), false, r.wake
}
