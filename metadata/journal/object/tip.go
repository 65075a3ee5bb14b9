package object

import (
	"context"
	"fmt"

	"github.com/leat-stream/leat/metadata/journal"
)

// tipAt gathers the callers of Tip at one applied index; Journal.mu guards it. One question is under way at most, and those who
// come meanwhile share the next one: an answer proves something only to those who asked before it was begun (R1).
type tipAt struct {
	running *question
	next    *question // not begun yet
	callers int
}

// question is one look at the end of the journal. err may be read once done is closed.
type question struct {
	done     chan struct{}
	err      error
	answered bool // false: whoever asked gave up; the others ask again
}

// Tip implements journal.Journal. At any time at most one question per applied index is under way in this process.
func (j *Journal) Tip(ctx context.Context, applied uint64) error {
	at := j.enter(applied)
	defer j.leave(applied, at)
	for {
		q := j.join(at)
		for {
			busy, mine := j.begin(at, q)
			if mine {
				j.ask(ctx, at, q, applied)
				return q.err
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("tip at %d: %w", applied, context.Cause(ctx))
			case <-busy:
				continue // q begins now, asked by whoever of its callers is first
			case <-q.done:
			}
			break
		}
		if q.answered {
			return q.err
		}
	}
}

// join answers the question that is not begun yet.
func (j *Journal) join(at *tipAt) *question {
	j.mu.Lock()
	defer j.mu.Unlock()
	if at.next == nil {
		at.next = &question{done: make(chan struct{})}
	}
	return at.next
}

// begin makes q the question under way if there is none, and says that it falls to the caller to ask it. Otherwise it answers
// when the one under way is done; never, if q itself was begun, as q.done tells that.
func (j *Journal) begin(at *tipAt, q *question) (busy <-chan struct{}, mine bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case at.next != q:
		return nil, false
	case at.running != nil:
		return at.running.done, false
	}
	at.running, at.next = q, nil
	return nil, true
}

// ask asks q, which is at.running, and tells those who wait for it.
func (j *Journal) ask(ctx context.Context, at *tipAt, q *question, applied uint64) {
	err := j.tip(ctx, applied)
	if err != nil {
		err = fmt.Errorf("tip at %d: %w", applied, err)
	}
	j.mu.Lock()
	q.err, q.answered = err, err == nil || ctx.Err() == nil
	at.running = nil
	j.mu.Unlock()
	close(q.done)
}

func (j *Journal) enter(applied uint64) *tipAt {
	j.mu.Lock()
	defer j.mu.Unlock()
	at := j.tips[applied]
	if at == nil {
		at = &tipAt{}
		j.tips[applied] = at
	}
	at.callers++
	return at
}

func (j *Journal) leave(applied uint64, at *tipAt) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if at.callers--; at.callers == 0 {
		delete(j.tips, applied)
	}
}

// tip asks the bucket once. A slot that is filled, by whatever, shows that something was committed there. A 404 shows the
// opposite only if the slot was not trimmed (J2), so head is read afterwards.
//
// A leader at rest saves that: whoever commits after its newest entry must begin with a fence in exactly the slot asked for
// (J4), fences are never trimmed, and no PUT of its own for that slot was ever sent. So that slot never goes from filled
// to empty, and a 404 is proof. A term that ended, or has an append under way, does not count: its own entry in that slot
// could have been trimmed.
func (j *Journal) tip(ctx context.Context, applied uint64) error {
	rests := j.rests(applied)
	_, found, err := j.getSlot(ctx, applied+1)
	switch {
	case err != nil:
		return err
	case found:
		return journal.ErrBehind
	case rests:
		return nil
	}
	h, _, err := j.readHead(ctx)
	switch {
	case err != nil:
		return err
	case h.Boundary > applied+1:
		return journal.ErrTrimmed
	}
	return nil
}
