package object

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/objectstore"
)

// verdict is what a validated look at a slot proved.
type verdict int

const (
	slotEmpty   verdict = iota // nothing was ever committed there, up to the moment of the look
	slotMine                   // exactly our bytes are committed there
	slotOther                  // another entry is committed there, so ours is not and never will be
	slotTrimmed                // something was committed there and may be gone: what is there now proves nothing
)

// maxEntry is the largest size of an entry object, in bytes.
const maxEntry = journal.MaxBody + journal.EntryOverhead

// getSlot reads what is in slot index; found is false on a 404. What it answers proves nothing by itself (J2).
func (j *Journal) getSlot(ctx context.Context, index uint64) (b []byte, found bool, err error) {
	return j.getInTurn(ctx, index, nil)
}

// getInTurn is getSlot that begins to read more than aheadBytes only once turn is closed; nil: it is.
func (j *Journal) getInTurn(ctx context.Context, index uint64, turn <-chan struct{}) (b []byte, found bool, err error) {
	err = j.persist(ctx, func() error {
		b, _, err = get(ctx, j.store, j.keys.Journal(index), maxEntry, turn)
		return err
	})
	if errors.Is(err, objectstore.ErrNotFound) {
		return nil, false, nil
	}
	return b, err == nil, err
}

// putSlot sends bytes into an empty slot. nil is the only answer that says something.
func (j *Journal) putSlot(ctx context.Context, index uint64, b []byte) error {
	_, err := j.store.Put(ctx, j.keys.Journal(index), objectstore.NewBody(b), objectstore.IfAbsent())
	return err
}

// look is the validated read of one slot (J2): GET the slot, then, begun afterwards, GET head. Boundary ≤ index means that no
// delete of this slot was ever allowed to start before the slot was read, so whatever it holds is the first and only thing
// that it ever held, and a 404 means that it never held anything.
func (j *Journal) look(ctx context.Context, index uint64, mine []byte) (verdict, error) {
	b, found, err := j.getSlot(ctx, index)
	switch {
	case errors.Is(err, journal.ErrCorrupt):
		found = true
	case err != nil:
		return 0, err
	}
	h, _, err := j.readHead(ctx)
	switch {
	case err != nil:
		return 0, err
	case h.Boundary > index:
		return slotTrimmed, nil
	case found && bytes.Equal(b, mine):
		return slotMine, nil
	case found:
		return slotOther, nil
	}
	return slotEmpty, nil
}

// settle finds out what became of a PUT of mine into slot index whose answer was not a success (J1), and brings it about if
// nothing has: it sends the same bytes again, and never any others. It answers slotMine, slotOther or slotTrimmed; an
// error means that ctx ended, or that head cannot be understood, before that was known.
//
// Every step is a validated look, and that is what the traces demand:
//   - 404 alone is no proof that the PUT was not applied: it may have landed, been read, snapshotted and trimmed (V1). With
//     boundary ≤ index it is: nothing was there yet, so sending again is an ordinary first attempt.
//   - Another's entry alone is no proof that ours was not committed: ours may have landed and been trimmed, and a stalled
//     candidate's fence may have landed on top (V2). To answer ErrFenced then would be a lie. With boundary ≤ index it is.
//   - Success of a PUT that was sent again proves that the slot was empty at that moment, but a trim may have come between
//     the look and the PUT; so its answer is not even read, and the next look decides. (By J1 and J4 it would be right to
//     believe it: only we can have put a command there, and a fence of another's is never trimmed. A look costs two GETs
//     on a path that is hardly ever walked, and rests on J2 alone.)
//   - slotTrimmed leaves the outcome unknown. Ours is probably the one that was committed, but the replica has to reload
//     anyway, and will then see.
//
// An entry too damaged to be read counts as another's.
func (j *Journal) settle(ctx context.Context, index uint64, mine []byte) (verdict, error) {
	for attempt := 0; ; attempt++ {
		v, err := j.look(ctx, index, mine)
		switch {
		case err == nil && v != slotEmpty:
			return v, nil
		case err != nil && ctx.Err() == nil && retryWhileUnknown(err):
			// Even a 403 is asked again: giving up would cost the term.
		case err != nil:
			return 0, err
		}
		if j.pause(ctx, attempt) != nil {
			if err == nil {
				err = errors.New("nothing is there yet")
			}
			return 0, fmt.Errorf("slot %d: %w: %w", index, context.Cause(ctx), err)
		}
		if err == nil {
			_ = j.putSlot(ctx, index, mine) // the next look tells
		}
	}
}

// retryWhileUnknown tells that a look failed because of the store, not because of what it found.
func retryWhileUnknown(err error) bool {
	for _, e := range []error{journal.ErrNoHead, journal.ErrFormat, journal.ErrCorrupt, journal.ErrMismatch} {
		if errors.Is(err, e) {
			return false
		}
	}
	return true
}
