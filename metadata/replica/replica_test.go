package replica_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/journal/object"
	"github.com/leat-stream/leat/metadata/replica"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/storetest/fake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is one bucket, strict and scripted, and the processes that run on it.
type world struct {
	t     *testing.T
	keys  objectstore.Keys
	store *fake.Store
	next  byte // of session ids
}

func newWorld(t *testing.T) *world {
	keys, err := objectstore.NewKeys("c")
	must(t, err)
	w := &world{t: t, keys: keys, store: fake.New(keys)}
	must(t, object.Create(t.Context(), w.store, keys))
	t.Cleanup(func() {
		for _, v := range w.store.Violations() {
			t.Error(v)
		}
	})
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// process is one replica that leads.
type process struct {
	*replica.Replica
	session state.UUID
	cancel  context.CancelFunc
	ended   chan struct{}
	err     error // of Run; valid once ended is closed
}

func (w *world) config() replica.Config {
	cfg := replica.Default()
	w.next++
	cfg.Leader = state.LeaderInfo{Session: state.UUID{15: w.next}, Agent: fmt.Sprintf("agent-%d", w.next)}
	return cfg
}

// open opens a replica without running it.
func (w *world) open(change func(*replica.Config)) *process {
	w.t.Helper()
	cfg := w.config()
	if change != nil {
		change(&cfg)
	}
	j, err := object.Open(w.t.Context(), w.store, w.keys)
	must(w.t, err)
	r, err := replica.Open(w.t.Context(), cfg, j, object.NewImages(w.store, w.keys), nil, slog.New(slog.NewTextHandler(io.Discard, nil)), nil)
	must(w.t, err)
	return &process{Replica: r, session: cfg.Leader.Session, ended: make(chan struct{})}
}

// run opens and runs a replica until the test ends or stop is called.
func (w *world) run(change func(*replica.Config)) *process {
	w.t.Helper()
	p := w.open(change)
	p.start(w.t)
	return p
}

func (p *process) start(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func() {
		defer close(p.ended)
		p.err = p.Run(ctx)
	}()
	t.Cleanup(p.stop)
}

func (p *process) stop() {
	p.cancel()
	<-p.ended
}

// create makes a topic by a command of no session, as the leader itself may.
func (p *process) create(ctx context.Context, names ...string) ([]state.Result, error) {
	var commands []state.Command
	for _, name := range names {
		id := state.UUID{0: 1}
		copy(id[1:], name)
		commands = append(commands, state.Command{Op: state.CreateTopic{Topic: id, Name: name, Partitions: 1, ReplicationFactor: 1}})
	}
	return p.Do(ctx, commands...)
}

func (p *process) mustCreate(t *testing.T, names ...string) {
	t.Helper()
	results, err := p.create(t.Context(), names...)
	must(t, err)
	for i, r := range results {
		if r.Code != state.CodeOK {
			t.Fatalf("create %s: code %d", names[i], r.Code)
		}
	}
}

func (p *process) topics(t *testing.T, f metadata.Freshness) (names []string) {
	t.Helper()
	must(t, p.Ask(t.Context(), f, func(r state.Reader) {
		for topic := range r.Topics() {
			names = append(names, topic.Name)
		}
	}))
	return names
}

func (p *process) index(t *testing.T) (index uint64) {
	t.Helper()
	must(t, p.Ask(t.Context(), metadata.Local(), func(r state.Reader) { index = r.Index() }))
	return index
}

func TestACommandIsSeenHereOnceItIsAnswered(t *testing.T) {
	w := newWorld(t)
	p := w.run(nil)
	p.mustCreate(t, "a", "b")
	if got := p.topics(t, metadata.Local()); !slices.Equal(got, []string{"a", "b"}) {
		t.Fatalf("topics are %v", got)
	}
	results, err := p.create(t.Context(), "a", "c")
	must(t, err)
	if results[0].Code != state.CodeTopicExists || results[1].Code != state.CodeOK {
		t.Fatalf("results are %+v: one for each command, in order", results)
	}
}

func TestWaitingCallsShareEntries(t *testing.T) {
	w := newWorld(t)
	p := w.open(nil)
	var wg sync.WaitGroup
	for i := range 100 { // they wait: nothing runs yet
		wg.Go(func() {
			if _, err := p.create(context.Background(), fmt.Sprintf("t%d", i)); err != nil {
				t.Error(err)
			}
		})
	}
	waitFor(t, func() bool { return p.Waiting() == 100 })
	before := p.index(t)
	p.start(t)
	wg.Wait()
	if n := p.index(t) - before; n != 1 {
		t.Fatalf("100 waiting calls took %d journal entries, not 1", n)
	}
}

// waitFor waits for a condition of another goroutine.
func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("condition did not come true")
		}
	}
}

func TestARestartFindsEverything(t *testing.T) {
	w := newWorld(t)
	p := w.run(nil)
	p.mustCreate(t, "a")
	p.mustCreate(t, "b")
	p.stop()
	q := w.run(nil)
	if got := q.topics(t, metadata.Local()); !slices.Equal(got, []string{"a", "b"}) {
		t.Fatalf("topics after a restart are %v", got)
	}
}

func TestANewLeaderFencesTheOldOneForGood(t *testing.T) {
	w := newWorld(t)
	p := w.run(nil)
	p.mustCreate(t, "a")
	q := w.run(nil)
	_, err := p.create(t.Context(), "lost")
	if !errors.Is(err, metadata.ErrFenced) {
		t.Fatalf("the old leader's command: %v", err)
	}
	<-p.ended
	if !errors.Is(p.err, metadata.ErrFenced) {
		t.Fatalf("the old leader ended with %v", p.err)
	}
	for _, f := range []metadata.Freshness{metadata.Local(), metadata.At(1 << 40), metadata.Fresh()} {
		if err := p.Ask(t.Context(), f, func(state.Reader) {}); !errors.Is(err, metadata.ErrFenced) {
			t.Fatalf("the old leader answers a read of freshness %+v: %v", f, err)
		}
	}
	for _, err := range p.Watch(t.Context(), 1<<40) {
		if !errors.Is(err, metadata.ErrFenced) {
			t.Fatalf("a watcher of the old leader is told %v", err)
		}
	}
	q.mustCreate(t, "b")
	if got := q.topics(t, metadata.Fresh()); !slices.Equal(got, []string{"a", "b"}) {
		t.Fatalf("topics of the new leader are %v", got)
	}
}

// TestR1AFreshReadIsNeverAnsweredFromMemory is trace V4 through the whole shell: a deposed leader that has not noticed.
func TestR1AFreshReadIsNeverAnsweredFromMemory(t *testing.T) {
	w := newWorld(t)
	p := w.run(nil)
	q := w.run(nil)
	q.mustCreate(t, "a")
	read := false
	err := p.Ask(t.Context(), metadata.Fresh(), func(state.Reader) { read = true })
	if !errors.Is(err, metadata.ErrFenced) || read {
		t.Fatalf("a deposed leader answered a fresh read: %v", err)
	}
}

func TestR1OneProofServesAllWhoWait(t *testing.T) {
	w := newWorld(t)
	p := w.open(nil)
	w.store.ResetRequests()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := p.Ask(context.Background(), metadata.Fresh(), func(state.Reader) {}); err != nil {
				t.Error(err)
			}
		})
	}
	waitFor(t, func() bool { return p.Waiting() == 50 })
	p.start(t)
	wg.Wait()
	if n := len(w.store.Requests()); n > 2 {
		t.Fatalf("50 fresh reads cost %d requests: %v", n, w.store.Requests())
	}
}

func TestR1AnAppendBegunSinceIsProofToo(t *testing.T) {
	w := newWorld(t)
	p := w.open(nil)
	w.store.ResetRequests()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := p.Ask(context.Background(), metadata.Fresh(), func(state.Reader) {}); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		if _, err := p.create(context.Background(), "a"); err != nil {
			t.Error(err)
		}
	})
	waitFor(t, func() bool { return p.Waiting() == 2 })
	p.start(t)
	wg.Wait()
	for _, r := range w.store.Requests() {
		if r.Op == fake.Get {
			t.Fatalf("a fresh read beside an append cost a GET: %v", w.store.Requests())
		}
	}
}

func TestAFreshReadFailsRetriablyWhileTheBucketIsAway(t *testing.T) {
	w := newWorld(t)
	p := w.run(nil)
	w.store.Script(fake.Rule{Op: fake.Get, Count: -1, Fault: fake.Block})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Ask(ctx, metadata.Fresh(), func(state.Reader) {}); !errors.Is(err, metadata.ErrUnavailable) {
		t.Fatalf("fresh read without a bucket: %v", err)
	}
	if got := p.topics(t, metadata.Local()); len(got) != 0 {
		t.Fatal("local reads must go on")
	}
	w.store.ClearScript()
	for _, parked := range w.store.Pending() {
		parked.Release()
	}
	p.mustCreate(t, "a")
}

// TestPairedFaultsOnEveryAppend fails each journal PUT once without and once with its effect: the command is committed once.
func TestPairedFaultsOnEveryAppend(t *testing.T) {
	for _, fault := range []fake.Fault{fake.Refuse, fake.Lose, fake.LoseAnswer} {
		for skip := range 3 {
			t.Run(fmt.Sprintf("fault %d after %d", fault, skip), func(t *testing.T) {
				w := newWorld(t)
				p := w.run(nil)
				w.store.Script(fake.Rule{Op: fake.Put, Key: "c/journal/*", Skip: skip, Fault: fault})
				for _, name := range []string{"a", "b", "c"} {
					p.mustCreate(t, name)
				}
				q := w.run(nil)
				if got := q.topics(t, metadata.Fresh()); !slices.Equal(got, []string{"a", "b", "c"}) {
					t.Fatalf("topics are %v", got)
				}
			})
		}
	}
}

func TestAnIdleReplicaAsksTheBucketNothing(t *testing.T) {
	w := newWorld(t)
	p := w.run(nil)
	p.mustCreate(t, "a")
	w.store.ResetRequests()
	p.topics(t, metadata.Local())
	p.topics(t, metadata.At(p.index(t)))
	if got := w.store.Requests(); len(got) != 0 {
		t.Fatalf("requests: %v", got)
	}
	p.mustCreate(t, "b")
	if got := w.store.Requests(); len(got) != 1 || !strings.HasPrefix(got[0].String(), "put c/journal/") {
		t.Fatalf("one command cost %v", got)
	}
}

func TestAskAtAnIndexWaitsForIt(t *testing.T) {
	w := newWorld(t)
	p := w.run(nil)
	next := p.index(t) + 1
	done := make(chan error, 1)
	go func() {
		done <- p.Ask(context.Background(), metadata.At(next), func(r state.Reader) {
			if r.Index() < next {
				t.Errorf("read at %d, wanted %d", r.Index(), next)
			}
		})
	}()
	select {
	case err := <-done:
		t.Fatalf("answered before the index was there: %v", err)
	default:
	}
	p.mustCreate(t, "a")
	must(t, <-done)
}

func TestWatchTellsEveryChangeInOrder(t *testing.T) {
	w := newWorld(t)
	p := w.run(nil)
	since := p.index(t)
	p.mustCreate(t, "a")
	seen := make(chan state.Change, 100)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for c, err := range p.Watch(ctx, since) {
			if err != nil {
				t.Error(err)
				return
			}
			seen <- c
		}
	})
	p.mustCreate(t, "b")
	first, second := <-seen, <-seen
	cancel()
	wg.Wait()
	if first.Kind != state.ChangeTopic || second.Kind != state.ChangeTopic || first.Index != since+1 || second.Index != since+2 {
		t.Fatalf("changes: %+v, %+v", first, second)
	}
}

func TestAWatcherWhoMissedTooMuchIsTold(t *testing.T) {
	w := newWorld(t)
	p := w.run(func(c *replica.Config) { c.WatchChanges = 2 })
	since := p.index(t)
	for i := range 10 {
		p.mustCreate(t, fmt.Sprintf("t%d", i))
	}
	for c, err := range p.Watch(t.Context(), since) {
		must(t, err)
		if c.Kind != state.ChangeAll {
			t.Fatalf("first change after a gap: %+v", c)
		}
		break
	}
}

func TestWatchEndsWithTheReplica(t *testing.T) {
	w := newWorld(t)
	p := w.run(nil)
	since := p.index(t)
	done := make(chan error, 1)
	go func() {
		var last error
		for _, err := range p.Watch(context.Background(), since) {
			last = err
		}
		done <- last
	}()
	p.stop()
	if err := <-done; !errors.Is(err, metadata.ErrStopped) {
		t.Fatalf("watch ended with %v", err)
	}
}

func TestADivergedReplicaStops(t *testing.T) {
	w := newWorld(t)
	p := w.run(func(c *replica.Config) { c.CheckEvery = 1 })
	p.mustCreate(t, "a")
	p.stop()
	// An entry that claims another hash for the state before it, as a leader that differs would write.
	j, err := object.Open(t.Context(), w.store, w.keys)
	must(t, err)
	last := p.lastIndex(t, j)
	term, err := j.Lead(t.Context(), last, state.EncodeLeader(state.LeaderInfo{Session: state.UUID{15: 99}}))
	must(t, err)
	_, err = term.Append(t.Context(), state.EncodeEntry(state.Entry{Check: state.Check{Index: last, Hash: 12345}}))
	must(t, err)
	_, err = replica.Open(t.Context(), w.config(), j, object.NewImages(w.store, w.keys), nil, slog.New(slog.DiscardHandler), nil)
	if !errors.Is(err, state.ErrDiverged) {
		t.Fatalf("a replica that differs opened: %v", err)
	}
}

func (p *process) lastIndex(t *testing.T, j journal.Journal) (last uint64) {
	t.Helper()
	for e, err := range j.Read(t.Context(), 1) {
		must(t, err)
		last = e.Index
	}
	return last
}

func TestACallThatFitsNoEntryFailsAlone(t *testing.T) {
	w := newWorld(t)
	p := w.run(nil)
	var names []string
	for i := range 600 {
		names = append(names, strings.Repeat("x", 30_000)+fmt.Sprint(i))
	}
	_, err := p.create(t.Context(), names...)
	if !errors.Is(err, metadata.ErrTooLarge) || !errors.Is(err, metadata.ErrNotApplied) {
		t.Fatalf("18 MB of commands: %v", err)
	}
	p.mustCreate(t, "a")
}
