package state

import "math"

// maxProducerIDs is the most producer ids that one command may reserve.
const maxProducerIDs = 1_000_000

func (a *step) allocateProducerIDs(op AllocateProducerIDs) Result {
	first := a.misc.nextProducer
	if op.Count < 1 || op.Count > maxProducerIDs || first > math.MaxInt64-int64(op.Count) {
		return a.result(CodeInvalid)
	}
	a.misc.nextProducer += int64(op.Count)
	a.misc.touch(a.index)
	return a.number(first)
}

func (a *step) expireProducers(op ExpireProducers) Result {
	if op.Limit < 0 {
		return a.result(CodeInvalid)
	}
	ids := a.producers.idle(min(op.Before, a.clock.steady), // R13
		int(op.Limit))
	for _, id := range ids {
		a.producers.remove(id, a.index)
	}
	if len(ids) > 0 {
		a.misc.expired = a.index
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
