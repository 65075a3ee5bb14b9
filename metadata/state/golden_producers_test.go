package state

import (
	"fmt"
	"testing"
)

// TestGoldenTombstones is the names of deleted topics with producers, which were added to level 1 before it was ever released.
func TestGoldenTombstones(t *testing.T) {
	s := goldenState(t)
	apply(t, s, Command{Op: DeleteTopic{id("u")}})
	apply(t, s, Command{Op: DeleteTopic{id("t")}})
	checkGoldenImage(t, "image-1-tombstones.golden", s)
}

// TestOldTombstonesGiveWay: a producer whose topics come and go for ever costs a bounded number of names, the latest ones.
func TestOldTombstonesGiveWay(t *testing.T) {
	s := New()
	do(t, s, OpenSession{Session: id("s"), NodeID: -1, Level: 1})
	var number uint64
	produce := func(topic UUID, sequence int32) Code {
		t.Helper()
		number++
		rs, _ := apply(t, s, Command{Session: id("s"), Lane: LaneObjects, Number: number, Settled: number - 1, Op: CommitObject{Size: 10,
			Runs: []Run{{Topic: topic, AcceptIndex: s.index, Batches: []Batch{{Len: 1, Count: 1, ProducerID: 7, FirstSequence: sequence}}}}}})
		return rs[0].Batches[0].Code
	}
	for n := range tombstones + 1 {
		topic := id(fmt.Sprint("t", n))
		do(t, s, CreateTopic{Topic: topic, Name: fmt.Sprint("n", n), Partitions: 1})
		if c := produce(topic, 0); c != CodeOK {
			t.Fatal(c)
		}
		do(t, s, DeleteTopic{topic})
	}
	if p, _ := s.producers.get(7); len(p.deleted) != tombstones || s.producers.entries != tombstones {
		t.Fatalf("%d names, %d entries", len(p.deleted), s.producers.entries)
	}
	for n, want := range map[int]Code{0: CodeOutOfOrderSequence, 1: CodeOK, tombstones: CodeOK} {
		topic := id(fmt.Sprint("again", n))
		do(t, s, CreateTopic{Topic: topic, Name: fmt.Sprint("n", n), Partitions: 1})
		if c := produce(topic, 5); c != want {
			t.Errorf("name %d: %s, want %s", n, c, want)
		}
	}
	image := s.Image()
	r, err := Restore(image.Header(), func(yield func([]byte, error) bool) {
		for _, encode := range image.Shards() {
			if !yield(encode(), nil) {
				return
			}
		}
	})
	if err != nil || dump(r) != dump(s) || r.producers.entries != s.producers.entries {
		t.Error(err)
	}
}

func TestSequenceTellsWhatABatchLacks(t *testing.T) {
	const newest = 1<<31 - 1
	at := func(epoch int16, last int32) Sequence {
		return Sequence{Known: true, Wrote: true, Epoch: epoch, Last: last}
	}
	for name, tt := range map[string]struct {
		q     Sequence
		epoch int16
		first int32
		lacks bool
	}{
		"unknown, at 0":            {Sequence{}, 0, 0, false},
		"unknown, later":           {Sequence{}, 0, 1, true},
		"new to the partition":     {Sequence{Known: true}, 3, 0, false},
		"new to it, later":         {Sequence{Known: true}, 3, 7, true},
		"deleted before, later":    {Sequence{Known: true, Deleted: true}, 3, 7, true},
		"next":                     {at(1, 9), 1, 10, false},
		"one is missing":           {at(1, 9), 1, 11, true},
		"a repetition":             {at(1, 9), 1, 9, false},
		"an old one":               {at(1, 9), 1, 0, false},
		"lower epoch":              {at(1, 9), 0, 11, false},
		"higher epoch":             {at(1, 9), 2, 0, false},
		"higher epoch, later":      {at(1, 9), 2, 10, true},
		"next after the largest":   {at(1, newest), 1, 0, false},
		"one is missing after it":  {at(1, newest), 1, 1, true},
		"the largest, missing one": {at(1, newest-2), 1, newest, true},
		"repeats the largest":      {at(1, 2), 1, newest, false},
	} {
		if got := tt.q.Lacks(tt.epoch, tt.first); got != tt.lacks {
			t.Errorf("%s: %v", name, got)
		}
	}
}
