package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/leat-stream/leat/agent/batch"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
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

// Moment asks where a timestamp is in a partition: one of the special ones, or the first record, in the order of offsets,
// whose timestamp is at least Timestamp.
type Moment struct {
	TP        state.TopicPartition
	Timestamp int64
}

// Positions answers one position, or error, for each moment, in order. All are of one fresh index (R1), whose proof is asked
// for once. With committed, nothing at or above the last stable offset is answered. Nothing is tiered here in Kafka's sense: what
// Kafka would call local is all there is, so the special timestamps of tiered storage answer as a Kafka without it does.
func (f *Fetcher) Positions(ctx context.Context, moments []Moment, committed bool) ([]Position, []error) {
	positions, errs := make([]Position, len(moments)), make([]error, len(moments))
	searches := make([]search, len(moments))
	err := f.meta.Ask(ctx, metadata.Fresh(), func(r state.Reader) {
		for i, m := range moments {
			positions[i], searches[i], errs[i] = begin(r, m, committed)
		}
	})
	if err != nil {
		for i := range errs {
			positions[i], errs[i] = none, err
		}
		return positions, errs
	}
	slots := make(chan struct{}, f.cfg.Parallel)
	var wg sync.WaitGroup
	for i := range searches {
		if searches[i].want == nil {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			positions[i], errs[i] = f.search(ctx, &searches[i])
			<-slots
		})
	}
	wg.Wait()
	return positions, errs
}

// begin answers a moment from the metadata alone, or the search that must look into records.
func begin(r state.Reader, m Moment, committed bool) (Position, search, error) {
	view, known := r.View(m.TP, 0, 0)
	if !known {
		return none, search{}, fmt.Errorf("%w: %s-%d", ErrUnknownTopic, m.TP.Topic, m.TP.Partition)
	}
	end := view.Watermark
	if committed {
		end = view.Stable
	}
	switch {
	case m.Timestamp == Latest:
		return Position{Offset: end, Timestamp: -1}, search{}, nil
	case m.Timestamp == Earliest, m.Timestamp == EarliestLocal:
		return Position{Offset: view.LogStart, Timestamp: -1}, search{}, nil
	case m.Timestamp == MaxTimestamp:
		return none, newest(r, m.TP, view.LogStart, end), nil
	case m.Timestamp < 0:
		return none, search{}, nil
	}
	e, found := r.FirstAtOrAfter(m.TP, m.Timestamp)
	if !found {
		return none, search{}, nil
	}
	return none, search{
		tp: m.TP, from: max(e.Base, view.LogStart), end: end, first: true, least: m.Timestamp,
		want: func(e state.Extent) bool { return e.MaxTimestamp >= m.Timestamp },
	}, nil
}

// newest begins the search for the record with the greatest timestamp. The extents tell which has it, unless the greatest of the
// first one may be below the log start: then what is left of that one competes with the best of the others.
func newest(r state.Reader, tp state.TopicPartition, logStart, end int64) search {
	best, found := r.MaxTimestamp(tp)
	if !found {
		return search{}
	}
	s := search{tp: tp, from: best.Base, end: end, least: best.MaxTimestamp, first: true}
	s.want = func(e state.Extent) bool { return e.Base == best.Base }
	if best.Base >= logStart {
		return s
	}
	view, _ := r.View(tp, logStart, math.MaxInt64)
	s.from, s.first = logStart, false
	rest := slices.MaxFunc(append(slices.Clone(view.Extents[1:]), state.Extent{MaxTimestamp: math.MinInt64}), func(a, b state.Extent) int {
		return cmp.Compare(a.MaxTimestamp, b.MaxTimestamp) // of equals, MaxFunc takes the first
	})
	s.want = func(e state.Extent) bool { return e.Base < logStart || e.Base == rest.Base }
	return s
}

// search looks for one record in [from, end) of the extents that want answers true for: with first, the first whose timestamp is at
// least least; else the first of those with the greatest timestamp.
type search struct {
	tp        state.TopicPartition
	from, end int64
	want      func(state.Extent) bool // nil: nothing to search
	first     bool
	least     int64
}

// searchBytes is read at once by a search, and viewBytes planned.
const (
	searchBytes = 1 << 20
	viewBytes   = 64 << 20
)

// search reads forward until it knows.
func (f *Fetcher) search(ctx context.Context, s *search) (Position, error) {
	found := none
	fresh := metadata.Local()
	for {
		var p plan
		known := false
		err := f.meta.Ask(ctx, fresh, func(r state.Reader) {
			if p.view, known = r.View(s.tp, s.from, viewBytes); known && s.from < p.view.LogStart { // it moved on
				s.from = p.view.LogStart
				p.view, known = r.View(s.tp, s.from, viewBytes)
			}
		})
		switch {
		case err != nil:
			return none, err
		case !known:
			return none, fmt.Errorf("%w: %s-%d", ErrUnknownTopic, s.tp.Topic, s.tp.Partition)
		case len(p.view.Extents) == 0 || s.from >= s.end:
			return found, nil
		}
		at := slices.IndexFunc(p.view.Extents, s.want)
		if at < 0 {
			s.from = p.view.Extents[len(p.view.Extents)-1].Last + 1
			continue
		}
		p.view.Extents, p.end = p.view.Extents[at:at+1], s.end
		s.from = max(s.from, p.view.Extents[0].Base)
		records, _, err := f.read(ctx, &p, Want{TP: s.tp, Offset: s.from}, searchBytes, true, f.pins(searchBytes, pinFactor))
		if len(records) == 0 {
			if errors.Is(err, objectstore.ErrNotFound) && !fresh.IsFresh() { // R4: it may have been merged away
				fresh = metadata.Fresh()
				continue
			}
			if err != nil {
				return none, f.unreadable(ctx, s.tp, s.from, err)
			}
			return found, nil
		}
		fresh = metadata.Local()
		done, err := s.scan(records.Bytes(), &found)
		if err != nil {
			return none, f.unreadable(ctx, s.tp, s.from, err)
		}
		if done {
			return found, nil
		}
	}
}

// scan looks at records, which begin at or before from, and moves from behind them.
func (s *search) scan(records []byte, found *Position) (done bool, err error) {
	splitErr := batch.Split(records, func(_ int, v batch.View) bool {
		if s.better(v.MaxTimestamp(), found) {
			done, err = s.scanBatch(v, found)
		}
		s.from = v.LastOffset() + 1
		return !done && err == nil
	})
	return done, errors.Join(err, splitErr)
}

func (s *search) scanBatch(v batch.View, found *Position) (done bool, err error) {
	for r, err := range v.Records(0) {
		if err != nil {
			return false, fmt.Errorf("%w: batch at offset %d: %w", ErrStorage, v.BaseOffset(), err)
		}
		offset, at := v.BaseOffset()+int64(r.OffsetDelta), v.Timestamp(r)
		if offset < s.from || !s.better(at, found) {
			continue
		}
		*found = Position{Offset: offset, Timestamp: at}
		if s.first {
			return true, nil
		}
	}
	return false, nil
}

// better reports whether a record with that timestamp would be the answer so far.
func (s *search) better(timestamp int64, found *Position) bool {
	if s.first {
		return timestamp >= s.least
	}
	return found.Offset < 0 || timestamp > found.Timestamp
}
