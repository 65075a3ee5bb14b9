package object

import (
	"context"
	"fmt"
	"sync"

	"github.com/leat-stream/leat/metadata/journal"
)

// Lead implements journal.Journal.
//
// The fence's id is fresh for every call (J4), so its bytes are nobody else's and "mine" cannot be mistaken. That it landed
// proves nothing yet: slot after+1 may have been committed and trimmed before, and the fence be junk (V2). So head is
// read once more, begun after the fence is known to be there (J3): with boundary ≤ after+1 the slot was never trimmed up to
// then, the fence is what the slot first held, and everybody will apply it. All entries up to after were validated when
// they were read, so the fence's slot is the first that was not, and the trace V3 cannot begin.
func (j *Journal) Lead(ctx context.Context, after uint64, body []byte) (journal.Term, error) {
	fence := journal.Entry{Index: after + 1, Kind: journal.KindFence, Term: j.newTerm(), Body: body}
	mine, err := journal.EncodeEntry(j.cluster, fence)
	if err != nil {
		return nil, fmt.Errorf("lead after %d: %w", after, err)
	}
	v, err := j.putFence(ctx, fence.Index, mine)
	switch {
	case err != nil && (ctx.Err() != nil || retryWhileUnknown(err)):
		return nil, fmt.Errorf("lead after %d: %w: %w", after, journal.ErrUnknown, err)
	case err != nil:
		return nil, fmt.Errorf("lead after %d: %w", after, err)
	case v == slotOther:
		return nil, fmt.Errorf("lead after %d: %w", after, journal.ErrBehind)
	case v == slotTrimmed:
		return nil, fmt.Errorf("lead after %d: %w", after, journal.ErrTrimmed)
	}
	t := &term{journal: j, fence: fence, last: fence.Index}
	j.mu.Lock()
	j.term = t
	j.mu.Unlock()
	return t, nil
}

// putFence puts a fence and validates where it landed.
func (j *Journal) putFence(ctx context.Context, index uint64, mine []byte) (verdict, error) {
	if j.putSlot(ctx, index, mine) != nil {
		return j.settle(ctx, index, mine)
	}
	h, _, err := j.readHead(ctx)
	if err == nil && h.Boundary > index {
		return slotTrimmed, nil
	}
	return slotMine, err
}

// term implements journal.Term. mu guards the fields below it: Append, called by one goroutine at a time, changes them, and
// Tip looks at them.
type term struct {
	journal *Journal
	fence   journal.Entry

	mu          sync.Mutex
	last        uint64 // index of the newest entry of this term that is committed
	outstanding bool   // an append is under way
	over        bool
}

// Fence implements journal.Term.
func (t *term) Fence() journal.Entry { return t.fence }

// Append implements journal.Term.
//
// A success of the first and only PUT needs no check of head. The slot was empty when it landed; could it have been trimmed
// before? Then something was committed there first. We never sent anything for it; and whoever else reaches slot last+1
// has applied our entry at last, so by J4 begins there with a fence, and fences are never trimmed (a stalled leader or
// candidate that has not applied last is stuck in lower slots). So it is the first thing the slot ever held.
func (t *term) Append(ctx context.Context, body []byte) (journal.Entry, error) {
	e := journal.Entry{Index: t.begin(), Kind: journal.KindCommands, Term: t.fence.Term, Body: body}
	if e.Index == 0 {
		return journal.Entry{}, fmt.Errorf("append: %w", journal.ErrFenced)
	}
	mine, err := journal.EncodeEntry(t.journal.cluster, e)
	if err != nil {
		t.end(e.Index-1, true)
		return journal.Entry{}, err
	}
	v := slotMine
	if err = ctx.Err(); err == nil && t.journal.putSlot(ctx, e.Index, mine) != nil {
		v, err = t.journal.settle(ctx, e.Index, mine)
	}
	switch {
	case err != nil:
		err = fmt.Errorf("append %d: %w: %w", e.Index, journal.ErrUnknown, err)
	case v == slotOther:
		err = fmt.Errorf("append %d: %w", e.Index, journal.ErrFenced)
	case v == slotTrimmed:
		err = fmt.Errorf("append %d: %w: the slot was trimmed meanwhile", e.Index, journal.ErrUnknown)
	}
	if err != nil {
		t.end(e.Index-1, false)
		return journal.Entry{}, err
	}
	t.end(e.Index, true)
	return e, nil
}

// begin answers the slot of the next append, or 0 if the term is over.
func (t *term) begin() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return 0
	}
	t.outstanding = true
	return t.last + 1
}

// end records how an append ended. A term that is over never sends again (J1).
func (t *term) end(last uint64, alive bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last, t.over, t.outstanding = last, !alive, false
}

// rests tells that this process leads, that its newest entry is at index, and that no append is under way.
func (j *Journal) rests(index uint64) bool {
	j.mu.Lock()
	t := j.term
	j.mu.Unlock()
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.over && !t.outstanding && t.last == index
}
