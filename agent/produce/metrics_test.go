package produce

import (
	"maps"
	"testing"

	"github.com/leat-stream/leat/metadata/state"
)

// flows notes what was produced, by topic: how often, records, bytes.
type flows map[state.UUID][3]int64

func (f flows) Produced(topic state.UUID, records, bytes int64) {
	was := f[topic]
	f[topic] = [3]int64{was[0] + 1, was[1] + records, was[2] + bytes}
}

// TestTopicsAreToldOnceForEachObject: what was refused, or is a duplicate, is no traffic.
func TestTopicsAreToldOnceForEachObject(t *testing.T) {
	buf, told := newBuffer(1<<20), flows{}
	p := &Producer{metrics: newMetrics(nil, buf), buf: buf, topics: told}
	a, b, c := state.UUID{1}, state.UUID{2}, state.UUID{3}
	o := &object{}
	var results []state.BatchResult
	add := func(topic state.UUID, partition, count int32, size int, r state.BatchResult) {
		o.items = append(o.items, item{tp: state.TopicPartition{Topic: topic, Partition: partition}, bytes: make([]byte, size),
			batch: state.Batch{Count: count, ProducerID: -1}, pending: newPending(1)})
		results = append(results, r)
	}
	add(a, 0, 3, 100, state.BatchResult{})
	add(a, 1, 4, 200, state.BatchResult{})
	add(b, 0, 5, 300, state.BatchResult{Duplicate: true})
	add(c, 0, 6, 400, state.BatchResult{Code: state.CodeUnknownTopic})
	add(c, 1, 7, 500, state.BatchResult{})
	p.acknowledge(o, results)
	if want := (flows{a: {1, 7, 300}, c: {1, 7, 500}}); !maps.Equal(told, want) {
		t.Errorf("%v, want %v", told, want)
	}
}
