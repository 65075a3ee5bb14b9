package state

import (
	"math"
	"slices"
)

// Sequence is what a state knows of one idempotent producer in one partition.
type Sequence struct {
	Known   bool  // the state knows the producer id
	New     bool  // it does not, since nothing was ever accepted from it; else one that is unknown may have expired
	Wrote   bool  // the producer has written to the partition; Epoch and Last are of its newest batch there
	Epoch   int16 // of the producer
	Last    int32 // sequence number of the newest batch's last record
	Deleted bool  // it has not, but it wrote to a deleted topic of the same name: any sequence may begin here (rule R6)
}

// SequenceOf looks a producer up. That the partition exists is for the caller to know.
func SequenceOf(r Reader, producer int64, tp TopicPartition) Sequence {
	p, ok := r.s.producers.get(producer)
	if !ok {
		return Sequence{New: r.s.misc.neverExpired(producer)}
	}
	if at, ok := p.find(tp); ok {
		q := p.sequences[at]
		return Sequence{Known: true, Wrote: true, Epoch: q.epoch, Last: q.last()}
	}
	if len(p.deleted) == 0 {
		return Sequence{Known: true}
	}
	t, ok := r.s.topics.get(tp.Topic)
	return Sequence{Known: true, Deleted: ok && slices.Contains(p.deleted, t.name)}
}

// Lacks reports whether a batch of that epoch and first sequence number comes too early: it would be accepted behind batches
// that are not there yet. Every other batch has nothing to wait for, whether it is next, a repetition, or wrong for ever.
func (q Sequence) Lacks(epoch int16, first int32) bool {
	if !q.Wrote || epoch > q.Epoch {
		return first != 0
	}
	// Sequence numbers go round: what is less than half a round ahead is ahead.
	ahead := (first - following(q.Last)) & math.MaxInt32
	return epoch == q.Epoch && ahead > 0 && ahead < 1<<30
}

// With is what is known once a batch of the producer is there as well: the newer of the two counts.
func (q Sequence) With(b *Batch) Sequence {
	last := b.LastSequence()
	ahead := (last - q.Last) & math.MaxInt32
	if !q.Wrote || b.ProducerEpoch > q.Epoch || b.ProducerEpoch == q.Epoch && ahead < 1<<30 {
		return Sequence{Known: true, Wrote: true, Epoch: b.ProducerEpoch, Last: last}
	}
	return q
}

// LastSequence is the sequence number of the batch's last record.
func (b *Batch) LastSequence() int32 {
	return int32((int64(b.FirstSequence) + int64(b.Count) - 1) & math.MaxInt32)
}

// following is the sequence number after n; 2^31−1 is followed by 0.
func following(n int32) int32 { return int32((int64(n) + 1) & math.MaxInt32) }
