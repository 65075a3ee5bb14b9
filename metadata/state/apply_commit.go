package state

import (
	"math"
	"slices"
)

const (
	attributeTransactional = 0x10
	attributeControl       = 0x20
)

// valid checks what the issuing agent must have got right whatever the state is. A command that fails changes nothing. What
// comes from a client's batch header is judged batch by batch: no client may spoil an object for the others in it.
func (op *CommitObject) valid(index uint64) (batches int, ok bool) {
	if op.Size < 0 || op.Size > MaxObjectSize {
		return 0, false
	}
	for i := range op.Runs {
		r := &op.Runs[i]
		if r.Pos < 0 || r.Pos > op.Size || r.AcceptIndex >= index {
			return 0, false
		}
		end := r.Pos
		for j := range r.Batches {
			b := &r.Batches[j]
			if b.Len < 1 || b.Count < 1 {
				return 0, false
			}
			end += int64(b.Len)
			if end > op.Size {
				return 0, false
			}
		}
		batches += len(r.Batches)
	}
	return batches, true
}

func (a *step) commitObject(c *Command, op CommitObject) Result {
	n, ok := op.valid(a.index)
	if !ok {
		return a.result(CodeInvalid)
	}
	results := make([]BatchResult, 0, n)
	a.changes = slices.Grow(a.changes, len(op.Runs))
	name := ObjectName{Owner: c.Session, Number: c.Number, Attempt: op.Attempt}
	for i := range op.Runs {
		r := commitRun{step: a, run: &op.Runs[i], tp: TopicPartition{op.Runs[i].Topic, op.Runs[i].Partition}, name: name, size: op.Size}
		results = r.commit(results)
	}
	return Result{Index: a.index, Batches: results}
}

// commitRun commits one run: the batches of one partition that lie one after the other in the object.
type commitRun struct {
	*step
	run  *Run
	tp   TopicPartition
	name ObjectName
	size int64

	p    *partition // nil until a batch is accepted into a partition that has no record
	open extent     // being built; nothing if len is 0
}

func (r *commitRun) commit(results []BatchResult) []BatchResult {
	if !r.topics.hasPartition(r.tp) {
		for range r.run.Batches {
			results = append(results, BatchResult{Code: CodeUnknownTopic, Base: -1, LogStart: -1})
		}
		return results
	}
	var next, logStart int64
	if p, ok := r.partitions.get(r.tp); ok {
		next, logStart = p.next, p.logStart
	}
	pos := r.run.Pos
	for i := range r.run.Batches {
		b := &r.run.Batches[i]
		res := r.judge(b, next)
		res.LogStart = logStart
		if res.Code == CodeOK && !res.Duplicate {
			res.Base = next
			r.accept(b, next, uint32(pos))
			next += int64(b.Count)
		}
		pos += int64(b.Len)
		results = append(results, res)
	}
	if r.p != nil {
		r.flush()
		r.p.next = next
		r.partitions.rehash(r.p)
		r.changed(Change{Kind: ChangePartition, Topic: r.tp.Topic, Partition: r.tp.Partition})
	}
	return results
}

// accept gives the batch its offsets. Batches that are adjacent in the object share an extent: in offsets they always are.
func (r *commitRun) accept(b *Batch, base int64, pos uint32) {
	if r.p == nil {
		r.p = r.partitions.edit(r.tp, r.index)
	}
	e := &r.open
	if e.len == 0 || e.pos+e.len != pos {
		r.flush()
		*e = extent{base: base, pos: pos, maxTimestamp: b.MaxTimestamp}
	}
	e.last = base + int64(b.Count) - 1
	e.len += uint32(b.Len)
	e.maxTimestamp = max(e.maxTimestamp, b.MaxTimestamp)
}

func (r *commitRun) flush() {
	if r.open.len == 0 {
		return
	}
	r.open.object = r.objects.reference(r.name, r.size)
	r.partitions.append(r.p, r.open)
	r.open = extent{}
}

// judge decides a batch that would get the base offset base, and remembers it with its producer if it is accepted.
func (r *commitRun) judge(b *Batch, base int64) BatchResult {
	refuse := func(c Code) BatchResult { return BatchResult{Code: c, Base: -1} }
	switch {
	case b.Attributes&(attributeTransactional|attributeControl) != 0, // there are no transactions at this level
		b.ProducerID < -1, b.ProducerID >= 0 && (b.ProducerEpoch < 0 || b.FirstSequence < 0),
		base > math.MaxInt64-int64(b.Count): // the partition is full
		return refuse(CodeInvalid)
	}
	if b.ProducerID < 0 {
		return BatchResult{}
	}
	last := b.LastSequence()
	known, ok := r.producers.get(b.ProducerID)
	at, wrote := 0, false
	if ok {
		at, wrote = known.find(r.tp)
	}
	var original *batch
	switch {
	case wrote:
		var c Code
		if c, original = known.sequences[at].check(b.ProducerEpoch, b.FirstSequence, last); c != CodeOK {
			return refuse(c)
		}
	case ok && b.FirstSequence != 0 && !r.knewBefore(known):
		return refuse(CodeOutOfOrderSequence)
	case !ok && r.misc.neverExpired(b.ProducerID): // so it is only that the predecessor is missing
		if b.FirstSequence != 0 {
			return refuse(CodeOutOfOrderSequence)
		}
	case !ok && (b.FirstSequence != 0 || r.run.AcceptIndex < r.misc.expired):
		return refuse(CodeUnknownProducer)
	}
	p := r.producers.edit(b.ProducerID, r.index)
	r.producers.touch(p, r.clock.latest)
	if original != nil {
		return BatchResult{Duplicate: true, Base: original.base}
	}
	q := r.producers.sequence(p, r.tp, at, wrote)
	if q.epoch != b.ProducerEpoch {
		q.epoch, q.n = b.ProducerEpoch, 0
	}
	q.remember(batch{first: b.FirstSequence, last: last, base: base})
	r.producers.rehash(p, q)
	return BatchResult{}
}

// knewBefore reports whether the producer wrote to a deleted topic of the same name. Its client goes on counting where it was, and
// whichever of its batches comes first begins the sequence here: that they come in order is what agents wait for at accept.
func (r *commitRun) knewBefore(p *producer) bool {
	t, _ := r.topics.get(r.tp.Topic)
	return slices.Contains(p.deleted, t.name)
}

// check decides a batch of a producer that has written to the partition (rule R5). It answers the batch that this one repeats,
// if any.
func (q *sequence) check(epoch int16, first, last int32) (Code, *batch) {
	switch {
	case epoch < q.epoch:
		return CodeInvalidEpoch, nil
	case epoch > q.epoch:
		if first != 0 {
			return CodeOutOfOrderSequence, nil
		}
		return CodeOK, nil
	case first == following(q.last()):
		return CodeOK, nil
	}
	for i := range q.recent[:q.n] {
		if q.recent[i].first == first && q.recent[i].last == last {
			return CodeOK, &q.recent[i]
		}
	}
	// Only if all places are taken may something older have been forgotten. Sequence numbers go round, so "older" means: less
	// than half a round behind the oldest that is remembered.
	if behind := (int64(q.recent[0].first) - int64(last)) & math.MaxInt32; q.n == remembered && behind > 0 && behind < 1<<30 {
		return CodeDuplicateSequence, nil
	}
	return CodeOutOfOrderSequence, nil
}
