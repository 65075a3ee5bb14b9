package metadata

import (
	"context"
	"iter"

	"github.com/leat-stream/leat/metadata/state"
)

// Watch follows the changes of the metadata; see Service.Watch.
func (s *Session) Watch(ctx context.Context, since uint64) iter.Seq2[state.Change, error] {
	return s.svc.Watch(ctx, since)
}
