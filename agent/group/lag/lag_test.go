package lag

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// world is a state with a topic "t" of 100 partitions that hold 1,000 records each, and a topic "gone" that is deleted.
type world struct {
	st    *state.State
	index uint64
}

var (
	agent  = state.UUID{15: 1}
	t      = state.UUID{15: 2}
	goneID = state.UUID{15: 3}
)

const partitions = 100

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{st: state.New()}
	w.do(tb, state.OpenSession{Session: agent, NodeID: -1, Level: 1})
	w.do(tb, state.CreateTopic{Topic: t, Name: "t", Partitions: partitions, ReplicationFactor: 1},
		state.CreateTopic{Topic: goneID, Name: "gone", Partitions: 1, ReplicationFactor: 1})
	object := state.CommitObject{Size: 1 << 20}
	for p := range int32(partitions) {
		object.Runs = append(object.Runs, state.Run{Topic: t, Partition: p, Pos: int64(100 * (p + 1)), AcceptIndex: w.index,
			Batches: []state.Batch{{Len: 100, Count: 1000, MaxTimestamp: -1, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1}}})
	}
	w.index++
	entry := state.Entry{Index: w.index, Commands: []state.Command{{Session: agent, Lane: state.LaneObjects, Number: 1, Op: object}}}
	results, _, err := w.st.Apply(entry)
	if err != nil || results[0].Code != state.CodeOK || results[0].Batches[0].Code != state.CodeOK {
		tb.Fatal(results, err)
	}
	return w
}

func (w *world) do(tb testing.TB, ops ...state.Op) {
	tb.Helper()
	w.index++
	e := state.Entry{Index: w.index}
	for _, op := range ops {
		e.Commands = append(e.Commands, state.Command{Op: op})
	}
	results, _, err := w.st.Apply(e)
	if err != nil {
		tb.Fatal(err)
	}
	for i, r := range results {
		if r.Code != state.CodeOK {
			tb.Fatalf("%T: %v", ops[i], r.Code)
		}
	}
}

// commit has a group commit the offset in partitions 0 to n-1.
func (w *world) commit(tb testing.TB, group string, n int32, offset int64) {
	tb.Helper()
	c := state.CommitOffsets{Group: group, Generation: -1}
	for p := range n {
		c.Offsets = append(c.Offsets, state.OffsetCommit{TopicPartition: state.TopicPartition{Topic: t, Partition: p}, Offset: offset})
	}
	w.do(tb, c)
}

func (w *world) ask(_ context.Context, _ metadata.Freshness, read func(state.Reader)) error {
	read(w.st.Reader())
	return nil
}

func all(string) bool { return true }

// scrape answers the samples by name and labels, and how many there are of each name.
func scrape(tb testing.TB, c Collector) (samples map[string]float64, count map[string]int) {
	tb.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	samples, count = map[string]float64{}, map[string]int{}
	for _, f := range families {
		count[f.GetName()] = len(f.GetMetric())
		for _, m := range f.GetMetric() {
			key := f.GetName()
			for _, l := range m.GetLabel() {
				key += " " + l.GetValue()
			}
			samples[key] = m.GetGauge().GetValue()
		}
	}
	return samples, count
}

func TestLagIsTheRecordsBeyondTheCommittedOffset(test *testing.T) {
	w := newWorld(test)
	w.commit(test, "billing", 2, 400)
	w.commit(test, "done", 1, 1000)
	w.commit(test, "ahead", 1, 5000) // as a tool may set it
	w.commit(test, "not mine", 1, 0)
	w.do(test, state.CommitOffsets{Group: "billing", Generation: -1,
		Offsets: []state.OffsetCommit{{TopicPartition: state.TopicPartition{Topic: goneID}, Offset: 0}}})
	w.do(test, state.DeleteTopic{Topic: goneID})
	got, count := scrape(test, Collector{Ask: w.ask, Mine: func(g string) bool { return g != "not mine" }})
	for key, want := range map[string]float64{
		"leat_group_partition_lag_records billing 0 t": 600, "leat_group_partition_lag_records billing 1 t": 600,
		"leat_group_partition_lag_records done 0 t": 0, "leat_group_partition_lag_records ahead 0 t": 0,
		"leat_group_lag_records billing": 1200, "leat_group_lag_records done": 0, "leat_group_lag_records ahead": 0,
		"leat_group_lag_omitted_groups": 0, "leat_group_lag_omitted_partitions": 0,
	} {
		if value, ok := got[key]; !ok || value != want {
			test.Errorf("%s is %v, %v; want %v", key, value, ok, want)
		}
	}
	if count["leat_group_partition_lag_records"] != 4 || count["leat_group_lag_records"] != 3 {
		test.Errorf("%v", count)
	}
}

func TestIDsThatMakeNoLabelAreLeftOut(test *testing.T) {
	w := newWorld(test)
	for _, id := range []string{"a\xffb", strings.Repeat("x", maxLabel+1), strings.Repeat("y", maxLabel), ""} {
		w.commit(test, id, 1, 10)
	}
	got, count := scrape(test, Collector{Ask: w.ask, Mine: all})
	if got["leat_group_lag_omitted_groups"] != 2 || count["leat_group_lag_records"] != 2 {
		test.Errorf("%v left out, %v told", got["leat_group_lag_omitted_groups"], count["leat_group_lag_records"])
	}
}

func TestBeyondTheBoundsSeriesAreLeftOutAndCounted(test *testing.T) {
	w := newWorld(test)
	for n := range MaxGroups + 3 {
		size := int32(9) // 18,000 of all
		if n%20 == 0 {
			size = partitions // 10,000 more
		}
		w.commit(test, fmt.Sprintf("g%05d", n), size, 10)
	}
	got, count := scrape(test, Collector{Ask: w.ask, Mine: all})
	if count["leat_group_lag_records"] != MaxGroups || got["leat_group_lag_omitted_groups"] != 3 {
		test.Errorf("%d sums, %v left out", count["leat_group_lag_records"], got["leat_group_lag_omitted_groups"])
	}
	told, left := count["leat_group_partition_lag_records"], int(got["leat_group_lag_omitted_partitions"])
	if told > MaxPartitions || told < MaxPartitions-partitions || told+left != 100*partitions+1900*9 {
		test.Errorf("%d partitions told, %d left out", told, left)
	}
}

func TestAStateThatCannotBeReadTellsNothing(test *testing.T) {
	_, count := scrape(test, Collector{Mine: all, Ask: func(context.Context, metadata.Freshness, func(state.Reader)) error {
		return errors.New("stopped")
	}})
	if len(count) != 0 {
		test.Errorf("%v", count)
	}
}

// BenchmarkScrape is 1,000 groups that committed 100 partitions each: five times as many as are told apart.
func BenchmarkScrape(b *testing.B) {
	w := newWorld(b)
	for n := range 1000 {
		w.commit(b, fmt.Sprintf("group-%04d", n), partitions, 10)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(Collector{Ask: w.ask, Mine: all})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := reg.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
