package replica

import (
	"context"
	"iter"

	"github.com/leat-stream/leat/metadata/state"
)

// Watch implements metadata.Service.
func (r *Replica) Watch(ctx context.Context, since uint64) iter.Seq2[state.Change, error] {
	return func(yield func(state.Change, error) bool) {
		seq, gap, index := r.hub.Start(since)
		if gap && !yield(state.Change{Index: index, Kind: state.ChangeAll}, nil) {
			return
		}
		for {
			changes, after, gap, index, wake, stopped := r.hub.Next(seq)
			if gap {
				changes = []state.Change{{Index: index, Kind: state.ChangeAll}}
			}
			for _, c := range changes {
				if !yield(c, nil) {
					return
				}
			}
			seq = after
			if stopped {
				yield(state.Change{}, r.stopped())
				return
			}
			if len(changes) > 0 {
				continue
			}
			select {
			case <-wake:
			case <-ctx.Done():
				return
			}
		}
	}
}
