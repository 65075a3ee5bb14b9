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
