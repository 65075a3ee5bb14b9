package state

import (
	"errors"
	"testing"
)

// id makes a UUID that scripts can print again: its bytes are the name.
func id(name string) (u UUID) {
	if len(name) > len(u) {
		panic("id too long: " + name)
	}
	copy(u[:], name)
	return u
}

// apply applies commands as the next entry.
func apply(t testing.TB, s *State, commands ...Command) ([]Result, []Change) {
	t.Helper()
	rs, changes, err := s.Apply(Entry{Index: s.index + 1, Commands: commands})
	if err != nil {
		t.Fatal(err)
	}
	return rs, changes
}

// do applies one command without a session.
func do(t testing.TB, s *State, op Op) Result {
	t.Helper()
	rs, _ := apply(t, s, Command{Op: op})
	return rs[0]
}

func TestWhatMustStopTheReplica(t *testing.T) {
	fresh := func() *State {
		s := New()
		do(t, s, CreateTopic{Topic: id("t"), Name: "t", Partitions: 1})
		return s
	}
	good := fresh().Hash()
	for name, c := range map[string]struct {
		e    Entry
		want error
	}{
		"index repeated":     {Entry{Index: 1}, ErrIndex},
		"index skipped":      {Entry{Index: 3}, ErrIndex},
		"no op":              {Entry{Index: 2, Commands: []Command{{}}}, ErrUnknownCommand},
		"op by pointer":      {Entry{Index: 2, Commands: []Command{{Op: &SkipObject{}}}}, ErrUnknownCommand},
		"level":              {Entry{Index: 2, Commands: []Command{{Op: RaiseLevel{Level: Level + 1}}}}, ErrLevel},
		"hash differs":       {Entry{Index: 2, Check: Check{1, good + 1}}, ErrDiverged},
		"hash to come":       {Entry{Index: 2, Check: Check{2, good}}, ErrCorrupt},
		"fence and commands": {Entry{Index: 2, Fence: true, Commands: []Command{{Op: SkipObject{}}}}, ErrCorrupt},
		"hash agrees":        {Entry{Index: 2, Check: Check{1, good}}, nil},
	} {
		if _, _, err := fresh().Apply(c.e); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func TestCommitGivesOffsetsAndExtents(t *testing.T) {
	s := New()
	do(t, s, CreateTopic{Topic: id("t"), Name: "t", Partitions: 2})
	do(t, s, OpenSession{Session: id("s"), NodeID: -1, Level: 1})
	b := Batch{Len: 100, Count: 10, MaxTimestamp: 7, ProducerID: -1}
	rs, _ := apply(t, s, Command{Session: id("s"), Lane: LaneObjects, Number: 1, Op: CommitObject{Size: 1000, Runs: []Run{
		{Topic: id("t"), Partition: 1, Pos: 50, Batches: []Batch{b, b}},
		{Topic: id("t"), Partition: 1, Pos: 300, Batches: []Batch{b}},
	}}})
	if got := rs[0].Batches; len(got) != 3 || got[0].Base != 0 || got[1].Base != 10 || got[2].Base != 20 {
		t.Fatalf("%+v", rs[0])
	}
	v, ok := s.Reader().View(TopicPartition{id("t"), 1}, 5, 1<<20)
	if !ok || v.Watermark != 30 || len(v.Extents) != 2 {
		t.Fatalf("%+v", v)
	}
	e := v.Extents[0]
	if e.Base != 0 || e.Last != 19 || e.Pos != 50 || e.Len != 200 || e.ObjectSize != 1000 || e.Object != (ObjectName{id("s"), 1, 0}) {
		t.Fatalf("%+v", e)
	}
}
