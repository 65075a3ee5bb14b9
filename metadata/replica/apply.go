package replica

import (
	"context"
	"errors"
	"fmt"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/replica/snapshot"
	"github.com/leat-stream/leat/metadata/state"
)

// catchUp applies what the journal holds beyond the applied index. If that was trimmed, it reloads first.
func (r *owner) catchUp(ctx context.Context) error {
	for {
		err := r.readOn(ctx)
		if !errors.Is(err, journal.ErrTrimmed) {
			return err
		}
		if err := r.reload(ctx); err != nil {
			return err
		}
	}
}

func (r *owner) readOn(ctx context.Context) error {
	for e, err := range r.journal.Read(ctx, r.applied.Load()+1) {
		if err != nil {
			return err
		}
		if err := r.take(e); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// reload begins anew from the newest snapshot. Watchers are told to look at everything.
func (r *owner) reload(ctx context.Context) error {
	if err := r.load(ctx); err != nil {
		return err
	}
	r.hub.Jump(r.applied.Load())
	r.locate(false)
	return nil
}

// load replaces the state by the newest snapshot's.
func (r *owner) load(ctx context.Context) error {
	st, err := snapshot.Load(ctx, r.journal, r.images)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.st = st
	r.mu.Unlock()
	r.applied.Store(st.Reader().Index())
	r.net.recent.Reset(st.Reader().Index())
	r.snap.Loaded(st.Reader().Index())
	return nil
}

// take applies the entry that follows the last one, and makes it known. It comes from the journal or from a peer: committed
// either way.
func (r *owner) take(e journal.Entry) error {
	entry, err := decode(e)
	if err != nil {
		return fmt.Errorf("journal entry %d: %w", e.Index, err)
	}
	trimmed := r.st.Reader().TrimmedThrough()
	_, changes, err := r.apply(entry)
	if err != nil {
		return err
	}
	if r.term == nil && r.st.Reader().TrimmedThrough() != trimmed {
		r.snap.Begin() // the leader has just published a snapshot
	}
	if entry.Fence {
		r.contested = false
		r.locate(false)
	}
	r.made(e, changes)
	return nil
}

// made tells watchers, followers and the snapshotter of an applied entry.
func (r *owner) made(e journal.Entry, changes []state.Change) {
	r.hub.Publish(e.Index, changes)
	r.net.recent.Add(e)
	r.snap.Grow(int64(len(e.Body)), r.term != nil)
}

// apply applies one committed entry.
func (r *owner) apply(entry state.Entry) ([]state.Result, []state.Change, error) {
	r.mu.Lock()
	results, changes, err := r.st.Apply(entry)
	r.mu.Unlock()
	if err != nil {
		return nil, nil, fmt.Errorf("apply journal entry %d: %w", entry.Index, err)
	}
	r.applied.Store(entry.Index)
	r.metrics.applied.Set(float64(entry.Index))
	r.metrics.heard(entry.Index)
	return results, changes, nil
}

func decode(e journal.Entry) (state.Entry, error) {
	if e.Kind == journal.KindFence {
		return state.DecodeLeader(e.Index, e.Body)
	}
	return state.DecodeEntry(e.Index, e.Body)
}
