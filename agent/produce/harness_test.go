package produce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/leat-stream/leat/agent/batch"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/segment"
	"github.com/leat-stream/leat/objectstore/storetest/fake"
)

var (
	owner   = state.UUID{0xA} // of the first life
	cluster = [16]byte{0xC}
	topicA  = state.UUID{1}
	topicB  = state.UUID{2}
)

// world is a real state machine behind a session, and a scripted bucket.
type world struct {
	t     testing.TB
	store *fake.Store
	keys  objectstore.Keys

	mu     sync.Mutex
	owner  state.UUID
	dead   bool // a crash: nothing has an effect any more, until reopen
	st     *state.State
	index  uint64
	calls  []string                                                         // of DoObjects: "1-3"
	before func(first uint64, ops []state.Op) error                         // an error: nothing is applied
	after  func(first uint64, ops []state.Op, results []state.Result) error // an error: applied, and not answered
	recent map[string]objectstore.Body
	news   *news
	others []*node // further agents
	log    []state.Entry
}

func newWorld(t testing.TB) *world {
	keys, err := objectstore.NewKeys("c")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, owner: owner, store: fake.New(keys), keys: keys, st: state.New(), recent: map[string]objectstore.Body{}, news: newNews()}
	w.apply(state.Command{Op: state.OpenSession{Session: owner, NodeID: -1, Level: state.Level}})
	for i, id := range []state.UUID{topicA, topicB} {
		w.apply(state.Command{Op: state.CreateTopic{Topic: id, Name: fmt.Sprint("t", i), Partitions: 4, ReplicationFactor: 1}})
	}
	return w
}

// apply commits one entry. The caller holds mu, or is alone.
func (w *world) apply(c ...state.Command) []state.Result {
	w.index++
	w.log = append(w.log, state.Entry{Index: w.index, Commands: c})
	results, changes, err := w.st.Apply(w.log[w.index-1])
	if err != nil {
		w.t.Errorf("apply: %v", err)
	}
	w.news.publish(changes)
	for _, n := range w.others {
		n.hear(w.log[w.index-1])
	}
	return results
}

func (w *world) ID() state.UUID {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.owner
}

// reopen is the next life of the agent: the session before is closed, and a new one is open.
func (w *world) reopen() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead = false
	before := w.owner
	w.owner[1]++
	w.apply(state.Command{Op: state.CloseSession{Session: before}},
		state.Command{Op: state.OpenSession{Session: w.owner, NodeID: -1, Level: state.Level}})
}

var errCrashed = errors.New("crashed")

func (w *world) DoObjects(ctx context.Context, first uint64, ops ...state.Op) ([]state.Result, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%w: %w", metadata.ErrNotApplied, ctx.Err())
	}
	w.mu.Lock()
	before, after, session := w.before, w.after, w.owner
	w.calls = append(w.calls, fmt.Sprintf("%d-%d", first, first+uint64(len(ops))-1))
	w.mu.Unlock()
	if before != nil {
		if err := before(first, ops); err != nil {
			return nil, err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead || session != w.owner {
		return nil, errCrashed
	}
	commands := make([]state.Command, len(ops))
	for i, op := range ops {
		commands[i] = state.Command{
			Session: session, Lane: state.LaneObjects, Number: first + uint64(i), Settled: first - 1, Op: op,
		}
	}
	results := w.apply(commands...)
	if after != nil {
		if err := after(first, ops, results); err != nil {
			return nil, err
		}
	}
	return results, nil
}

func (w *world) Ask(ctx context.Context, _ metadata.Freshness, read func(state.Reader)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	read(w.st.Reader())
	return ctx.Err()
}

func (w *world) Watch(ctx context.Context, since uint64) iter.Seq2[state.Change, error] {
	return w.news.watch(ctx, since)
}

func (w *world) Put(key string, parts [][]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.recent[key] = objectstore.NewBody(parts...)
}

// commits answers the ranges of DoObjects so far.
func (w *world) commits() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.calls)
}

// puts answers the numbers and attempts that were put, in order: "3-0" is object 3, attempt 0.
func (w *world) puts() (names []string) {
	for _, r := range w.store.Requests() {
		s, err := w.keys.ParseData(r.Key())
		if err != nil || s.Owner != w.ID() || r.Op != fake.Put {
			w.t.Errorf("unexpected request %s (%v)", r, err)
		}
		names = append(names, fmt.Sprintf("%d-%d", s.Number, s.Attempt))
	}
	return names
}

func (w *world) producer(change ...func(*Config)) *Producer {
	cfg := Default()
	cfg.EarlyPuts = -1
	for _, f := range change {
		f(&cfg)
	}
	p, err := New(cfg, Deps{
		Session: w, Store: w.store, Keys: w.keys, Cluster: cluster, Recent: w, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// run starts p; stop ends it and answers what Run did.
func run(t testing.TB, p *Producer) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	return stop
}

// records makes a batch of count records whose values tell what they are.
func records(t testing.TB, label string, count int, o batch.Options) []byte {
	b := batch.NewBuilder(o)
	for i := range count {
		b.Append(1000+int64(i), []byte("k"), fmt.Appendf(nil, "%s/%d", label, i))
	}
	v, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func part(tp state.TopicPartition, bytes []byte) Part {
	return Part{TP: tp, Records: bytes, Rules: batch.Rules{BeforeMaxMs: 1 << 62, AfterMaxMs: 1 << 62}}
}

var (
	a0 = state.TopicPartition{Topic: topicA, Partition: 0}
	a1 = state.TopicPartition{Topic: topicA, Partition: 1}
	b0 = state.TopicPartition{Topic: topicB, Partition: 0}
)

// send accepts one plain batch of one record for tp.
func send(t testing.TB, p *Producer, tp state.TopicPartition, label string) *Pending {
	t.Helper()
	pending, err := p.Accept(t.Context(), []Part{part(tp, records(t, label, 1, batch.Options{}))})
	if err != nil {
		t.Fatalf("%s: %v", label, err)
	}
	return pending
}

// outcome waits for the only outcome of a pending request.
func outcome(t testing.TB, pending *Pending) Outcome {
	t.Helper()
	got, err := pending.Wait(t.Context())
	if err != nil || len(got) != 1 {
		t.Fatalf("%d outcomes, %v", len(got), err)
	}
	return got[0]
}

// read answers what the committed state and the bucket hold of a partition: the values by offset.
func (w *world) read(tp state.TopicPartition) map[int64]string {
	w.t.Helper()
	w.mu.Lock()
	view, ok := w.st.Reader().View(tp, 0, 1<<40)
	w.mu.Unlock()
	if !ok {
		w.t.Fatalf("no partition %v", tp)
	}
	got := map[int64]string{}
	next := int64(0)
	for _, e := range view.Extents {
		if e.Base != next {
			w.t.Errorf("an extent begins at %d, not at %d", e.Base, next)
		}
		key := w.keys.Data(objectstore.Segment{Owner: e.Object.Owner, Number: e.Object.Number, Attempt: e.Object.Attempt})
		object := w.object(key)
		if int64(len(object)) != e.ObjectSize {
			w.t.Errorf("%s has %d bytes, the state says %d", key, len(object), e.ObjectSize)
		}
		at := e.Base
		if err := batch.Split(object[e.Pos:e.Pos+e.Len], func(_ int, v batch.View) bool {
			for r, err := range v.Records(0) {
				if err != nil {
					w.t.Errorf("%s: %v", key, err)
				}
				got[at+int64(r.OffsetDelta)] = string(r.Value)
			}
			at += int64(v.LastOffsetDelta()) + 1
			return true
		}); err != nil {
			w.t.Errorf("%s: %v", key, err)
		}
		if at != e.Last+1 {
			w.t.Errorf("%s: the extent's bytes end at offset %d, not at %d", key, at-1, e.Last)
		}
		next = e.Last + 1
	}
	if next != view.Watermark {
		w.t.Errorf("extents end at %d, the watermark is %d", next, view.Watermark)
	}
	return got
}

// object answers a stored object, verified.
func (w *world) object(key string) []byte {
	w.t.Helper()
	for r := range slices.Values(w.store.Requests()) {
		if r.Op == fake.Put && r.Key() == key {
			o, err := w.store.Objects().Get(context.Background(), key, objectstore.Range{})
			if err != nil {
				w.t.Fatal(err)
			}
			defer func() { _ = o.Reader.Close() }()
			bytes := make([]byte, o.Size)
			if _, err := io.ReadFull(o.Reader, bytes); err != nil {
				w.t.Fatal(err)
			}
			s, err := segment.Verify(bytes)
			if err != nil || s.Header.Owner[0] != owner[0] || s.Header.Cluster != cluster {
				w.t.Fatalf("%s: %+v, %v", key, s.Header, err)
			}
			return bytes
		}
	}
	w.t.Fatalf("%s was never put", key)
	return nil
}

func nameOf(o state.ObjectName) objectstore.Segment {
	return objectstore.Segment{Owner: o.Owner, Number: o.Number, Attempt: o.Attempt}
}
