package state

import (
	"errors"
	"iter"
	"math"
	"reflect"
	"slices"
	"sync"
	"testing"
)

// touchEverything changes a record of every table of goldenState in place.
func touchEverything(t testing.TB, s *State) {
	t.Helper()
	number := uint64(2)
	commit := func(runs ...Run) Command {
		number++
		return Command{Session: id("s"), Lane: LaneObjects, Number: number, Settled: number - 1, Op: CommitObject{Size: 1000, Runs: runs}}
	}
	other := func(n uint64, op Op) Command {
		return Command{Session: id("s"), Lane: LaneOther, Number: n, Settled: n - 1, Op: op}
	}
	apply(t, s, commit(
		Run{Topic: id("t"), Partition: 3, Batches: []Batch{{Len: 1, Count: 1, MaxTimestamp: -1, ProducerID: 40, ProducerEpoch: 1, FirstSequence: 1}}},
		Run{Topic: id("u"), Partition: 0, Batches: []Batch{{Len: 1, Count: 1, MaxTimestamp: -1, ProducerID: 41, FirstSequence: 8}}}))
	apply(t, s,
		other(3, CommitOffsets{"g", 3, "m1", "i", []OffsetCommit{{TopicPartition{id("t"), 0}, 11, -1, "n"}}, 2}),
		other(4, CreatePartitions{id("t"), 13}),
		other(5, AlterConfigs{Type: ResourceBroker, Broker: "7", Expect: math.MaxUint64, Set: []Config{{"x", "z"}}}),
		other(6, WriteGroup{4, Group{ID: "g", Generation: 9}}),
		other(7, ClaimGroup{"g", 4}),
		other(8, OpenSession{Session: id("new"), NodeID: 1, Agent: "beta", Level: 1}),
		other(9, CloseSession{id("new")}),
		other(10, AdvanceLogStart{TopicPartition{id("t"), 3}, 150}))
	if _, _, err := s.Apply(Entry{Index: s.index + 1, Fence: true, Leader: LeaderInfo{Agent: "beta"}}); err != nil {
		t.Fatal(err)
	}
	apply(t, s, other(11, DeleteTopic{id("t")}))
}

func TestImageKeepsWhatItSaw(t *testing.T) {
	s := goldenState(t)
	image := s.Image()
	before := shardsOf(image)
	hashes := []uint64{s.Hash()}
	for range 2 { // the second time, everything is of the image's past
		touchEverything(t, s)
		if after := shardsOf(image); !reflect.DeepEqual(after, before) {
			t.Fatal("image changed with the state")
		}
		hashes = append(hashes, s.Hash())
		s = goldenState(t)
		image = s.Image()
		s.Image()
	}
	if hashes[1] != hashes[2] {
		t.Error("the state differs if an image was taken between")
	}
	if back := throughImage(t, s); back.Hash() != hashes[0] {
		t.Error("hash differs")
	}
}

func TestImageIsEncodedWhileEntriesAreApplied(t *testing.T) {
	s := goldenState(t)
	want := shardsOf(s.Image())
	var images []*Image
	for range 4 {
		images = append(images, s.Image())
	}
	var all sync.WaitGroup
	for _, image := range images {
		all.Go(func() {
			if !reflect.DeepEqual(shardsOf(image), want) {
				t.Error("image differs")
			}
		})
	}
	touchEverything(t, s)
	all.Wait()
}

func TestUnchangedShardsKeepTheirIndex(t *testing.T) {
	s := goldenState(t)
	infos := func() map[ShardID]uint64 {
		m := map[ShardID]uint64{}
		for _, x := range s.Image().Header().Shards {
			m[x.ShardID] = x.Changed
		}
		return m
	}
	before := infos()
	apply(t, s, Command{Op: CreatePartitions{id("u"), 2}})
	for at, changed := range infos() {
		want := before[at]
		if at.Table == TableTopics {
			want = s.index
		}
		if changed != want {
			t.Errorf("%+v changed at %d, want %d", at, changed, want)
		}
	}
}

func TestRestoreRefuses(t *testing.T) {
	s := goldenState(t)
	image := s.Image()
	all := shardsOf(image)[1:]
	each := func(bs ...[]byte) iter.Seq2[[]byte, error] {
		return func(yield func([]byte, error) bool) {
			for _, b := range bs {
				if !yield(b, nil) {
					return
				}
			}
		}
	}
	lost := errors.New("lost")
	h := image.Header()
	other, newer := h, h
	other.Hash++
	newer.Level = Level + 1
	format := slices.Clone(all[0])
	format[0]++
	for name, c := range map[string]struct {
		h      Header
		shards iter.Seq2[[]byte, error]
		want   error
	}{
		"whole":          {h, each(all...), nil},
		"in other order": {h, func(yield func([]byte, error) bool) { slices.Reverse(all); each(all...)(yield); slices.Reverse(all) }, nil},
		"shard missing":  {h, each(all[1:]...), ErrCorrupt},
		"shard repeated": {h, each(append(slices.Clone(all), all[3])...), ErrCorrupt},
		"shard empty":    {h, each(append(slices.Clone(all[1:]), nil)...), ErrCorrupt},
		"shard format":   {h, each(append(slices.Clone(all[1:]), format)...), ErrLevel},
		"reading fails":  {h, func(yield func([]byte, error) bool) { yield(nil, lost) }, lost},
		"hash":           {other, each(all...), ErrCorrupt},
		"level":          {newer, each(all...), ErrLevel},
	} {
		if _, err := Restore(c.h, c.shards); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	missing := h
	missing.Shards = slices.Clone(h.Shards)
	missing.Shards = append(missing.Shards, ShardInfo{ShardID{TableTopics, 1, 3}, 1})
	if _, err := Restore(missing, each(all...)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a shard that never came: %v", err)
	}
	for _, b := range [][]byte{nil, {headerFormat}, {headerFormat, 2}, {headerFormat, 2, 1, 11, 200}} {
		if _, err := DecodeHeader(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("header %v: %v", b, err)
		}
	}
}

func TestUnknownFieldsAndOpsStopTheReplica(t *testing.T) {
	command := func(fields func(*writer)) []byte {
		w := writer{b: []byte{1}}
		w.message(3, fields)
		return w.b
	}
	for name, c := range map[string]struct {
		body []byte
		want error
	}{
		"unknown op":               {command(func(w *writer) { w.uint(6, 200) }), ErrUnknownCommand},
		"no op":                    {command(func(*writer) {}), ErrUnknownCommand},
		"field of a command":       {command(func(w *writer) { w.uint(6, uint64(opSkipObject)); w.uint(20, 1) }), ErrUnknownCommand},
		"field of an op":           {command(func(w *writer) { w.uint(6, uint64(opSkipObject)); w.bytes(7, []byte{2, 1}) }), ErrUnknownCommand},
		"field of an entry":        {[]byte{1, 40, 1}, ErrUnknownCommand},
		"level":                    {[]byte{2}, ErrLevel},
		"level 0":                  {[]byte{0}, ErrLevel},
		"nothing":                  {nil, ErrCorrupt},
		"fields out of order":      {[]byte{1, 5, 8, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1}, ErrCorrupt},
		"length beyond the end":    {[]byte{1, 7, 200}, ErrCorrupt},
		"length beyond all memory": {[]byte{1, 7, 255, 255, 255, 255, 255, 255, 255, 255, 127}, ErrCorrupt},
	} {
		if _, err := DecodeEntry(1, c.body); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	w := writer{b: EncodeLeader(LeaderInfo{Agent: "a"})}
	w.uint(30, 5)
	if e, err := DecodeLeader(1, w.b); err != nil || e.Leader.Agent != "a" {
		t.Errorf("a newer fence must be readable: %v", err)
	}
}
