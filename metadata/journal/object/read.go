package object

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/leat-stream/leat/metadata/journal"
)

// A run is what is validated by one GET of head: it ends with the journal, or after runEntries entries or runBytes bytes, at
// the next end of a window of prefetched slots.
const (
	runEntries = 64
	runBytes   = 4 << 20
)

// Read implements journal.Journal.
func (j *Journal) Read(ctx context.Context, from uint64) iter.Seq2[journal.Entry, error] {
	return func(yield func(journal.Entry, error) bool) {
		r := reader{journal: j, next: from, window: 1}
		for end := false; !end; {
			run, err := []journal.Entry(nil), error(nil)
			run, end, err = r.run(ctx)
			for _, e := range run {
				if !yield(e, nil) {
					return
				}
			}
			if err != nil {
				yield(journal.Entry{}, fmt.Errorf("read journal at %d: %w", r.next, err))
				return
			}
		}
	}
}

// reader belongs to one Read.
type reader struct {
	journal *Journal
	next    uint64 // the first slot that was not read
	window  int    // slots to ask for at once: it doubles, so that a reader at the end pays for little that is not there
}

// run answers the next validated entries, consecutive, and whether the journal ended after them. Damage ends a run too: what
// came before it is answered with the error.
//
// A 404 ends the run even if a later slot was found filled: slots are filled in order, so that one came later. It means the
// end only if head, read afterwards, shows that nothing from the first slot of the run on was trimmed (J2).
func (r *reader) run(ctx context.Context) (run []journal.Entry, end bool, err error) {
	first, size := r.next, 0
	if first == 0 {
		return nil, false, journal.ErrTrimmed // there is no entry 0
	}
	for !end && err == nil && len(run) < runEntries && size < runBytes {
		for _, s := range r.fetch(ctx) {
			if s.err == nil && !s.found {
				end = true
				break
			}
			var e journal.Entry
			if err = s.err; err == nil {
				e, err = journal.DecodeEntry(s.bytes, r.journal.cluster, r.next)
			}
			if err != nil {
				break
			}
			run, size, r.next = append(run, e), size+len(s.bytes), r.next+1
		}
	}
	if err != nil && !errors.Is(err, journal.ErrCorrupt) && !errors.Is(err, journal.ErrFormat) {
		return nil, false, err
	}
	h, _, headErr := r.journal.readHead(ctx)
	switch {
	case headErr != nil:
		return nil, false, headErr
	case h.Boundary > first:
		return nil, false, journal.ErrTrimmed
	}
	return run, end, err
}

// slot is what one GET of a slot answered.
type slot struct {
	bytes []byte
	found bool
	err   error
}

// fetch reads the next window of slots, all at once, and widens the window.
func (r *reader) fetch(ctx context.Context) []slot {
	slots := make([]slot, r.window)
	r.window = min(2*r.window, r.journal.prefetch)
	get := func(i int) {
		s := &slots[i]
		s.bytes, s.found, s.err = r.journal.getSlot(ctx, r.next+uint64(i))
	}
	var wg sync.WaitGroup
	for i := 1; i < len(slots); i++ {
		wg.Go(func() { get(i) })
	}
	get(0)
	wg.Wait()
	return slots
}
