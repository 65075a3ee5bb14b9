package fetch

import (
	"context"
	"errors"
	"fmt"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"

	"github.com/leat-stream/leat/agent/batch"
)

// The timestamps with a meaning of their own in ListOffsets (ListOffsetsRequest.java; KIP-734, KIP-405, KIP-1005, KIP-1023).
const (
	Latest                = int64(-1)
	Earliest              = int64(-2)
	MaxTimestamp          = int64(-3)
	EarliestLocal         = int64(-4)
	LatestTiered          = int64(-5)
	EarliestPendingUpload = int64(-6)
)

// Position is an offset with the timestamp of its record. Both are -1 if there is none.
type Position struct {
	Offset    int64
	Timestamp int64 // ms since the epoch
}

// none is the answer when no record fits.
var none = Position{Offset: -1, Timestamp: -1}

// Position answers where a timestamp is in a partition: one of the special ones, or the first record, in the order of
// offsets, whose timestamp is at least ts. It reads at a fresh index (R1). Nothing is tiered here in Kafka's sense: what
// Kafka would call local is all there is, so the special timestamps of tiered storage answer as a Kafka without it does.
func (f *Fetcher) Position(ctx context.Context, tp state.TopicPartition, ts int64, committed bool) (Position, error) {
	var view state.View
	var extent state.Extent
	known, found := false, false
	err := f.meta.Ask(ctx, metadata.Fresh(), func(r state.Reader) {
		if view, known = r.View(tp, 0, 0); !known {
			return
		}
		switch {
		case ts == MaxTimestamp:
			extent, found = r.MaxTimestamp(tp)
		case ts >= 0:
			extent, found = r.FirstAtOrAfter(tp, ts)
		}
	})
	switch {
	case err != nil:
		return none, err
	case !known:
		return none, fmt.Errorf("%w: %s-%d", ErrUnknownTopic, tp.Topic, tp.Partition)
	}
	switch ts {
	case Latest:
		if committed {
			return Position{Offset: view.Stable, Timestamp: -1}, nil
		}
		return Position{Offset: view.Watermark, Timestamp: -1}, nil
	case Earliest, EarliestLocal:
		return Position{Offset: view.LogStart, Timestamp: -1}, nil
	case LatestTiered, EarliestPendingUpload:
		return none, nil
	}
	if !found {
		return none, nil
	}
	if ts == MaxTimestamp {
		ts = extent.MaxTimestamp
	}
	return f.search(ctx, tp, view, extent, ts, committed)
}

// search looks through extents, from the first that may hold a record at or after ts, until it finds it. More than one
// is read only if the one that should hold it lies partly below the log start.
func (f *Fetcher) search(ctx context.Context, tp state.TopicPartition, view state.View, e state.Extent, ts int64, committed bool) (Position, error) {
	end := view.Watermark
	if committed {
		end = view.Stable
	}
	for from := e.Base; ; {
		var p plan
		known := false
		err := f.meta.Ask(ctx, metadata.Local(), func(r state.Reader) {
			p.view, known = r.View(tp, max(from, view.LogStart), searchBytes)
		})
		if err != nil {
			return none, err
		}
		if !known {
			return none, fmt.Errorf("%w: %s-%d", ErrUnknownTopic, tp.Topic, tp.Partition)
		}
		p.end = end
		if len(p.view.Extents) == 0 {
			return none, nil
		}
		want := Want{TP: tp, Offset: max(from, view.LogStart), MaxBytes: searchBytes}
		records, err := f.read(ctx, &p, want, searchBytes, true)
		if err != nil && len(records) == 0 {
			if errors.Is(err, ErrStorage) || ctx.Err() != nil {
				return none, err
			}
			return none, fmt.Errorf("%w: %w", ErrStorage, err)
		}
		if len(records) == 0 {
			return none, nil
		}
		found, next, err := scan(records.Bytes(), max(from, view.LogStart), ts)
		if err != nil || found != none {
			return found, err
		}
		from = next
	}
}

// searchBytes is read at once by a search for a timestamp.
const searchBytes = 4 << 20

// scan looks for the first record at or after ts, and offset from. next is the offset after the last record looked at.
func scan(records []byte, from, ts int64) (found Position, next int64, err error) {
	found = none
	var inner error
	err = batch.Split(records, func(_ int, v batch.View) bool {
		next = v.LastOffset() + 1
		if v.MaxTimestamp() < ts {
			return true
		}
		for r, recordErr := range v.Records(0) {
			if recordErr != nil {
				inner = fmt.Errorf("%w: %w", ErrStorage, recordErr)
				return false
			}
			offset := v.BaseOffset() + int64(r.OffsetDelta)
			if at := v.Timestamp(r); at >= ts && offset >= from {
				found = Position{Offset: offset, Timestamp: at}
				return false
			}
		}
		return true
	})
	if err == nil {
		err = inner
	}
	return found, next, err
}
