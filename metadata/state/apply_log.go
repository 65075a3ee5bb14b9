package state

import (
	"encoding/binary"
	"math"
)

// maxProducerIDs is the most producer ids that one command may reserve.
const maxProducerIDs = 1_000_000

func (a *step) allocateProducerIDs(op AllocateProducerIDs) Result {
	if op.Count < 1 || op.Count > maxProducerIDs {
		return a.result(CodeInvalid)
	}
	first, ok := a.producers.free(a.misc.nextProducer, int64(op.Count))
	if !ok {
		return a.result(CodeInvalid)
	}
	a.misc.nextProducer = first + int64(op.Count)
	a.misc.touch(a.index)
	return a.number(first)
}

// free is the first of count consecutive ids from from on that nobody has written with. An id may be in use that was
// never given out here: a producer outlives the bucket that gave it one. Giving it to another, too, would make that one's
// first record a duplicate, acknowledged and never stored.
func (ps *producers) free(from, count int64) (first int64, ok bool) {
	for id := from; id-from < count; id++ {
		if from > math.MaxInt64-count {
			return 0, false
		}
		if _, known := ps.get(id); known {
			from = id + 1
		}
	}
	return from, true
}

// firstProducer is where a cluster's producer ids begin: below 2^40, and by its first leader's random session, so that the ids
// of a cluster and of the one that follows it in a wiped bucket do not meet.
func firstProducer(session UUID) int64 {
	return 1 + int64(binary.BigEndian.Uint64(session[8:])>>24)
}

func (a *step) expireProducers(op ExpireProducers) Result {
	if op.Limit < 0 {
		return a.result(CodeInvalid)
	}
	ids := a.producers.idle(min(op.Before, a.clock.steady), // R13
		int(op.Limit))
	for _, id := range ids {
		a.producers.remove(id, a.index)
		a.misc.expire(id, a.index)
	}
	if len(ids) > 0 {
		a.misc.touch(a.index)
	}
	return a.number(int64(len(ids)))
}

func (a *step) advanceLogStart(op AdvanceLogStart) Result {
	if !a.topics.hasPartition(op.TopicPartition) {
		return a.result(CodeUnknownTopic)
	}
	p, ok := a.partitions.get(op.TopicPartition)
	switch {
	case op.Offset < 0:
		return a.result(CodeInvalid)
	case !ok && op.Offset == 0:
		return a.number(0)
	case !ok || op.Offset > p.next:
		return a.result(CodeOffsetOutOfRange)
	case op.Offset <= p.logStart:
		return a.number(p.logStart)
	}
	p = a.partitions.edit(op.TopicPartition, a.index)
	p.logStart = op.Offset
	a.partitions.cut(p, p.firstFrom(op.Offset), a.dereference)
	a.partitions.rehash(p)
	a.changed(Change{Kind: ChangePartition, Topic: op.Topic, Partition: op.Partition})
	return a.number(p.logStart)
}
