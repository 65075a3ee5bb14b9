package state

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// The golden files were written once by the version that introduced a level, and must decode for ever. -rewrite writes only
// files that are missing: to accept a change of format, one has to delete a file by hand, and should not.

// golden is a file of named encodings and what they decode to.
//
//	# name
//	hex
//	> what it decodes to, for people: fields that are added later are missing here, so the tests compare with values instead
type golden struct {
	name    string
	encoded []byte
	decoded string
}

func readGolden(t *testing.T, file string, written []golden) []golden {
	t.Helper()
	path := filepath.Join("testdata", file)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && *rewrite {
		var out bytes.Buffer
		for _, g := range written {
			fmt.Fprintf(&out, "# %s\n%s\n> %s\n", g.name, hex.EncodeToString(g.encoded), g.decoded)
		}
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []golden
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		switch line := lines.Text(); {
		case strings.HasPrefix(line, "# "):
			all = append(all, golden{name: line[2:]})
		case strings.HasPrefix(line, "> "):
			all[len(all)-1].decoded = line[2:]
		default:
			if all[len(all)-1].encoded, err = hex.DecodeString(line); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(all) == 0 || lines.Err() != nil {
		t.Fatal("golden file is empty or too long", lines.Err())
	}
	return all
}

var goldenCommands = []Command{
	{Op: OpenSession{Session: id("s"), NodeID: -1, Agent: "alpha", Address: "10.0.0.1:9092", Zone: "a", Level: 1}, Time: 1700000000000},
	{Op: OpenSession{Session: id("s2"), NodeID: 7, Level: 1}},
	{Session: id("s"), Lane: LaneOther, Number: 1, Op: CloseSession{id("x")}},
	{Session: id("s"), Lane: LaneOther, Number: 300, Settled: 299, Time: -5, Op: RaiseLevel{1}},
	{Session: id("s2"), Lane: LaneOther, Number: 1, Op: CreateTopic{id("t"), "orders", 12, -1, []Config{{"a", "1"}, {"b", ""}}}},
	{Op: DeleteTopic{id("t")}},
	{Op: CreatePartitions{id("t"), 24}},
	{Op: AlterConfigs{ResourceTopic, id("t"), "", 5, []Config{{"a", "2"}}, []string{"b", "c"}}},
	{Op: AlterConfigs{ResourceBroker, UUID{}, "7", 5, nil, nil}},
	{Session: id("s"), Lane: LaneObjects, Number: 1, Settled: 0, Time: 1700000000000, Op: CommitObject{2, 8 << 20, []Run{
		{id("t"), 3, 64, 1000, []Batch{
			{16384, 0, 100, 1700000000000, -1, 0, 0}, {500, 2, 1, 1699999999999, 4000, 1, 77}, {500, 0, 5, -1, 4000, 1, 78}, {1, 0, 1, 5, 4000, 2, 0}}},
		{id("u"), 0, 20000, 999, []Batch{{100, 0, 1, 1700000000000, 4001, 0, 2147483647}}},
		{id("t"), 4, 20100, 1000, nil}}}},
	{Session: id("s"), Lane: LaneObjects, Number: 2, Settled: 1, Op: SkipObject{}},
	{Op: AllocateProducerIDs{1000}},
	{Op: ExpireProducers{1700000000000, 100}},
	{Op: AdvanceLogStart{TopicPartition{id("t"), 3}, 1 << 40}},
	{Op: ClaimGroup{"g", 17}},
	{Op: WriteGroup{18, Group{"g", GroupStable, 3, "consumer", "range", "m1", 1700000000000, []Member{
		{"m1", "", "client", "/10.0.0.9", 60000, 45000, []Protocol{{"range", []byte{1, 2}}, {"sticky", nil}}, []byte{3}}, {ID: "m2", Instance: "i2"}}}}},
	{Op: CommitOffsets{"g", 3, "m1", "i", []OffsetCommit{{TopicPartition{id("t"), 0}, 10, -1, ""}, {TopicPartition{id("t"), 1}, 11, 0, "m"},
		{TopicPartition{UUID{}, 1}, 12, 0, ""}}, 0}},
	{Op: DeleteGroup{"g"}},
	{Op: ExpireOffsets{1700000000000, 5}},
	{Op: NoteTrim{99}},
}

// goldenPeers is what came with several agents: commands and fields added to level 1 before it was ever released.
var goldenPeers = []Command{
	{Op: OpenSession{Session: id("s"), NodeID: -1, Agent: "alpha", Address: "10.0.0.1:9092", Zone: "a", Level: 1, Peer: "10.0.0.1:7000",
		Listeners: []Listener{{"in", "10.0.0.1:9092"}, {"out", "example.org:443"}}}, Time: 1700000000000},
	{Session: id("s"), Lane: LaneOther, Number: 1, Op: LeaveSession{id("s")}},
}

// goldenAside is a session that steps aside and comes back, which was added to level 1 before it was ever released.
var goldenAside = []Command{
	{Session: id("s"), Lane: LaneOther, Number: 1, Op: StepAside{Session: id("s")}},
	{Session: id("s"), Lane: LaneOther, Number: 2, Op: StepAside{Session: id("s"), Back: true}},
}

// goldenAccepted is what tells a late commit of offsets, which was added to level 1 before it was ever released.
var goldenAccepted = []Command{
	{Session: id("s"), Lane: LaneOther, Number: 1, Op: CommitOffsets{"g", -1, "", "", []OffsetCommit{{TopicPartition{id("t"), 0}, 10, -1, ""}}, 300}},
	{Op: CommitOffsets{Accepted: 1<<64 - 1}},
}

func TestGoldenEntries(t *testing.T) {
	ops := map[string]bool{}
	for file, commands := range map[string][]Command{
		"entries-1.golden": goldenCommands, "entries-1-peers.golden": goldenPeers, "entries-1-aside.golden": goldenAside,
		"entries-1-accepted.golden": goldenAccepted,
	} {
		for _, c := range commands {
			ops[fmt.Sprintf("%T", c.Op)] = true
		}
		t.Run(file, func(t *testing.T) { checkGoldenEntries(t, file, commands) })
	}
	for _, op := range allOps {
		if !ops[fmt.Sprintf("%T", op)] {
			t.Errorf("%T has no golden command", op)
		}
	}
}

func checkGoldenEntries(t *testing.T, file string, commands []Command) {
	var written []golden
	for _, c := range commands {
		body := EncodeEntry(Entry{Index: 1, Commands: []Command{c}, Check: Check{5, 0xfedcba9876543210}})
		e, err := DecodeEntry(1, body)
		if err != nil {
			t.Fatal(err)
		}
		written = append(written, golden{fmt.Sprintf("%T", c.Op), body, fmt.Sprintf("%+v", e)})
	}
	all := Entry{Index: 1, Commands: commands}
	e, err := DecodeEntry(1, EncodeEntry(all))
	if err != nil || !reflect.DeepEqual(e, all) {
		t.Fatalf("%v: decoded differs:\n%+v\n%+v", err, e, all)
	}
	written = append(written, golden{"all of them", EncodeEntry(all), fmt.Sprintf("%+v", e)})
	for i, g := range readGolden(t, file, written) {
		want := all
		if i < len(commands) {
			want = Entry{Index: 1, Commands: commands[i : i+1], Check: Check{5, 0xfedcba9876543210}}
		}
		e, err := DecodeEntry(1, g.encoded)
		if err != nil {
			t.Errorf("%s: %v", g.name, err)
		} else if !reflect.DeepEqual(e, want) {
			t.Errorf("%s decodes differently:\ngot  %+v\nwant %+v", g.name, e, want)
		} else if !bytes.Equal(EncodeEntry(e), g.encoded) {
			t.Errorf("%s encodes differently at the level that it was written at", g.name)
		}
	}
}

func TestGoldenResultsAndLeader(t *testing.T) {
	results := []Result{
		{Index: 5, Number: -1}, {Code: CodeTopicExists, Index: 1 << 40, Topic: id("t")},
		{Index: 7, Batches: []BatchResult{{Base: 100, LogStart: 5}, {Base: 110, LogStart: 5}, {Duplicate: true, Base: 3, LogStart: 5},
			{Code: CodeOutOfOrderSequence, Base: -1, LogStart: 5}, {Code: CodeUnknownTopic, Base: -1, LogStart: -1}}},
		{Partitions: []Code{CodeOK, CodeUnknownTopic}}, {},
	}
	leader := LeaderInfo{id("s"), "alpha", "10.0.0.1:9092", 1700000000000}
	written := []golden{
		{"results", EncodeResults(results), fmt.Sprintf("%+v", results)},
		{"leader", EncodeLeader(leader), fmt.Sprintf("%+v", Entry{Index: 4, Fence: true, Leader: leader})},
	}
	all := readGolden(t, "results-1.golden", written)
	rs, err := DecodeResults(all[0].encoded)
	if err != nil || !reflect.DeepEqual(rs, results) || !bytes.Equal(EncodeResults(rs), all[0].encoded) {
		t.Errorf("%v: results are %+v", err, rs)
	}
	e, err := DecodeLeader(4, all[1].encoded)
	if err != nil || !e.Fence || e.Leader != leader || !bytes.Equal(EncodeLeader(e.Leader), all[1].encoded) {
		t.Errorf("%v: leader is %+v", err, e)
	}
}

// goldenState has something in every table.
func goldenState(t *testing.T) *State {
	s := New()
	for _, e := range []Entry{
		{Fence: true, Leader: LeaderInfo{id("s"), "alpha", "10.0.0.1:9092", 1700000000000}},
		{Commands: []Command{
			{Op: OpenSession{Session: id("s"), NodeID: -1, Agent: "alpha", Address: "10.0.0.1:9092", Zone: "a", Level: 1}, Time: 1700000000000},
			{Op: OpenSession{Session: id("old"), NodeID: 9, Level: 1}}, {Op: CloseSession{id("old")}},
			{Op: CreateTopic{id("t"), "orders", 12, -1, []Config{{"a", "1"}}}}, {Op: CreateTopic{id("u"), "billing", 1, 3, nil}},
			{Op: AlterConfigs{Type: ResourceBroker, Broker: "7", Set: []Config{{"x", "y"}}}}, {Op: AllocateProducerIDs{1000}}}},
		{Commands: []Command{{Session: id("s"), Lane: LaneObjects, Number: 1, Op: CommitObject{2, 8 << 20, []Run{
			{id("t"), 3, 64, 1, []Batch{{16384, 0, 100, 1700000000000, -1, 0, 0}, {500, 2, 1, -1, 40, 1, 0}, {500, 0, 5, -1, 40, 1, 9}}},
			{id("u"), 0, 20000, 2, []Batch{{100, 0, 1, 5, 41, 0, 0}, {100, 0, 7, 6, 41, 0, 1}}}}}}}},
		{Commands: []Command{{Session: id("s"), Lane: LaneObjects, Number: 2, Settled: 1, Op: CommitObject{0, 1000, []Run{
			{id("t"), 3, 0, 1, []Batch{{100, 0, 100, 1700000000001, -1, 0, 0}}}}}},
			{Session: id("s"), Lane: LaneOther, Number: 1, Op: ClaimGroup{Group: "g"}}}},
		{Commands: []Command{{Session: id("s"), Lane: LaneOther, Number: 2, Op: WriteGroup{4, Group{"g", GroupStable, 3, "consumer", "range", "m1", 7,
			[]Member{{"m1", "i", "client", "/10.0.0.9", 60000, 45000, []Protocol{{"range", []byte{1, 2}}}, []byte{3}}}}}},
			{Op: CommitOffsets{"g", 3, "m1", "i", []OffsetCommit{{TopicPartition{id("t"), 0}, 10, -1, "m"}, {TopicPartition{id("x"), 0}, 10, -1, ""}}, 0}},
			{Op: NoteTrim{2}}, {Op: AdvanceLogStart{TopicPartition{id("t"), 3}, 50}}, {Op: ExpireProducers{0, 1}}}},
	} {
		e.Index = s.index + 1
		if _, _, err := s.Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// TestGoldenAside is a session that has stepped aside.
func TestGoldenAside(t *testing.T) {
	s := goldenState(t)
	apply(t, s, Command{Op: StepAside{Session: id("s")}})
	checkGoldenImage(t, "image-1-aside.golden", s)
}

func TestGoldenImage(t *testing.T) {
	s := goldenState(t)
	tables := map[Table]bool{}
	for info := range s.Image().Shards() {
		tables[info.Table] = true
	}
	for table := TableMisc; table <= TableOffsets; table++ {
		if !tables[table] {
			t.Errorf("table %d is not in the golden image", table)
		}
	}
	checkGoldenImage(t, "image-1.golden", s)
}

func checkGoldenImage(t *testing.T, file string, s *State) {
	image := s.Image()
	written := []golden{{"header", image.Header().Encode(), fmt.Sprintf("hash %016x", s.Hash())}}
	for info, encode := range image.Shards() {
		written = append(written, golden{fmt.Sprintf("table %d depth %d number %d changed %d", info.Table, info.Depth, info.Number,
			info.Changed), encode(), "-"})
	}
	all := readGolden(t, file, written)
	h, err := DecodeHeader(all[0].encoded)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Restore(h, func(yield func([]byte, error) bool) {
		for _, g := range all[1:] {
			if !yield(g.encoded, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("hash %016x", r.Hash()); got != all[0].decoded {
		t.Errorf("%s, was %s", got, all[0].decoded)
	}
	if got, want := dump(r), dump(s); got != want {
		t.Errorf("golden image holds something else: %s", firstDifference(want, got))
	}
	for i, b := range shardsOf(r.Image()) {
		if !bytes.Equal(b, all[i].encoded) {
			t.Errorf("%s encodes differently at the level that it was written at", all[i].name)
		}
	}
}

// The aim is less than 100 bytes for a run of one batch, its topic id included. The command around the runs (session, number,
// time …) costs once for the object.
func TestARunOfOneBatchIsSmall(t *testing.T) {
	random := func(first byte) UUID { return UUID{first, 8, 7, 6, 5, 4, 3, 2, 1, 9, 8, 7, 6, 5, 4, 3} }
	size := func(runs int) int {
		o := CommitObject{Size: 8 << 20}
		for i := range runs {
			o.Runs = append(o.Runs, Run{Topic: random(byte(i)), Partition: int32(500 * (i + 1)), Pos: int64(i+1) << 21, AcceptIndex: 1 << 20,
				Batches: []Batch{{Len: 1 << 20, Attributes: 4, Count: 1000, MaxTimestamp: 1700000000000, ProducerID: int64(i+1) << 30,
					FirstSequence: 1 << 30}}})
		}
		return len(EncodeEntry(Entry{Commands: []Command{{Session: random(9), Lane: LaneObjects, Number: 1 << 20, Settled: 1<<20 - 5,
			Time: 1700000000000, Op: o}}}))
	}
	around, first, second := size(0), size(1)-size(0), size(2)-size(1)
	t.Logf("around the runs %d bytes, first run %d, second run %d", around, first, second)
	if first >= 100 || second >= 100 {
		t.Error("a run costs too much in the journal")
	}
}
