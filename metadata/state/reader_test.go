package state

import (
	"math"
	"slices"
	"testing"
)

func TestDecidedNeedsToHaveHeardOfTheOwner(t *testing.T) {
	s := New()
	r := s.Reader()
	is := func(o ObjectName, want bool, when string) {
		t.Helper()
		if r.Decided(o) != want {
			t.Errorf("R3: %s: Decided(%s, %d) = %v", when, name(o.Owner), o.Number, !want)
		}
	}
	is(ObjectName{id("s"), 1, 0}, false, "an owner whose opening may still come")
	do(t, s, OpenSession{Session: id("s"), NodeID: -1, Level: 1})
	is(ObjectName{id("s"), 1, 0}, false, "a number still to be decided")
	apply(t, s, Command{Session: id("s"), Lane: LaneObjects, Number: 1, Op: SkipObject{}})
	is(ObjectName{id("s"), 1, 3}, true, "a skipped number")
	is(ObjectName{id("s"), 2, 0}, false, "the next number")
	do(t, s, CloseSession{id("s")})
	is(ObjectName{id("s"), 2, 0}, true, "a closed owner")
	if _, ok := r.Session(id("s")); ok {
		t.Error("a closed session without objects is remembered")
	}
}

func TestALaneHoldsABoundedNumberOfOutcomes(t *testing.T) {
	s := New()
	do(t, s, OpenSession{Session: id("s"), NodeID: -1, Level: 1})
	send := func(n, settled uint64) Code {
		rs, _ := apply(t, s, Command{Session: id("s"), Lane: LaneObjects, Number: n, Settled: settled, Op: SkipObject{}})
		return rs[0].Code
	}
	for n := range uint64(MaxUnsettled) {
		if c := send(n+1, 0); c != CodeOK {
			t.Fatalf("R2: %d: %v", n+1, c)
		}
	}
	if c := send(MaxUnsettled+1, 0); c != CodeGap {
		t.Errorf("R2: one too many: %v", c)
	}
	if c := send(MaxUnsettled+1, 1); c != CodeOK {
		t.Errorf("R2: after settling one: %v", c)
	}
}

func TestOffsetsEndBeforeTheyOverflow(t *testing.T) {
	s := New()
	do(t, s, CreateTopic{Topic: id("t"), Name: "t", Partitions: 1})
	do(t, s, OpenSession{Session: id("s"), NodeID: -1, Level: 1})
	tp := TopicPartition{id("t"), 0}
	p := s.partitions.edit(tp, s.index)
	p.next, p.logStart = math.MaxInt64-5, math.MaxInt64-5
	s.partitions.rehash(p)
	rs, _ := apply(t, s, Command{Session: id("s"), Lane: LaneObjects, Number: 1, Op: CommitObject{Size: 100, Runs: []Run{{Topic: id("t"),
		Batches: []Batch{{Len: 1, Count: 6, ProducerID: -1}, {Len: 1, Count: 3, ProducerID: -1}, {Len: 1, Count: 3, ProducerID: -1},
			{Len: 1, Count: 2, ProducerID: -1}, {Len: 1, Count: 1, ProducerID: -1}}}}}})
	var codes []Code
	for _, b := range rs[0].Batches {
		codes = append(codes, b.Code)
	}
	if want := []Code{CodeInvalid, CodeOK, CodeInvalid, CodeOK, CodeInvalid}; !slices.Equal(codes, want) {
		t.Errorf("got %v, want %v", codes, want)
	}
	throughImage(t, s)
}

func TestLookupsByTimestamp(t *testing.T) {
	s := New()
	do(t, s, CreateTopic{Topic: id("t"), Name: "t", Partitions: 2})
	do(t, s, OpenSession{Session: id("s"), NodeID: -1, Level: 1})
	for i, ts := range []int64{5, 9, 7, 9} {
		apply(t, s, Command{Session: id("s"), Lane: LaneObjects, Number: uint64(i + 1), Op: CommitObject{Size: 100, Runs: []Run{{Topic: id("t"),
			Batches: []Batch{{Len: 10, Count: 10, MaxTimestamp: ts, ProducerID: -1}}}}}})
	}
	r, tp := s.Reader(), TopicPartition{id("t"), 0}
	first := func(ts, want int64) {
		t.Helper()
		if e, ok := r.FirstAtOrAfter(tp, ts); ok != (want >= 0) || ok && e.Base != want {
			t.Errorf("first at or after %d: %v %+v, want %d", ts, ok, e, want)
		}
	}
	first(0, 0)
	first(6, 10)
	first(9, 10)
	first(10, -1)
	if e, ok := r.MaxTimestamp(tp); !ok || e.Base != 10 {
		t.Errorf("max timestamp is in %+v", e)
	}
	do(t, s, AdvanceLogStart{tp, 25})
	first(0, 20)
	first(8, 30)
	if e, ok := r.MaxTimestamp(tp); !ok || e.Base != 30 {
		t.Errorf("max timestamp is in %+v", e)
	}
	if got := r.Size(tp); got != 20 {
		t.Errorf("size is %d", got)
	}
	if _, ok := r.MaxTimestamp(TopicPartition{id("t"), 1}); ok {
		t.Error("a partition without data has a timestamp")
	}
}

func TestViewIsBounded(t *testing.T) {
	s := New()
	do(t, s, CreateTopic{Topic: id("t"), Name: "t", Partitions: 2})
	do(t, s, OpenSession{Session: id("s"), NodeID: -1, Level: 1})
	tp := TopicPartition{id("t"), 0}
	for i := range uint64(5) {
		apply(t, s, Command{Session: id("s"), Lane: LaneObjects, Number: i + 1, Op: CommitObject{Size: 100, Runs: []Run{{Topic: id("t"),
			Batches: []Batch{{Len: 10, Count: 10, ProducerID: -1}}}}}})
	}
	do(t, s, AdvanceLogStart{tp, 15})
	for _, c := range []struct {
		from, bytes int64
		bases       []int64
	}{
		{14, 100, nil}, {15, 100, []int64{10, 20, 30, 40}}, {20, 100, []int64{20, 30, 40}}, {29, 20, []int64{20, 30}}, {29, 29, []int64{20, 30}},
		{29, 1, []int64{20}}, {29, 0, nil}, {29, -1, nil}, {49, 100, []int64{40}}, {50, 100, nil}, {51, 100, nil}, {-1, 100, nil},
		{math.MaxInt64, math.MaxInt64, nil}, {15, math.MaxInt64, []int64{10, 20, 30, 40}},
	} {
		v, ok := s.Reader().View(tp, c.from, c.bytes)
		var bases []int64
		for _, e := range v.Extents {
			bases = append(bases, e.Base)
		}
		if !ok || !slices.Equal(bases, c.bases) || v.LogStart != 15 || v.Watermark != 50 || v.Stable != 50 || v.Index != s.index {
			t.Errorf("view from %d, %d bytes: %v %+v", c.from, c.bytes, bases, v)
		}
	}
	for _, tp := range []TopicPartition{{id("t"), -1}, {id("t"), 2}, {id("u"), 0}} {
		if _, ok := s.Reader().View(tp, 0, 1); ok {
			t.Errorf("%v exists", tp)
		}
	}
	if v, ok := s.Reader().View(TopicPartition{id("t"), 1}, 0, 100); !ok || v.Watermark != 0 || v.Index != s.index {
		t.Errorf("partition without data: %v %+v", ok, v)
	}
}

func TestReaderAnswersCopies(t *testing.T) {
	s := goldenState(t)
	before := s.Hash()
	want := dump(s)
	r := s.Reader()
	topic, _ := r.TopicByName("orders")
	topic.Configs[0].Value = "changed"
	g, _ := r.Group("g")
	g.Members[0].Assignment[0], g.Members[0].Protocols[0].Metadata[0], g.Members[0].ID = 99, 99, "changed"
	r.Offsets("g")[0].Offset = 99
	v, _ := r.View(TopicPartition{id("t"), 3}, 50, 1<<40)
	v.Extents[0].Len = 99
	r.Configs(ResourceBroker, UUID{}, "7")[0].Name = "changed"
	if dump(s) != want || s.Hash() != before {
		t.Error("a change of an answer reached the state: " + firstDifference(want, dump(s)))
	}
	if leader, at := r.Leader(); leader.Agent != "alpha" || at != 1 || !r.Fence(1) || r.Fence(2) {
		t.Errorf("leader %+v since %d", leader, at)
	}
	if topics, partitions := r.TopicCount(); topics != 2 || partitions != 13 {
		t.Errorf("%d topics, %d partitions", topics, partitions)
	}
}
