package object

import (
	"context"
	"fmt"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/objectstore"
)

// deleteBatch is how many keys one call of Delete gets.
const deleteBatch = 1000

// Trim implements journal.Journal (J5). Deletes that fail are left to a later Trim with the same From; whatever lands late
// deletes only what was allowed to go when it was sent, and that never changes.
func (j *Journal) Trim(ctx context.Context, t journal.Trim) error {
	h, err := j.publish(ctx, t)
	if err != nil {
		return fmt.Errorf("trim to %d: %w", t.Boundary, err)
	}
	var batch []string
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := j.store.Delete(ctx, batch...)
		batch = batch[:0]
		return err
	}
	for index := max(t.From, 1); index < h.Deletable(t); index++ {
		if t.Keep(index) {
			continue
		}
		if batch = append(batch, j.keys.Journal(index)); len(batch) == deleteBatch {
			if err := flush(); err != nil {
				return fmt.Errorf("trim to %d: %w", t.Boundary, err)
			}
		}
	}
	if err := flush(); err != nil {
		return fmt.Errorf("trim to %d: %w", t.Boundary, err)
	}
	return nil
}

// publish makes head say at least what t says, unless t is behind it, and answers the head that is in the bucket. An answer
// that is not a success says nothing: head is read again. A replace that lands late finds another version and is lost;
// versions do not come back, because head only grows.
func (j *Journal) publish(ctx context.Context, t journal.Trim) (journal.Head, error) {
	for attempt := 0; ; attempt++ {
		h, version, err := j.readHead(ctx)
		if err != nil {
			return h, err
		}
		next, grown, err := h.Grow(t)
		if err != nil || !grown {
			return h, err
		}
		next.Format = journal.Level
		body := objectstore.NewBody(journal.EncodeHead(next))
		_, err = j.store.Put(ctx, j.keys.Head(), body, objectstore.IfVersion(version))
		if err == nil {
			return next, nil
		}
		if final(err) {
			return h, err
		}
		if j.pause(ctx, attempt) != nil {
			return h, fmt.Errorf("%w: %w", err, context.Cause(ctx))
		}
	}
}
