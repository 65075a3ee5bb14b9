package state

import (
	"bytes"
	"testing"
)

// FuzzDecodeEntry: whatever decodes is encoded and decoded again to the same, and Apply survives it.
func FuzzDecodeEntry(f *testing.F) {
	for _, c := range goldenCommands {
		f.Add(EncodeEntry(Entry{Commands: []Command{c}}))
	}
	f.Add(EncodeEntry(Entry{Commands: goldenCommands, Check: Check{1, 2}}))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := DecodeEntry(3, body)
		if err != nil {
			return
		}
		again := EncodeEntry(e)
		e2, err := DecodeEntry(3, again)
		if err != nil || !bytes.Equal(EncodeEntry(e2), again) {
			t.Fatalf("%v: not stable: %x", err, again)
		}
		s := New()
		for _, pre := range []Op{OpenSession{Session: id("s"), NodeID: -1, Level: 1}, CreateTopic{id("t"), "t", 1 << 10, 1, nil}} {
			if _, _, err := s.Apply(Entry{Index: s.index + 1, Commands: []Command{{Op: pre}}}); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := s.Apply(e); err != nil {
			return
		}
		throughImage(t, s)
	})
}

func FuzzDecodeLeader(f *testing.F) {
	f.Add(EncodeLeader(LeaderInfo{id("s"), "a", "b", 5}))
	f.Fuzz(func(t *testing.T, body []byte) {
		if e, err := DecodeLeader(1, body); err == nil {
			if again, err := DecodeLeader(1, EncodeLeader(e.Leader)); err != nil || again.Leader != e.Leader {
				t.Fatal(err, again)
			}
		}
	})
}

func FuzzDecodeResults(f *testing.F) {
	f.Add(EncodeResults([]Result{{Index: 5, Batches: []BatchResult{{Base: 5, LogStart: 3}, {Code: CodeInvalid, Base: -1}}}, {Partitions: []Code{1}}}))
	f.Fuzz(func(t *testing.T, body []byte) {
		if rs, err := DecodeResults(body); err == nil {
			b := EncodeResults(rs)
			if again, err := DecodeResults(b); err != nil || !bytes.Equal(EncodeResults(again), b) {
				t.Fatal(err, again)
			}
		}
	})
}

// FuzzRestore changes one shard of an image and its hash: whatever is restored all the same can be applied to and imaged again.
func FuzzRestore(f *testing.F) {
	s := goldenState(&testing.T{})
	shards := shardsOf(s.Image())
	for i := range shards {
		f.Add(uint8(i), shards[i])
	}
	f.Fuzz(func(t *testing.T, at uint8, b []byte) {
		mine := append([][]byte(nil), shards...)
		mine[int(at)%len(mine)] = b
		h, err := DecodeHeader(mine[0])
		if err != nil {
			return
		}
		each := func(yield func([]byte, error) bool) {
			for _, b := range mine[1:] {
				if !yield(b, nil) {
					return
				}
			}
		}
		r, err := restoreUnverified(h, each)
		if err != nil {
			return
		}
		if r.index == 1<<64-1 || r.topics.partitions > 1<<20 {
			return
		}
		for _, c := range goldenCommands {
			if _, _, err := r.Apply(Entry{Index: r.index + 1, Commands: []Command{c}}); err != nil {
				return
			}
		}
		r.Image().Header()
		_ = dump(r)
	})
}
