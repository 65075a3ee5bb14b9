package state

import (
	"fmt"
	"runtime"
	"testing"

	"pgregory.net/rapid"
)

// TestACommittedOffsetCostsBytes prints the figures that DESIGN.md has: what a committed offset takes of heap and image.
func TestACommittedOffsetCostsBytes(t *testing.T) {
	const groups, each = 1000, 100
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // what finalizers held
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	encoded := func(s *State) (n int) {
		for _, b := range shardsOf(s.Image()) {
			n += len(b)
		}
		return n
	}
	s := New()
	do(t, s, OpenSession{Session: id("s"), NodeID: -1, Level: 1})
	do(t, s, CreateTopic{Topic: UUID{1, 15: 2}, Name: "t", Partitions: each})
	heapBefore, imageBefore := heap(), encoded(s)
	number := uint64(0)
	for round := range 2 { // consumers commit again and again
		for g := range groups {
			offsets := make([]OffsetCommit, each)
			for i := range offsets {
				offsets[i] = OffsetCommit{TopicPartition: TopicPartition{UUID{1, 15: 2}, int32(i)}, Offset: int64(1_000_000 + round)}
			}
			number++
			apply(t, s, Command{Session: id("s"), Lane: LaneOther, Number: number, Settled: number - 1, Time: 1700000000000,
				Op: CommitOffsets{Group: fmt.Sprint("group-", g), Generation: -1, Offsets: offsets, Accepted: s.index}})
		}
	}
	perOffset, perOffsetImage := float64(heap()-heapBefore)/groups/each, float64(encoded(s)-imageBefore)/groups/each
	t.Logf("%.0f bytes of heap and %.0f of an image for each of %d offsets in each of %d groups", perOffset, perOffsetImage, each, groups)
	if perOffset > 130 || perOffsetImage > 30 {
		t.Error("a committed offset costs more than it should")
	}
	runtime.KeepAlive(s)
}

// TestGoldenAccepted is what tells a late commit of offsets in an image.
func TestGoldenAccepted(t *testing.T) {
	s := goldenState(t)
	apply(t, s, Command{Session: id("s"), Lane: LaneOther, Number: 3, Op: CommitOffsets{Group: "g", Generation: 3, Member: "m1", Instance: "i",
		Offsets: []OffsetCommit{{TopicPartition{id("t"), 1}, 11, 0, ""}}, Accepted: 5}},
		Command{Op: CommitOffsets{Group: "h", Generation: -1, Offsets: []OffsetCommit{{TopicPartition{id("t"), 1}, 11, 0, ""}}, Accepted: 5}},
		Command{Op: CommitOffsets{Group: "i", Generation: -1, Offsets: []OffsetCommit{{TopicPartition{id("t"), 1}, 12, 0, ""}}, Accepted: 5}})
	do(t, s, DeleteGroup{Group: "h"})
	checkGoldenImage(t, "image-1-accepted.golden", s)
}

// committing is a client that commits ever larger offsets of one partition. It gives commits up when it likes, and goes on at another
// agent. Once it has deleted the group it begins anew: the offsets of a later epoch are larger as the test writes them.
type committing struct {
	s           *State
	agents      []*holder
	epoch, next int64
	at          int64 // what it saw last
	there       bool
}

// epochs is how far the offsets of two epochs are apart.
const epochs = 1 << 20

// holder is an agent: it holds commands, in order, each with what it had applied when it took it.
type holder struct {
	session UUID
	number  uint64
	applied uint64
	held    []CommitOffsets
}

func (h *holder) command() Command {
	op := h.held[0]
	h.held = h.held[1:]
	h.number++
	return Command{Session: h.session, Lane: LaneOther, Number: h.number, Settled: h.number - 1, Op: op}
}

func (c *committing) step(t *rapid.T, commands ...Command) []Result {
	rs, _, err := c.s.Apply(Entry{Index: c.s.index + 1, Commands: commands})
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

func (c *committing) send(to *holder) {
	c.next++
	to.held = append(to.held, CommitOffsets{Group: "g", Generation: -1, Accepted: to.applied,
		Offsets: []OffsetCommit{{TopicPartition: TopicPartition{Topic: id("t")}, Offset: c.epoch*epochs + c.next}}})
}

// look fails if the offset has gone back, or if one is there again that was deleted.
func (c *committing) look(t *rapid.T) {
	o, ok := c.s.Reader().Offset("g", TopicPartition{Topic: id("t")})
	if ok && (o.Offset < c.at || o.Offset < c.epoch*epochs) {
		t.Fatalf("offset goes from %d to %d in epoch %d", c.at, o.Offset, c.epoch)
	}
	if c.there = ok; ok {
		c.at = o.Offset
	}
}

// entry decides, in one entry, some of what some agents hold.
func (c *committing) entry(t *rapid.T) {
	var commands []Command
	for _, h := range rapid.Permutation(c.agents).Draw(t, "order") {
		if n := len(h.held); n > 0 && rapid.Bool().Draw(t, "sends") {
			for range rapid.IntRange(1, n).Draw(t, "commands") {
				commands = append(commands, h.command())
			}
		}
	}
	c.step(t, commands...)
}

// TestOffsetsNeverGoBackwards: whatever agents hold back, for how long, and in whatever order it is decided.
func TestOffsetsNeverGoBackwards(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &committing{s: New()}
		opening := []Command{{Op: CreateTopic{id("t"), "t", 1, 1, nil}}}
		for i := range 3 {
			h := &holder{session: id(fmt.Sprint("s", i)), applied: 1}
			c.agents = append(c.agents, h)
			opening = append(opening, Command{Op: OpenSession{Session: h.session, NodeID: -1, Level: 1}})
		}
		c.step(t, opening...)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			h := rapid.SampledFrom(c.agents).Draw(t, "agent")
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1, 2:
				c.send(h)
			case 3, 4: // it learns what was decided
				h.applied = max(h.applied, uint64(rapid.IntRange(1, int(c.s.index)).Draw(t, "applied")))
			case 5:
				if c.there && rapid.Bool().Draw(t, "delete") {
					c.step(t, Command{Op: DeleteGroup{Group: "g"}})
					c.epoch++
					c.next = 0
				}
			default:
				c.entry(t)
			}
			c.look(t)
		}
		// Who asks again at an agent that knows of the refusal is not refused again.
		h := rapid.SampledFrom(c.agents).Draw(t, "last")
		h.held, h.applied = nil, c.s.index
		c.send(h)
		if rs := c.step(t, h.command()); rs[0].Code != CodeOK || rs[0].Partitions != nil {
			t.Fatalf("tried again: %s", printResult(rs[0]))
		}
		c.look(t)
	})
}
