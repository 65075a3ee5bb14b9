package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leat-stream/leat/agent/batch"
)

// lookInterval is how often an agent that serves looks whether it still leads.
const lookInterval = 10 * time.Second

// cost is requests to the bucket, by operation.
type cost struct{ get, put, delete, list float64 }

// cost answers the requests to the bucket so far.
func (r *running) cost() (c cost) {
	const name = "leat_objectstore_requests_total"
	page := r.get("/metrics")
	c.get, c.put = sum(page, name, `"get"`), sum(page, name, `"put"`)
	c.delete, c.list = sum(page, name, `"delete"`), sum(page, name, `"list"`)
	return c
}

func TestOneProduceCostsTwoPutsAndTheTailIsFree(t *testing.T) {
	for journal, puts := range map[string]float64{"bucket:": 2, "mem:": 1} { // the object, and the journal's entry
		t.Run(journal, func(t *testing.T) {
			began, looks := time.Now(), 0.0
			r := start(t, config("mem:", journal))
			r.topic("words", 1)
			c := r.dial()
			c.produce("words", oneBatch(t, 1))
			// same compares all but how often the agent looked whether it still leads, a GET each time.
			same := func(before, after cost) bool {
				looks += after.get - before.get
				after.get = before.get
				return after == before
			}
			for n := range 5 {
				before := r.cost()
				if p := c.produce("words", oneBatch(t, 100)); p.ErrorCode != 0 {
					t.Fatal(p)
				}
				after := r.cost()
				if before.put += puts; !same(before, after) {
					t.Errorf("produce %d went from %v to %v, with %v PUTs of its own; log:\n%s", n, before, after, puts, r.logs.String())
				}
				if got := c.fetch("words", after1(n)); len(got.RecordBatches) == 0 {
					t.Fatal(got)
				}
				if now := r.cost(); !same(after, now) {
					t.Errorf("reading the tail went from %v to %v", after, now)
				}
			}
			if most := float64(time.Since(began) / lookInterval); looks > most {
				t.Errorf("%v GETs, of which the agent's own looks are %v at most", looks, most)
			}
		})
	}
}

// after1 is the offset of the n-th batch of a hundred after one record.
func after1(n int) int64 { return int64(1 + 100*n) }

// oneBatch is a batch of n records of now.
func oneBatch(t *testing.T, n int) []byte {
	t.Helper()
	return built(t, batch.Options{}, n)
}

func built(t *testing.T, o batch.Options, n int) batch.View {
	t.Helper()
	b := batch.NewBuilder(o)
	for i := range n {
		b.Append(time.Now().UnixMilli(), fmt.Append(nil, i), []byte("a value that says little"))
	}
	v, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestManyPartitionsShareOneObject(t *testing.T) {
	r := start(t, config("mem:", "bucket:"))
	r.topic("wide", 50)
	cl := r.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(500*time.Millisecond))
	send := func() {
		t.Helper()
		var records []*kgo.Record
		for p := range int32(50) {
			records = append(records, &kgo.Record{Topic: "wide", Partition: p, Value: []byte("x")})
		}
		produceAll(t, cl, records)
	}
	send() // learns a producer id first
	before := r.cost()
	send()
	if puts := r.cost().put - before.put; puts > 10 { // a request or a few, each an object and an entry
		t.Errorf("50 partitions cost %v PUTs", puts)
	}
}

func TestJournalIsTrimmedAndRestartLoadsTheSnapshot(t *testing.T) {
	for _, journal := range []string{"", "bucket:"} {
		t.Run("journal "+journal, func(t *testing.T) {
			dir := t.TempDir() + "/bucket"
			cfg := config("file://"+dir, journal)
			cfg.SnapshotBytes = 2 << 10
			r := start(t, cfg)
			r.topic("words", 1)
			cl := r.client()
			var want []*kgo.Record
			eventually(t, "three snapshots are published", func() bool {
				some := corpus1("words", 5)
				produceAll(t, cl, some)
				want = append(want, some...)
				return r.metric("leat_metadata_snapshots_total", `"published"`) >= 3
			})
			if n := r.metric("leat_metadata_snapshots_total", `"failed"`); n != 0 {
				t.Errorf("%v snapshots failed", n)
			}
			sequenced := built(t, batch.Options{Producer: &batch.Producer{ID: 900_000}}, 1)
			first := r.dial().produce("words", sequenced)
			if first.ErrorCode != 0 {
				t.Fatal(first)
			}
			var offsets kadm.Offsets
			offsets.AddOffset("words", 0, 7, -1)
			if err := kadm.NewClient(r.client()).CommitAllOffsets(t.Context(), "readers", offsets); err != nil {
				t.Fatal(err)
			}
			applied := r.metric("leat_metadata_applied_index")
			if journal == "bucket:" {
				eventually(t, "a quarter of the journal is trimmed, and all manifests but two are gone", func() bool {
					entries, err := os.ReadDir(filepath.Join(dir, "leat", "journal"))
					if err != nil {
						t.Fatal(err)
					}
					manifests, err := filepath.Glob(filepath.Join(dir, "leat/snapshot/*-manifest-*"))
					return err == nil && float64(len(entries)) <= applied*3/4 && len(manifests) <= 2
				})
			}
			r.stop()

			r = start(t, cfg)
			if n := r.metric("leat_metadata_snapshot_index"); n == 0 || n > applied {
				t.Errorf("it loaded snapshot %v; applied was %v", n, applied)
			}
			want = append(want, &kgo.Record{Topic: "words", Offset: first.BaseOffset, Key: []byte("0"),
				Value: []byte("a value that says little"), Timestamp: time.UnixMilli(sequenced.MaxTimestamp())})
			reader := r.client(kgo.ConsumeTopics("words"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
			same(t, consume(t, reader, len(want)), want)
			if again := r.dial().produce("words", sequenced); again.ErrorCode != 0 || again.BaseOffset != first.BaseOffset {
				t.Errorf("a repeated batch: %+v, at first %+v", again, first)
			}
			left, err := kadm.NewClient(r.client()).FetchOffsets(t.Context(), "readers")
			if o, ok := left.Lookup("words", 0); err != nil || !ok || o.At != 7 {
				t.Errorf("committed offset %+v: %v", o, err)
			}
		})
	}
}

func TestAHealthyAgentIsQuiet(t *testing.T) {
	r := start(t, config("mem:", ""))
	r.topic("words", 1)
	produceAll(t, r.client(), corpus1("words", 10))
	cl := r.client(kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("words"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	consume(t, cl, 10)
	cl.Close()
	r.stop()
	var loud []string // but for what a start says that takes two seconds
	for line := range strings.Lines(r.logs.String()) {
		if !strings.Contains(line, "level=DEBUG") && !strings.Contains(line, `level=INFO msg="still starting"`) {
			loud = append(loud, line)
		}
	}
	if len(loud) != 3 || !strings.Contains(loud[0], "msg=serving") || !strings.Contains(loud[1], "msg=draining") || !strings.Contains(loud[2], "msg=stopped") {
		t.Errorf("it says\n%s", strings.Join(loud, ""))
	}
}
