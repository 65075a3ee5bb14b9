package bolt

import (
	"context"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/leat-stream/leat/metadata/journal"
)

// term implements journal.Term. last belongs to the goroutine that appends.
type term struct {
	journal *Journal
	fence   journal.Entry
	last    uint64
}

func (t *term) Fence() journal.Entry { return t.fence }

func (t *term) Append(ctx context.Context, body []byte) (journal.Entry, error) {
	e := journal.Entry{Index: t.last + 1, Kind: journal.KindCommands, Term: t.fence.Term, Body: body}
	if len(body) > journal.MaxBody {
		return journal.Entry{}, fmt.Errorf("append %d: %w", e.Index, journal.ErrTooLarge)
	}
	j := t.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.term != t.fence.Term {
		return journal.Entry{}, fmt.Errorf("append %d: %w", e.Index, journal.ErrFenced)
	}
	err := ctx.Err()
	if err == nil {
		_, err = j.update(func(tx *bbolt.Tx, h journal.Head) error { return put(tx, h, e) })
	}
	if err != nil {
		// Whether the transaction is on disk is not known, and never asked of the page cache: the next start will tell.
		j.term = journal.TermID{}
		return journal.Entry{}, fmt.Errorf("append %d: %w: %w", e.Index, journal.ErrUnknown, err)
	}
	t.last = e.Index
	return e, nil
}
