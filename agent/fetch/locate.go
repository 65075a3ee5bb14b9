package fetch

import (
	"context"
	"fmt"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// plan is what one partition of a fetch will read.
type plan struct {
	view state.View
	end  int64 // first offset that may not be served
	err  error
}

// locate plans every partition at one applied index. It is enough to answer if MinBytes are there or a partition has an
// error that waiting does not mend.
func (f *Fetcher) locate(ctx context.Context, req Request) (plans []plan, enough bool) {
	plans = make([]plan, len(req.Partitions))
	doubtful := false
	err := f.meta.Ask(ctx, metadata.Local(), func(r state.Reader) {
		for i, w := range req.Partitions {
			plans[i] = locateOne(r, req, w)
			doubtful = doubtful || plans[i].err != nil
		}
	})
	if err == nil && doubtful {
		// R7: no negative verdict from a replica that may lag.
		err = f.meta.Ask(ctx, metadata.Fresh(), func(r state.Reader) {
			for i, w := range req.Partitions {
				if plans[i].err != nil {
					plans[i] = locateOne(r, req, w)
				}
			}
		})
	}
	var available int64
	for i := range plans {
		if err != nil && (plans[i].err != nil || plans[i].view.Index == 0) {
			plans[i].err = err
		}
		if plans[i].err != nil {
			enough = true
			continue
		}
		// No more than its limit counts for a partition, as in Kafka: else one would end the wait for all.
		available += min(plans[i].available(req.Partitions[i]), max(req.Partitions[i].MaxBytes, 1))
	}
	return plans, enough || available >= req.MinBytes
}

func locateOne(r state.Reader, req Request, w Want) plan {
	view, ok := r.View(w.TP, w.Offset, max(min(w.MaxBytes, req.MaxBytes), 1))
	if !ok {
		return plan{err: fmt.Errorf("%w: %s-%d", ErrUnknownTopic, w.TP.Topic, w.TP.Partition)}
	}
	p := plan{view: view, end: view.Watermark}
	if w.Offset < view.LogStart || w.Offset > view.Watermark {
		p.err = fmt.Errorf("%w: offset %d of %s-%d is not within [%d, %d]",
			ErrOutOfRange, w.Offset, w.TP.Topic, w.TP.Partition, view.LogStart, view.Watermark)
	}
	if req.Committed {
		p.end = view.Stable
	}
	return p
}

// available estimates the bytes that a read would answer: whole extents are known exactly, a part of one by its share of
// the offsets. It only decides how long a fetch waits.
func (p *plan) available(w Want) int64 {
	var bytes int64
	for _, e := range p.view.Extents {
		first, last := max(e.Base, w.Offset), min(e.Last, p.end-1)
		switch {
		case first > last:
		case first == e.Base && last == e.Last:
			bytes += e.Len
		default:
			share := float64(last-first+1) / float64(e.Last-e.Base+1)
			bytes += max(1, int64(share*float64(e.Len)))
		}
	}
	return bytes
}

// most is the most bytes that a read can answer, 0 if there is nothing to be read. Unlike available it is never too low.
func (p *plan) most(w Want) int64 {
	var bytes int64
	for _, e := range p.view.Extents {
		if max(e.Base, w.Offset) <= min(e.Last, p.end-1) {
			bytes += e.Len
		}
	}
	return bytes
}
