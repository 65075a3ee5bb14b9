package state

import "testing"

func TestProducerIDsInUseAreNotGivenOutAgain(t *testing.T) {
	s := New()
	apply := func(c Command) Result {
		t.Helper()
		results, _, err := s.Apply(Entry{Index: s.index + 1, Commands: []Command{c}})
		if err != nil {
			t.Fatal(err)
		}
		return results[0]
	}
	apply(Command{Op: OpenSession{Session: id("s"), NodeID: -1, Level: 1}})
	apply(Command{Op: CreateTopic{Topic: id("t"), Name: "t", Partitions: 1, ReplicationFactor: 1}})
	next := s.misc.nextProducer
	// A producer that got its id from a cluster that is gone.
	stale := apply(Command{Session: id("s"), Lane: LaneObjects, Number: 1, Op: CommitObject{Size: 1000, Runs: []Run{
		{Topic: id("t"), AcceptIndex: s.index, Batches: []Batch{{Len: 100, Count: 1, MaxTimestamp: -1, ProducerID: next + 5}}},
	}}})
	if stale.Batches[0].Code != CodeOK {
		t.Fatal(stale)
	}
	first := apply(Command{Op: AllocateProducerIDs{Count: 10}}).Number
	if first <= next+5 {
		t.Fatalf("ids %d to %d were given out, %d is in use", first, first+9, next+5)
	}
}

func TestTwoClustersBeginTheirProducerIDsElsewhere(t *testing.T) {
	begin := func(session UUID) int64 {
		s := New()
		if _, _, err := s.Apply(Entry{Index: 1, Fence: true, Leader: LeaderInfo{Session: session}}); err != nil {
			t.Fatal(err)
		}
		return s.misc.nextProducer
	}
	a, b := begin(UUID{8: 1, 9: 2}), begin(UUID{8: 3, 9: 4})
	if a == b || a < 1 || b < 1 || a > 1<<40 || b > 1<<40 {
		t.Fatalf("ids begin at %d and %d", a, b)
	}
	if again := begin(UUID{8: 1, 9: 2}); again != a {
		t.Fatal("the same entries must give the same state")
	}
}

// TestAnIDThatNeverExpiredOnlyLacksItsPredecessor: a new producer whose first batch is not there yet learns that, and not that its id is
// gone, which ends some clients. Where an id may have expired, only UNKNOWN_PRODUCER_ID tells the client to begin anew.
func TestAnIDThatNeverExpiredOnlyLacksItsPredecessor(t *testing.T) {
	s := New()
	do(t, s, OpenSession{Session: id("s"), NodeID: -1, Level: 1})
	do(t, s, CreateTopic{Topic: id("t"), Name: "t", Partitions: 1})
	do(t, s, AllocateProducerIDs{Count: 10}) // 1 to 10
	var number uint64
	commit := func(producer int64, sequence int32, accept uint64) Code {
		t.Helper()
		number++
		rs, _ := apply(t, s, Command{Session: id("s"), Lane: LaneObjects, Number: number, Settled: number - 1, Time: 1000, Op: CommitObject{Size: 10,
			Runs: []Run{{Topic: id("t"), AcceptIndex: accept, Batches: []Batch{{Len: 1, Count: 1, ProducerID: producer, FirstSequence: sequence}}}}}})
		return rs[0].Batches[0].Code
	}
	want := func(what string, got, want Code) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
		r, err := Restore(s.Image().Header(), func(yield func([]byte, error) bool) {
			for _, encode := range s.Image().Shards() {
				if !yield(encode(), nil) {
					return
				}
			}
		})
		if err != nil || r.Hash() != s.Hash() || dump(r) != dump(s) {
			t.Error("an image holds something else", err)
		}
	}
	want("new", commit(5, 7, s.index), CodeOutOfOrderSequence)
	if q := SequenceOf(s.Reader(), 5, TopicPartition{Topic: id("t")}); q.Known || !q.New {
		t.Errorf("%+v", q)
	}
	want("not given out yet", commit(11, 7, s.index), CodeUnknownProducer)
	want("first of 4", commit(4, 0, s.index), CodeOK)
	want("first of a stranger", commit(50, 0, s.index), CodeOK)
	before := s.index
	apply(t, s, Command{Op: ExpireProducers{Before: 1 << 40, Limit: 10}, Time: 1500})
	if s.misc.expired == before {
		t.Fatal("nothing expired")
	}
	want("expired", commit(4, 1, s.index), CodeUnknownProducer)
	want("given out before one that expired", commit(3, 1, s.index), CodeUnknownProducer)
	want("given out after it", commit(5, 7, s.index), CodeOutOfOrderSequence)
	want("a repetition, accepted before its id expired", commit(4, 0, before), CodeUnknownProducer)
	want("accepted before another's id expired", commit(6, 0, before), CodeOK)

	s.misc.expiredID = 0 // an image of the time before this was kept
	s.misc.touch(s.index)
	want("expiry of unknown extent", commit(5, 7, s.index), CodeUnknownProducer)
}
