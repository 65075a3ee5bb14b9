package state

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// world draws commands that mostly make sense, over few names, so that they meet.
type world struct {
	numbers map[string]uint64 // next number by session and lane
}

func (w *world) entry(t *rapid.T, s *State) Entry {
	e := Entry{Index: s.index + 1, Check: Check{s.index, s.Hash()}}
	if s.index == 0 {
		e.Check = Check{}
	}
	if rapid.IntRange(0, 30).Draw(t, "fence") == 0 {
		e.Fence, e.Leader = true, LeaderInfo{Agent: "a", Time: int64(s.index)}
		return e
	}
	for range rapid.IntRange(0, 4).Draw(t, "commands") {
		e.Commands = append(e.Commands, w.command(t, s))
	}
	return e
}

func (w *world) command(t *rapid.T, s *State) Command {
	c := Command{Time: int64(s.index) * 10, Op: drawOp(t, s)}
	lane, _ := laneOf(c.Op)
	if lane == LaneOther && !needsSession(c.Op) && rapid.Bool().Draw(t, "sessionless") {
		return c
	}
	c.Session, c.Lane = id(fmt.Sprintf("s%d", rapid.IntRange(0, 3).Draw(t, "session"))), lane
	key := fmt.Sprint(c.Session, c.Lane)
	known, ok := s.sessions.get(c.Session)
	if !ok {
		w.numbers[key] = 0
	}
	switch rapid.IntRange(0, 9).Draw(t, "number") {
	case 0: // a repeat, or a gap
		c.Number = uint64(max(0, int(w.numbers[key])+rapid.IntRange(-3, 2).Draw(t, "delta")))
	default:
		if ok {
			w.numbers[key] = known.lanes[c.Lane-1].decided()
		}
		w.numbers[key]++
		c.Number = w.numbers[key]
	}
	if rapid.Bool().Draw(t, "settles") {
		c.Settled = uint64(rapid.IntRange(0, int(c.Number)).Draw(t, "settled"))
	}
	return c
}

func drawTopic(t *rapid.T) UUID {
	return id(fmt.Sprintf("t%d", rapid.IntRange(0, 3).Draw(t, "topic")))
}

func drawPartition(t *rapid.T) TopicPartition {
	return TopicPartition{drawTopic(t), int32(rapid.IntRange(-1, 4).Draw(t, "partition"))}
}

func drawGroup(t *rapid.T) string { return fmt.Sprintf("g%d", rapid.IntRange(0, 3).Draw(t, "group")) }

func drawOp(t *rapid.T, s *State) Op {
	switch rapid.IntRange(0, 34).Draw(t, "op") {
	case 0, 1:
		return OpenSession{Session: id(fmt.Sprintf("s%d", rapid.IntRange(0, 3).Draw(t, "s"))), Level: 1, NodeID: -1,
			Agent: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "agent"),
			Peer:  rapid.SampledFrom([]string{"", "10.0.0.1:1"}).Draw(t, "peer"), Listeners: []Listener{{"l", "h:1"}}}
	case 2:
		if rapid.IntRange(0, 5).Draw(t, "really") == 0 {
			return CloseSession{Session: id(fmt.Sprintf("s%d", rapid.IntRange(0, 3).Draw(t, "s")))}
		}
		switch rapid.IntRange(0, 3).Draw(t, "leave") {
		case 0:
			return LeaveSession{Session: id(fmt.Sprintf("s%d", rapid.IntRange(0, 3).Draw(t, "s")))}
		case 1, 2:
			return StepAside{Session: id(fmt.Sprintf("s%d", rapid.IntRange(0, 3).Draw(t, "s"))), Back: rapid.Bool().Draw(t, "back")}
		}
		return RaiseLevel{Level: 1}
	case 3, 4:
		u := drawTopic(t)
		return CreateTopic{Topic: u, Name: name(u), Partitions: int32(rapid.IntRange(0, 4).Draw(t, "n")), Configs: []Config{{"a", "b"}}}
	case 5:
		if rapid.IntRange(0, 3).Draw(t, "really") == 0 {
			return DeleteTopic{Topic: drawTopic(t)}
		}
		return CreatePartitions{Topic: drawTopic(t), Count: int32(rapid.IntRange(0, 5).Draw(t, "n"))}
	case 6:
		return AlterConfigs{Type: ResourceTopic, Topic: drawTopic(t), Expect: math.MaxUint64, Set: []Config{{"c", "d"}}, Remove: []string{"a"}}
	case 7:
		return AllocateProducerIDs{Count: int32(rapid.IntRange(-1, 5).Draw(t, "n"))}
	case 8:
		return ExpireProducers{Before: s.clock.latest - 50, Limit: int32(rapid.IntRange(0, 3).Draw(t, "limit"))}
	case 9, 10:
		return AdvanceLogStart{drawPartition(t), rapid.Int64Range(-1, 60).Draw(t, "offset")}
	case 11, 12:
		g := drawGroup(t)
		_, standing := s.Reader().Claim(g)
		return ClaimGroup{Group: g, Replaces: standing}
	case 13, 14:
		g := drawGroup(t)
		_, standing := s.Reader().Claim(g)
		w := WriteGroup{Claim: standing, Group: Group{ID: g, Generation: int32(s.index), ProtocolType: "consumer", Changed: s.clock.latest}}
		if rapid.Bool().Draw(t, "members") {
			w.Group.State, w.Group.Members = GroupStable, []Member{{ID: "m", Assignment: []byte{1}}}
		}
		return w
	case 15, 16:
		return CommitOffsets{Group: drawGroup(t), Generation: -1, Accepted: uint64(rapid.IntRange(0, int(s.index)).Draw(t, "accepted")), Offsets: []OffsetCommit{{TopicPartition: drawPartition(t), Offset: int64(s.index)},
			{TopicPartition: drawPartition(t), Metadata: "m"}}}
	case 17:
		return DeleteGroup{Group: drawGroup(t)}
	case 18:
		return ExpireOffsets{Before: s.clock.latest - 100, Limit: 2}
	case 19:
		return NoteTrim{Through: uint64(rapid.IntRange(0, 50).Draw(t, "through"))}
	case 20:
		return SkipObject{}
	}
	return drawCommit(t, s)
}

func drawCommit(t *rapid.T, s *State) CommitObject {
	o := CommitObject{Attempt: uint32(rapid.IntRange(0, 2).Draw(t, "attempt")), Size: 1000}
	for range rapid.IntRange(0, 3).Draw(t, "runs") {
		tp := drawPartition(t)
		r := Run{Topic: tp.Topic, Partition: tp.Partition, Pos: int64(rapid.IntRange(0, 500).Draw(t, "pos")),
			AcceptIndex: uint64(max(0, int(s.index)-rapid.IntRange(0, 30).Draw(t, "lag")))}
		for range rapid.IntRange(0, 4).Draw(t, "batches") {
			b := Batch{Len: int32(rapid.IntRange(1, 99).Draw(t, "len")), Count: int32(rapid.IntRange(1, 3).Draw(t, "count")),
				MaxTimestamp: rapid.Int64Range(-1, 9).Draw(t, "timestamp"), ProducerID: -1}
			if p := rapid.IntRange(-1, 2).Draw(t, "producer"); p >= 0 {
				b.ProducerID, b.ProducerEpoch, b.FirstSequence = int64(p), int16(rapid.IntRange(0, 1).Draw(t, "epoch")), drawSequence(t, s, tp, int64(p))
			}
			r.Batches = append(r.Batches, b)
		}
		o.Runs = append(o.Runs, r)
	}
	return o
}

func drawSequence(t *rapid.T, s *State, tp TopicPartition, producer int64) int32 {
	if p, ok := s.producers.get(producer); ok && rapid.IntRange(0, 3).Draw(t, "sequence") > 0 {
		if at, ok := p.find(tp); ok {
			q := p.sequences[at]
			return max(0, q.last()+1-int32(rapid.IntRange(0, 9).Draw(t, "back"))*int32(rapid.IntRange(0, 1).Draw(t, "repeat")))
		}
	}
	return int32(rapid.IntRange(0, 1).Draw(t, "first"))
}

func shardsOf(i *Image) (all [][]byte) {
	all = append(all, i.Header().Encode())
	for _, encode := range i.Shards() {
		all = append(all, encode())
	}
	return all
}

// TestSameEntriesSameState: entries applied as composed and as decoded give the same results, hash and image; the hash is that of a
// state built from nothing but the image; an image does not change when the state does; and a restored state goes on as the
// one it was made from.
func TestSameEntriesSameState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{numbers: map[string]uint64{}}
		a, b, restored := New(), New(), New()
		var image *Image
		var imaged [][]byte
		written := map[ShardInfo][]byte{}
		for range rapid.IntRange(1, 60).Draw(t, "entries") {
			e := w.entry(t, a)
			ra, ca, err := a.Apply(e)
			if err != nil {
				t.Fatal(err)
			}
			if !e.Fence {
				decoded, err := DecodeEntry(e.Index, EncodeEntry(e))
				if err != nil {
					t.Fatal(err)
				}
				if again := EncodeEntry(decoded); !bytes.Equal(again, EncodeEntry(e)) {
					t.Fatalf("encoding is not stable: %x, then %x", EncodeEntry(e), again)
				}
				e = decoded
			}
			for _, other := range []*State{b, restored} {
				r, c, err := other.Apply(e)
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(ca, c) || len(ra) != len(r) {
					t.Fatalf("changes %v, then %v", ca, c)
				}
				for i := range r {
					if printResult(r[i]) != printResult(ra[i]) {
						t.Fatalf("result %v, then %v", printResult(ra[i]), printResult(r[i]))
					}
				}
			}
			if a.Hash() != b.Hash() || a.Hash() != restored.Hash() {
				t.Fatalf("hashes differ at %d", a.index)
			}
			switch rapid.IntRange(0, 5).Draw(t, "then") {
			case 0:
				restored = throughRapid(t, restored)
			case 1:
				image = a.Image()
				imaged = shardsOf(image)
			case 2:
				if other := shardsOf(b.Image()); !reflect.DeepEqual(shardsOf(a.Image()), other) {
					t.Fatal("same entries, other image")
				}
			}
			if rapid.IntRange(0, 9).Draw(t, "shards") == 0 {
				for _, x := range []*State{a, restored} {
					for info, encode := range cutDeep(x.Image(), rapid.IntRange(0, 3).Draw(t, "depth")).Shards() {
						if b, ok := written[info]; ok && !bytes.Equal(b, encode()) {
							t.Fatalf("shard %+v has changed, but not its index", info)
						}
						written[info] = encode()
					}
				}
			}
			if image != nil {
				old := *image
				old.shards, old.header.Shards = nil, nil
				if !reflect.DeepEqual(shardsOf(&old), imaged) {
					t.Fatalf("image of %d changed with entry %d", image.header.Index, a.index)
				}
			}
		}
	})
}

// cutDeep makes the image believe that its tables are large.
func cutDeep(i *Image, depth int) *Image {
	for j := range i.tables[1:] {
		i.tables[j+1].weight = shardWeight<<(4*depth) - 1
	}
	return i
}

func throughRapid(t *rapid.T, s *State) *State {
	image := cutDeep(s.Image(), rapid.IntRange(0, 3).Draw(t, "depth"))
	r, err := Restore(image.Header(), func(yield func([]byte, error) bool) {
		for _, encode := range image.Shards() {
			if !yield(encode(), nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if dump(r) != dump(s) {
		t.Fatal("restored state differs: " + firstDifference(dump(s), dump(r)))
	}
	return r
}
