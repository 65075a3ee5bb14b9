package fetch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/leat-stream/leat/agent/batch"
	"github.com/leat-stream/leat/cache"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/segment"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	owner  = state.UUID{0xA}
	topicA = state.UUID{1}
	topicB = state.UUID{2}
	a0     = state.TopicPartition{Topic: topicA, Partition: 0}
	a1     = state.TopicPartition{Topic: topicA, Partition: 1}
	b0     = state.TopicPartition{Topic: topicB, Partition: 0}
)

// world is a real state, a local replica of it that may lag, and a bucket behind a cache of tiny chunks.
type world struct {
	t    testing.TB
	keys objectstore.Keys

	mu       sync.Mutex
	truth    *state.State
	local    *state.State
	missing  []state.Entry // by local
	lags     bool
	index    uint64
	number   uint64                 // of the last object
	objects  map[string][]byte      // the bucket
	chunk    int64                  // bytes of a chunk; 0: one piece
	reads    int                    // of chunks
	fail     func(key string) error // of a read
	asked    []metadata.Freshness
	afterAsk func(n int) // called without the lock, after the n-th Ask
	freshErr error
	changes  chan state.Change
	logged   strings.Builder
}

func newWorld(t testing.TB) *world {
	keys, err := objectstore.NewKeys("c")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, keys: keys, truth: state.New(), local: state.New(), objects: map[string][]byte{}, chunk: 64,
		changes: make(chan state.Change, 100),
	}
	w.apply(state.Command{Op: state.OpenSession{Session: owner, NodeID: -1, Level: state.Level}})
	for i, id := range []state.UUID{topicA, topicB} {
		w.apply(state.Command{Op: state.CreateTopic{Topic: id, Name: fmt.Sprint("t", i), Partitions: 2, ReplicationFactor: 1}})
	}
	return w
}

// apply commits an entry, which the local replica applies unless it lags.
func (w *world) apply(c ...state.Command) []state.Result {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.index++
	entry := state.Entry{Index: w.index, Commands: c}
	results, changes, err := w.truth.Apply(entry)
	if err != nil {
		w.t.Fatal(err)
	}
	w.missing = append(w.missing, entry)
	if !w.lags {
		w.catchUp()
	}
	for _, change := range changes {
		w.changes <- change
	}
	return results
}

// catchUp brings the local replica up to date. The caller holds mu.
func (w *world) catchUp() {
	for _, e := range w.missing {
		if _, _, err := w.local.Apply(e); err != nil {
			w.t.Fatal(err)
		}
	}
	w.missing = nil
}

func (w *world) Ask(ctx context.Context, f metadata.Freshness, read func(state.Reader)) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w.mu.Lock()
	w.asked = append(w.asked, f)
	n, hook := len(w.asked), w.afterAsk
	if f.IsFresh() && w.freshErr != nil {
		defer w.mu.Unlock()
		return w.freshErr
	}
	if f.IsFresh() {
		read(w.truth.Reader())
	} else {
		read(w.local.Reader())
	}
	w.mu.Unlock()
	if hook != nil {
		hook(n)
	}
	return nil
}

// Read answers a range in pieces that end at multiples of chunk, as the cache does.
func (w *world) Read(ctx context.Context, key string, size, off, n int64, _ cache.Class) ([][]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reads++
	if w.fail != nil {
		if err := w.fail(key); err != nil {
			return nil, err
		}
	}
	o, ok := w.objects[key]
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case !ok:
		return nil, fmt.Errorf("get %s: %w", key, objectstore.ErrNotFound)
	case off < 0 || n <= 0 || off+n > size:
		return nil, fmt.Errorf("%s: %d+%d of %d bytes: %w", key, off, n, size, cache.ErrRange)
	case int64(len(o)) != size:
		return nil, fmt.Errorf("%s: %w", key, cache.ErrShort)
	}
	var parts [][]byte
	for n > 0 {
		piece := n
		if w.chunk > 0 {
			piece = min(n, w.chunk-off%w.chunk)
		}
		parts = append(parts, o[off:off+piece:off+piece])
		off, n = off+piece, n-piece
	}
	return parts, nil
}

func (w *world) fetcher(change ...func(*Config)) *Fetcher {
	cfg := Default()
	for _, f := range change {
		f(&cfg)
	}
	f, err := New(cfg, Deps{
		Metadata: w, Chunks: w, Keys: w.keys, Waiters: NewWaiters(), Log: slog.New(slog.NewTextHandler(&w.logged, nil)),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// run is the batches of one partition in an object.
type run struct {
	tp      state.TopicPartition
	batches []batch.View
}

// put stores one object and commits it.
func (w *world) put(runs ...run) (key string) {
	w.t.Helper()
	w.number++
	name := objectstore.Segment{Owner: owner, Number: w.number}
	key = w.keys.Data(name)
	b := segment.NewBuilder(segment.Header{Kind: segment.Mixed, Owner: owner, Number: w.number})
	var committed []state.Run
	for _, r := range runs {
		c := state.Run{Topic: r.tp.Topic, Partition: r.tp.Partition, AcceptIndex: w.index}
		var parts [][]byte
		info := segment.RunInfo{BaseOffset: -1, MaxTimestamp: -1}
		for _, v := range r.batches {
			parts = append(parts, v)
			info.Batches++
			info.Records += int64(v.Count())
			c.Batches = append(c.Batches, state.Batch{
				Len: int32(len(v)), Count: v.Count(), MaxTimestamp: v.MaxTimestamp(), ProducerID: -1, FirstSequence: -1,
			})
		}
		c.Pos = b.Add(r.tp.Topic, r.tp.Partition, parts, info)
		committed = append(committed, c)
	}
	body, _, err := b.Finish()
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.objects[key] = body.Bytes()
	w.mu.Unlock()
	results := w.apply(state.Command{
		Session: owner, Lane: state.LaneObjects, Number: w.number, Settled: w.number - 1,
		Op: state.CommitObject{Size: body.Size(), Runs: committed},
	})
	if results[0].Code != state.CodeOK {
		w.t.Fatal(results)
	}
	for _, r := range results[0].Batches {
		if r.Code != state.CodeOK {
			w.t.Fatal(r)
		}
	}
	return key
}

// rec is one record: its time, and its value.
type rec struct {
	at    int64
	value string
}

func makeBatch(t testing.TB, o batch.Options, records ...rec) batch.View {
	b := batch.NewBuilder(o)
	for _, r := range records {
		b.Append(r.at, nil, []byte(r.value))
	}
	v, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// plainBatch is one of count records of about size bytes each, at the time at.
func plainBatch(t testing.TB, count, size int, at int64) batch.View {
	records := make([]rec, count)
	for i := range records {
		records[i] = rec{at: at, value: strings.Repeat("x", size)}
	}
	return makeBatch(t, batch.Options{}, records...)
}

// decoded is what records hold: values by offset. It fails unless they are whole, checked, final batches one after the other.
func decoded(t testing.TB, records Records) (values map[int64]string, first, next int64) {
	t.Helper()
	values, first, next = map[int64]string{}, -1, -1
	err := batch.Split(records.Bytes(), func(_ int, v batch.View) bool {
		if first < 0 {
			first, next = v.BaseOffset(), v.BaseOffset()
		}
		if v.BaseOffset() != next || v.PartitionLeaderEpoch() != 0 || v.CRC() != v.ComputeCRC() {
			t.Errorf("batch at %d, want it at %d; epoch %d", v.BaseOffset(), next, v.PartitionLeaderEpoch())
		}
		for r, err := range v.Records(0) {
			if err != nil {
				t.Error(err)
			}
			values[v.BaseOffset()+int64(r.OffsetDelta)] = string(r.Value)
		}
		next = v.LastOffset() + 1
		return true
	})
	if err != nil {
		t.Error(err)
	}
	return values, first, next
}

func want(tp state.TopicPartition, offset, most int64) Want {
	return Want{TP: tp, Offset: offset, MaxBytes: most}
}

const mib = 1 << 20

// fetchOne fetches from one partition without waiting.
func fetchOne(f *Fetcher, w Want) Got {
	return f.Fetch(context.Background(), Request{Partitions: []Want{w}, MaxBytes: mib})[0]
}

var errInjected = errors.New("injected")
