package produce

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/segment"
)

// object is one sealed buffer on its way. The upload owns name, and sets err, until uploaded is closed; then the committer
// owns everything.
type object struct {
	name  objectstore.Segment
	body  objectstore.Body
	items []item // in the order of the runs' batches
	runs  []state.Run

	uploaded chan struct{} // closed when stored, or given up with err
	stored   time.Time     // when, if it was
	err      error
}

// order puts the items of one partition next to each other, each partition's in the order in which they came.
func order(items []item) {
	slices.SortStableFunc(items, func(a, b item) int {
		return cmp.Or(bytes.Compare(a.tp.Topic[:], b.tp.Topic[:]), cmp.Compare(a.tp.Partition, b.tp.Partition))
	})
}

// follows reports whether an item may join the run that is open for its partition. A run has one accept index, that of its
// first batch. It matters only to a batch that may begin a producer's sequence (rule R6): such a batch begins a run of its own
// when its index differs. Any other may join a run that was begun earlier, never one that was begun later, so that no batch
// ever claims to have been accepted later than it was.
func follows(run *state.Run, it *item) bool {
	if run.Topic != it.tp.Topic || run.Partition != it.tp.Partition {
		return false
	}
	begins := it.batch.ProducerID >= 0 && it.batch.FirstSequence == 0
	return run.AcceptIndex == it.accept || run.AcceptIndex < it.accept && !begins
}

// seal makes an object of the items: its body, and what the metadata must know of every batch.
func (p *Producer) seal(number uint64, items []item) *object {
	order(items)
	o := &object{
		name:  objectstore.Segment{Owner: p.session.ID(), Number: number},
		items: items, uploaded: make(chan struct{}),
	}
	builder := segment.NewBuilder(segment.Header{Kind: segment.Mixed, Cluster: p.cluster, Owner: p.session.ID(), Number: number})
	for first := 0; first < len(items); {
		run := state.Run{Topic: items[first].tp.Topic, Partition: items[first].tp.Partition, AcceptIndex: items[first].accept}
		info := segment.RunInfo{BaseOffset: -1, MaxTimestamp: -1}
		var parts [][]byte
		next := first
		for ; next < len(items) && (next == first || follows(&run, &items[next])); next++ {
			it := &items[next]
			parts = append(parts, it.bytes)
			run.Batches = append(run.Batches, it.batch)
			info.Records += int64(it.batch.Count)
			info.Batches++
			info.MaxTimestamp = max(info.MaxTimestamp, it.batch.MaxTimestamp)
		}
		run.Pos = builder.Add(run.Topic, run.Partition, parts, info)
		o.runs = append(o.runs, run)
		first = next
	}
	o.body, _, o.err = builder.Finish() // fails only if this code is wrong: the object is then given up like any other
	return o
}
