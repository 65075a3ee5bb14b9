package produce

import (
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// stream is one idempotent producer in one partition.
type stream struct {
	producer int64
	tp       state.TopicPartition
}

func (it *item) idempotent() bool { return it.batch.ProducerID >= 0 }

func (it *item) stream() stream { return stream{it.batch.ProducerID, it.tp} }

// tail is the newest batch of a stream that is between accept and commit here, and how many there are.
type tail struct {
	newest  state.Sequence
	batches int
}

// early is a batch that waits for its predecessor.
type early struct {
	item
	due  time.Time
	gone bool // it does not wait any more
}

// queue is the early batches of one stream.
type queue struct {
	of      stream
	batches []*early // in the order in which they came
	seen    uint64   // index of the state by which all of them were measured; 0: not all by the same
}

// lobby is where early batches wait (early.go), and what tells which batches are early. It is a part of the buffer, whose mu
// guards everything in it but n, waited and arrived. Its order is the order of arrival, never that of a map.
//
// Bounds: mostBatches and mostBytes (or one batch, if that is larger) in all, which count as held by the buffer, and
// mostOfStream of one stream. A batch that finds no place is refused at once as certainly not applied: that is a retriable
// error for every client, while an out-of-order sequence may end one.
type lobby struct {
	wait         time.Duration
	mostBatches  int
	mostOfStream int
	mostBytes    int64

	tails  map[stream]tail
	queues map[stream]*queue                 // none is empty
	places map[state.TopicPartition][]*queue // the same, by partition
	line   []*early                          // all in the order in which they are due, and some that are gone
	bytes  int64

	n       atomic.Int64  // how many wait
	waited  atomic.Uint64 // how many ever did
	arrived chan struct{} // holds one signal when the first one came in
}

const (
	earlyBatches  = 16384
	earlyOfStream = 16 // a client has five in flight; some more are retries from a connection that died
	earlyPart     = 4  // early batches take a quarter of the buffer at most
)

// errCrowded: an early batch found no place to wait.
var errCrowded = fmt.Errorf("%w: too many batches wait for their predecessors", metadata.ErrNotApplied)

func newLobby(limit int64) lobby {
	return lobby{
		mostBatches: earlyBatches, mostOfStream: earlyOfStream, mostBytes: limit / earlyPart, arrived: make(chan struct{}, 1),
		tails: map[stream]tail{}, queues: map[stream]*queue{}, places: map[state.TopicPartition][]*queue{},
	}
}

// early reports whether a batch has to wait: neither the state, when last asked, nor the pipeline has its predecessor.
func (l *lobby) early(it *item) bool {
	if !it.lacks {
		return false
	}
	t, ok := l.tails[it.stream()]
	return !ok || t.newest.Lacks(it.batch.ProducerEpoch, it.batch.FirstSequence)
}

// entered notes that a batch is in the pipeline. Followers are measured by the newest one of a stream, whatever came since.
func (l *lobby) entered(it *item) {
	key := it.stream()
	t := l.tails[key]
	l.tails[key] = tail{newest: t.newest.With(&it.batch), batches: t.batches + 1}
}

// left notes that a batch is decided.
func (l *lobby) left(it *item) {
	key := it.stream()
	t := l.tails[key]
	if t.batches--; t.batches > 0 {
		l.tails[key] = t
		return
	}
	delete(l.tails, key)
}

// come lets an early batch in, if there is a place for it.
func (l *lobby) come(it *item, now time.Time) bool {
	n := l.n.Load()
	if n >= int64(l.mostBatches) || n > 0 && l.bytes+int64(len(it.bytes)) > l.mostBytes {
		return false
	}
	q := l.queues[it.stream()]
	switch {
	case q == nil:
		q = &queue{of: it.stream()}
		l.queues[q.of] = q
		l.places[it.tp] = append(l.places[it.tp], q)
	case len(q.batches) >= l.mostOfStream:
		return false
	}
	e := &early{item: *it, due: now.Add(l.wait)}
	q.batches, q.seen = append(q.batches, e), 0
	l.line = append(l.line, e)
	l.bytes += int64(len(it.bytes))
	l.waited.Add(1)
	if l.n.Add(1) == 1 {
		select {
		case l.arrived <- struct{}{}:
		default:
		}
	}
	return true
}

// pick takes those out of a stream's queue, in order, for which want says so.
func (l *lobby) pick(of stream, want func(*early) bool) (picked []*early) {
	q := l.queues[of]
	if q == nil {
		return nil
	}
	q.batches = slices.DeleteFunc(q.batches, func(e *early) bool {
		if !want(e) {
			return false
		}
		e.gone = true
		picked = append(picked, e)
		l.bytes -= int64(len(e.bytes))
		l.n.Add(-1)
		return true
	})
	if len(q.batches) == 0 {
		delete(l.queues, of)
		l.places[of.tp] = slices.DeleteFunc(l.places[of.tp], func(other *queue) bool { return other == q })
		if len(l.places[of.tp]) == 0 {
			delete(l.places, of.tp)
		}
	}
	if len(l.line) > 2*int(l.n.Load())+earlyOfStream { // so that the line is never much longer than the lobby is full
		l.line = slices.DeleteFunc(l.line, func(e *early) bool { return e.gone })
	}
	return picked
}

// due answers those that have waited long enough, and how long the next one has yet; 0 if there is none.
func (l *lobby) due(now time.Time) (over []*early, next time.Duration) {
	for _, e := range l.line {
		if e.gone {
			continue
		}
		if next = e.due.Sub(now); next > 0 {
			return over, next
		}
		over = append(over, e)
	}
	return over, 0
}

// measure looks up again whether the early batches of a stream lack anything in the state.
func (l *lobby) measure(r state.Reader, of stream) {
	q := l.queues[of]
	if q == nil || q.seen == r.Index() {
		return
	}
	q.seen = r.Index()
	_, there := r.View(of.tp, 0, 0) // a partition that is gone has another answer for them
	for _, e := range q.batches {
		e.lacks = there && lacks(r, &e.item)
	}
}

// lacks reports whether the predecessor of a batch is missing as far as the state knows.
func lacks(r state.Reader, it *item) bool {
	return it.idempotent() &&
		state.SequenceOf(r, it.batch.ProducerID, it.tp).Lacks(it.batch.ProducerEpoch, it.batch.FirstSequence)
}

// first is the one of the early batches in the stream and epoch of e that comes before the others in sequence.
func (l *lobby) first(e *early) *early {
	for _, other := range l.queues[e.stream()].batches {
		// Sequence numbers go round: what is less than half a round behind is behind.
		behind := (e.batch.FirstSequence - other.batch.FirstSequence) & math.MaxInt32
		if other.batch.ProducerEpoch == e.batch.ProducerEpoch && behind > 0 && behind < 1<<30 {
			e = other
		}
	}
	return e
}
