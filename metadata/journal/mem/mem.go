// Package mem is the journal in the memory of one process, for tests and for agents that are thrown away.
//
// Several journals can be opened on one Log, each acting as one process, so that take-over can be tested without a bucket.
// The package must never be used where entries have to outlive the process.
package mem

import (
	"context"
	"crypto/rand"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/leat-stream/leat/metadata/journal"
)

// Log is what the journals opened on it share.
type Log struct {
	mu      sync.Mutex // guards all below
	entries map[uint64]journal.Entry
	last    uint64
	term    journal.TermID // of the last fence
	head    journal.Head
	hasHead bool
	bucket  *[16]byte // whose head names this log
}

// New answers an empty log with a fresh cluster id.
func New() *Log {
	l := &Log{entries: make(map[uint64]journal.Entry), hasHead: true}
	l.head = journal.Head{Format: journal.Level, Driver: journal.DriverMem}
	rand.Read(l.head.Cluster[:])
	return l
}

// Open answers one more journal on the log.
func (l *Log) Open() *Journal { return &Journal{log: l} }

// RemoveHead makes the log one whose head is missing, for tests of rule J6.
func (l *Log) RemoveHead() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hasHead = false
}

// Journal is one opener of a Log. It implements journal.Journal.
type Journal struct{ log *Log }

var _ journal.Journal = (*Journal)(nil)

// Head implements journal.Journal.
func (j *Journal) Head(ctx context.Context) (journal.Head, error) {
	unlock, err := j.log.lock(ctx)
	if err != nil {
		return journal.Head{}, fmt.Errorf("read head: %w", err)
	}
	defer unlock()
	return j.log.head, nil
}

// lock takes the log's lock if ctx has not ended and head is there (J6).
func (l *Log) lock(ctx context.Context) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	if !l.hasHead {
		l.mu.Unlock()
		return nil, journal.ErrNoHead
	}
	return l.mu.Unlock, nil
}

// Read implements journal.Journal.
func (j *Journal) Read(ctx context.Context, from uint64) iter.Seq2[journal.Entry, error] {
	return func(yield func(journal.Entry, error) bool) {
		for index := from; ; index++ {
			e, end, err := j.log.get(ctx, index)
			if err != nil {
				yield(journal.Entry{}, fmt.Errorf("read entry %d: %w", index, err))
				return
			}
			if end || !yield(e, nil) {
				return
			}
		}
	}
}

// get answers the entry at index, or that the journal ends before it.
func (l *Log) get(ctx context.Context, index uint64) (e journal.Entry, end bool, err error) {
	unlock, err := l.lock(ctx)
	if err != nil {
		return e, false, err
	}
	defer unlock()
	if index == 0 || index < l.head.Boundary {
		return e, false, journal.ErrTrimmed
	}
	e, ok := l.entries[index]
	return e, !ok, nil
}

// Lead implements journal.Journal.
func (j *Journal) Lead(ctx context.Context, after uint64, body []byte) (journal.Term, error) {
	var id journal.TermID
	rand.Read(id[:])
	e := journal.Entry{Index: after + 1, Kind: journal.KindFence, Term: id, Body: body}
	if len(body) > journal.MaxBody {
		return nil, fmt.Errorf("lead after %d: %w", after, journal.ErrTooLarge)
	}
	unlock, err := j.log.lock(ctx)
	if err != nil {
		return nil, fmt.Errorf("lead after %d: %w", after, err)
	}
	defer unlock()
	if err := j.log.at(after); err != nil {
		return nil, fmt.Errorf("lead after %d: %w", after, err)
	}
	j.log.put(e)
	j.log.term = id
	return &term{log: j.log, fence: e, last: e.Index}, nil
}

// at tells how applied stands to the end of the log.
func (l *Log) at(applied uint64) error {
	switch {
	case applied+1 < l.head.Boundary:
		return journal.ErrTrimmed
	case applied < l.last:
		return journal.ErrBehind
	case applied > l.last:
		return fmt.Errorf("%w: the journal ends at %d", journal.ErrCorrupt, l.last)
	}
	return nil
}

func (l *Log) put(e journal.Entry) {
	l.entries[e.Index] = e
	l.last = e.Index
}

// Tip implements journal.Journal.
func (j *Journal) Tip(ctx context.Context, applied uint64) error {
	unlock, err := j.log.lock(ctx)
	if err != nil {
		return fmt.Errorf("tip at %d: %w", applied, err)
	}
	defer unlock()
	if err := j.log.at(applied); err != nil {
		return fmt.Errorf("tip at %d: %w", applied, err)
	}
	return nil
}

// Trim implements journal.Journal.
func (j *Journal) Trim(ctx context.Context, t journal.Trim) error {
	unlock, err := j.log.lock(ctx)
	if err != nil {
		return fmt.Errorf("trim to %d: %w", t.Boundary, err)
	}
	defer unlock()
	l := j.log
	if l.head, _, err = l.head.Grow(t); err != nil {
		return err
	}
	for index := t.From; index < l.head.Deletable(t); index++ {
		if e, ok := l.entries[index]; ok && e.Kind != journal.KindFence && !t.Keep(index) {
			delete(l.entries, index)
		}
	}
	return nil
}

// Indexes answers the indexes of the entries that are still kept, in order, for tests of trimming.
func (l *Log) Indexes() []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []uint64
	for index := range l.entries {
		all = append(all, index)
	}
	slices.Sort(all)
	return all
}

// Identity tells what the bucket beside this journal must say, and which one it is bound to: see object.Bind.
func (j *Journal) Identity() (driver journal.Driver, cluster [16]byte, bucket *[16]byte, err error) {
	j.log.mu.Lock()
	defer j.log.mu.Unlock()
	return journal.DriverMem, j.log.head.Cluster, j.log.bucket, nil
}

// MarkBound records which bucket's head names this journal. journal.ErrMismatch if that is another one already.
func (j *Journal) MarkBound(bucket [16]byte) error {
	j.log.mu.Lock()
	defer j.log.mu.Unlock()
	if was := j.log.bucket; was != nil && *was != bucket {
		return fmt.Errorf("%w: this journal is bound to another bucket", journal.ErrMismatch)
	}
	j.log.bucket = &bucket
	return nil
}

// term implements journal.Term. last belongs to the goroutine that appends.
type term struct {
	log   *Log
	fence journal.Entry
	last  uint64
}

func (t *term) Fence() journal.Entry { return t.fence }

func (t *term) Append(ctx context.Context, body []byte) (journal.Entry, error) {
	if len(body) > journal.MaxBody {
		return journal.Entry{}, fmt.Errorf("append %d: %w", t.last+1, journal.ErrTooLarge)
	}
	if err := ctx.Err(); err != nil {
		t.log.depose(t.fence.Term)
		return journal.Entry{}, fmt.Errorf("append %d: %w: %w", t.last+1, journal.ErrUnknown, err)
	}
	t.log.mu.Lock()
	defer t.log.mu.Unlock()
	if t.log.term != t.fence.Term {
		return journal.Entry{}, fmt.Errorf("append %d: %w", t.last+1, journal.ErrFenced)
	}
	e := journal.Entry{Index: t.last + 1, Kind: journal.KindCommands, Term: t.fence.Term, Body: body}
	t.log.put(e)
	t.last = e.Index
	return e, nil
}

// depose ends term id without a new one, as every term ends after ErrUnknown.
func (l *Log) depose(id journal.TermID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term == id {
		l.term = journal.TermID{}
	}
}
