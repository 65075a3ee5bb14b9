package state

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// model is the idempotence rules (R5, R6) and the giving of offsets as one would write them down without a thought for memory:
// it remembers everything.
type model struct {
	next    map[TopicPartition]int64
	known   map[int64]bool
	batches map[string][]modelBatch // by producer and partition: all of the current epoch
	epochs  map[string]int16
	deleted map[int64]bool // producers that wrote to the topic when it was deleted
}

type modelBatch struct{ first, count, base int64 }

func (m *model) commit(tp TopicPartition, b Batch) BatchResult {
	key := fmt.Sprint(b.ProducerID, tp)
	accept := func() BatchResult {
		base := m.next[tp]
		m.next[tp] += int64(b.Count)
		if b.ProducerID >= 0 {
			if m.epochs[key] != b.ProducerEpoch {
				m.epochs[key], m.batches[key] = b.ProducerEpoch, nil
			}
			m.known[b.ProducerID] = true
			m.batches[key] = append(m.batches[key], modelBatch{int64(b.FirstSequence), int64(b.Count), base})
		}
		return BatchResult{Base: base}
	}
	refuse := func(c Code) BatchResult { return BatchResult{Code: c, Base: -1} }
	if b.ProducerID < 0 {
		return accept()
	}
	all := m.batches[key]
	switch {
	case len(all) == 0 && (b.FirstSequence == 0 || m.deleted[b.ProducerID]):
		return accept()
	case len(all) == 0 && m.known[b.ProducerID]:
		return refuse(CodeOutOfOrderSequence)
	case len(all) == 0:
		return refuse(CodeUnknownProducer)
	case b.ProducerEpoch < m.epochs[key]:
		return refuse(CodeInvalidEpoch)
	case b.ProducerEpoch > m.epochs[key] && b.FirstSequence == 0:
		return accept()
	case b.ProducerEpoch > m.epochs[key]:
		return refuse(CodeOutOfOrderSequence)
	}
	newest := all[len(all)-1]
	if int64(b.FirstSequence) == newest.first+newest.count {
		return accept()
	}
	oldest := max(0, len(all)-5)
	for _, x := range all[oldest:] {
		if x.first == int64(b.FirstSequence) && x.count == int64(b.Count) {
			return BatchResult{Duplicate: true, Base: x.base}
		}
	}
	if len(all) >= 5 && int64(b.FirstSequence)+int64(b.Count) <= all[oldest].first {
		return refuse(CodeDuplicateSequence)
	}
	return refuse(CodeOutOfOrderSequence)
}

// delete notes who wrote to a topic that is deleted.
func (m *model) delete(topic UUID) {
	for producer := range m.known {
		for n := range int32(2) {
			if len(m.batches[fmt.Sprint(producer, TopicPartition{topic, n})]) > 0 {
				m.deleted[producer] = true
			}
		}
	}
}

func TestCommitsAgreeWithTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{map[TopicPartition]int64{}, map[int64]bool{}, map[string][]modelBatch{}, map[string]int16{}, map[int64]bool{}}
		s := New()
		if _, _, err := s.Apply(Entry{Index: 1, Commands: []Command{{Op: CreateTopic{id("t"), "t", 2, 1, nil}},
			{Op: OpenSession{Session: id("s"), NodeID: -1, Level: 1}}}}); err != nil {
			t.Fatal(err)
		}
		where := map[ObjectName]map[int64]int64{} // position to base offset of what was accepted
		topic := id("t")
		for number := range uint64(rapid.IntRange(1, 12).Draw(t, "objects")) {
			if rapid.IntRange(0, 5).Draw(t, "again") == 0 {
				m.delete(topic)
				gone := topic
				topic = id(fmt.Sprint("t", number))
				if _, _, err := s.Apply(Entry{Index: s.index + 1, Commands: []Command{{Op: DeleteTopic{gone}},
					{Op: CreateTopic{topic, "t", 2, 1, nil}}}}); err != nil {
					t.Fatal(err)
				}
			}
			op := CommitObject{Size: 1 << 20}
			var want []BatchResult
			var pos int64
			object := ObjectName{id("s"), number + 1, 0}
			where[object] = map[int64]int64{}
			for range rapid.IntRange(0, 4).Draw(t, "runs") {
				tp := TopicPartition{topic, int32(rapid.IntRange(0, 1).Draw(t, "partition"))}
				run := Run{Topic: tp.Topic, Partition: tp.Partition, Pos: pos}
				for range rapid.IntRange(0, 6).Draw(t, "batches") {
					b := modelDraw(t, m, tp)
					r := m.commit(tp, b)
					if r.Code == CodeOK && !r.Duplicate {
						where[object][pos] = r.Base
					}
					want, run.Batches = append(want, r), append(run.Batches, b)
					pos += int64(b.Len)
				}
				op.Runs = append(op.Runs, run)
			}
			rs, _, err := s.Apply(Entry{Index: s.index + 1, Commands: []Command{{Session: id("s"), Lane: LaneObjects, Number: number + 1, Op: op}}})
			if err != nil || fmt.Sprint(rs[0].Batches) != fmt.Sprint(want) {
				t.Fatalf("object %d: got %+v, want %+v (%v)", number+1, rs[0].Batches, want, err)
			}
		}
		checkExtents(t, s, m, where, topic)
	})
}

func modelDraw(t *rapid.T, m *model, tp TopicPartition) Batch {
	b := Batch{Len: int32(rapid.IntRange(1, 50).Draw(t, "len")), Count: int32(rapid.IntRange(1, 3).Draw(t, "count")), MaxTimestamp: -1, ProducerID: -1}
	if rapid.IntRange(0, 4).Draw(t, "plain") == 0 {
		return b
	}
	b.ProducerID = int64(rapid.IntRange(0, 1).Draw(t, "producer"))
	key := fmt.Sprint(b.ProducerID, tp)
	b.ProducerEpoch = m.epochs[key]
	all := m.batches[key]
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		b.ProducerEpoch = int16(max(0, int(b.ProducerEpoch)+rapid.IntRange(-1, 1).Draw(t, "epoch")))
	case 1, 2:
		b.FirstSequence = int32(rapid.IntRange(0, 30).Draw(t, "sequence"))
	case 3, 4:
		if len(all) > 0 {
			x := all[rapid.IntRange(max(0, len(all)-8), len(all)-1).Draw(t, "repeat")]
			b.FirstSequence, b.Count = int32(x.first), int32(x.count)
		}
	default:
		if len(all) > 0 {
			b.FirstSequence = int32(all[len(all)-1].first + all[len(all)-1].count)
		}
	}
	return b
}

// checkExtents: the extents cover exactly the offsets that were given, in order, and each begins where a batch was accepted.
func checkExtents(t *rapid.T, s *State, m *model, where map[ObjectName]map[int64]int64, topic UUID) {
	referenced := map[ObjectName]bool{}
	for n := range int32(2) {
		tp := TopicPartition{topic, n}
		v, _ := s.Reader().View(tp, 0, 1<<60)
		if v.Watermark != m.next[tp] {
			t.Fatalf("watermark %d, want %d", v.Watermark, m.next[tp])
		}
		var next, bytes int64
		for i, e := range v.Extents {
			base, ok := where[e.Object][e.Pos]
			if e.Base != next || !ok || base != e.Base || e.Last < e.Base {
				t.Fatalf("extent %+v after offset %d, batch at %d (%v)", e, next, base, ok)
			}
			if i > 0 && v.Extents[i-1].Object == e.Object && v.Extents[i-1].Pos+v.Extents[i-1].Len > e.Pos {
				t.Fatalf("extents overlap: %+v %+v", v.Extents[i-1], e)
			}
			next, bytes = e.Last+1, bytes+e.Len
			referenced[e.Object] = true
		}
		if next != m.next[tp] || bytes != s.Reader().Size(tp) {
			t.Fatalf("extents end at %d, want %d; %d bytes, Size %d", next, m.next[tp], bytes, s.Reader().Size(tp))
		}
		for from := range m.next[tp] {
			one, _ := s.Reader().View(tp, from, 1)
			if len(one.Extents) != 1 || one.Extents[0].Base > from || one.Extents[0].Last < from {
				t.Fatalf("view from %d: %+v", from, one.Extents)
			}
		}
	}
	for o := range where {
		if s.Reader().Referenced(o) != referenced[o] || !s.Reader().Decided(o) {
			t.Fatalf("object %v: referenced %v, want %v", o, s.Reader().Referenced(o), referenced[o])
		}
	}
}
