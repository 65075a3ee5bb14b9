package replica_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/journal/object"
	"github.com/leat-stream/leat/metadata/replica"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/storetest/fake"
)

// often makes a replica snapshot after every few entries.
func often(c *replica.Config) { c.SnapshotBytes = 200 }

// names lists the objects under a prefix.
func (w *world) names(prefix string) (names []string) {
	for info, err := range w.store.Objects().List(w.t.Context(), prefix, "") {
		must(w.t, err)
		names = append(names, info.Key)
	}
	return names
}

func (w *world) snapshot() (snapshot, boundary uint64) {
	j, err := object.Open(w.t.Context(), w.store.Objects(), w.keys)
	must(w.t, err)
	head, err := j.Head(w.t.Context())
	must(w.t, err)
	return head.Snapshot, head.Boundary
}

// grow creates topics until so many snapshots were published since.
func (w *world) grow(p *process, snapshots int) (created []string) {
	return w.growFrom(p, snapshots, 0)
}

func (w *world) growFrom(p *process, snapshots, first int) (created []string) {
	w.t.Helper()
	last, _ := w.snapshot()
	for i := first; snapshots > 0; i++ {
		name := fmt.Sprintf("topic-%d-%d", p.session[15], i)
		p.mustCreate(w.t, name)
		created = append(created, name)
		if now, _ := w.snapshot(); now != last {
			last = now
			snapshots--
		}
		if i > 100_000 {
			w.t.Fatal("no snapshot comes")
		}
	}
	return created
}

func TestSnapshotsTrimTheJournalAndARestartLoadsThem(t *testing.T) {
	w := newWorld(t)
	p := w.run(often)
	created := w.grow(p, 3)
	snapshot, boundary := w.snapshot()
	if boundary == 0 || boundary > snapshot {
		t.Fatalf("boundary %d must be one snapshot behind %d", boundary, snapshot)
	}
	created = append(created, w.growFrom(p, 2, len(created))...) // so that the trim below that boundary is done
	p.stop()
	fences := 0
	for _, name := range w.names(w.keys.JournalPrefix()) {
		index, err := w.keys.ParseJournal(name)
		must(t, err)
		if index < boundary {
			fences++
		}
	}
	if fences != 1 {
		t.Fatalf("%d entries are left below the boundary: the one fence must be", fences)
	}
	q := w.run(nil)
	got := q.topics(t, metadata.Fresh())
	slices.Sort(created)
	if !slices.Equal(got, created) {
		t.Fatalf("%d topics after loading a snapshot, want %d", len(got), len(created))
	}
}

func TestASnapshotUsesUnchangedShardsAgain(t *testing.T) {
	w := newWorld(t)
	p := w.run(often)
	// A table of its own, which nothing changes any more.
	_, err := p.Do(t.Context(), state.Command{Op: state.AlterConfigs{
		Type: state.ResourceBroker, Set: []state.Config{{Name: "a", Value: "b"}},
	}})
	must(t, err)
	w.grow(p, 3)
	p.stop()
	shards, reused := map[string]bool{}, false
	newest, _ := w.snapshot()
	for _, name := range w.names(w.keys.SnapshotPrefix()) {
		index, manifest, _, err := w.keys.ParseSnapshot(name)
		must(t, err)
		if manifest {
			continue
		}
		shards[name] = true
		reused = reused || index < newest
	}
	if !reused {
		t.Fatalf("every shard of snapshot %d was written for it: %v", newest, shards)
	}
}

func TestOrphansOfSnapshotsAreSwept(t *testing.T) {
	w := newWorld(t)
	p := w.run(often)
	images := object.NewImages(w.store, w.keys)
	orphan := [16]byte{1}
	must(t, images.PutShard(t.Context(), 1, orphan, []byte("left by a crash")))
	must(t, images.PutManifest(t.Context(), 1, orphan, []byte("left by a crash")))
	future := [16]byte{2}
	must(t, images.PutShard(t.Context(), 1<<40, future, []byte("of a snapshot still being written")))
	w.grow(p, 2)
	p.stop()
	names := strings.Join(w.names(w.keys.SnapshotPrefix()), "\n")
	if strings.Contains(names, fmt.Sprintf("%x", orphan)) {
		t.Fatal("an orphan below head's snapshot was not swept")
	}
	if !strings.Contains(names, fmt.Sprintf("%x", future)) {
		t.Fatal("a shard above head's snapshot was swept: another replica may be about to publish it")
	}
}

// TestPairedFaultsOnEverySnapshotStep fails each PUT and DELETE of a snapshot: nothing is lost, and later ones succeed.
func TestPairedFaultsOnEverySnapshotStep(t *testing.T) {
	for _, fault := range []fake.Fault{fake.Refuse, fake.Lose, fake.LoseAnswer} {
		for skip := range 12 {
			t.Run(fmt.Sprintf("fault %d after %d", fault, skip), func(t *testing.T) {
				w := newWorld(t)
				p := w.run(often)
				w.store.Script(
					fake.Rule{Op: fake.Put, Key: "c/snapshot/*", Skip: skip, Fault: fault},
					fake.Rule{Op: fake.Put, Key: "c/head", Skip: skip / 4, Fault: fault},
					fake.Rule{Op: fake.Delete, Skip: skip / 2, Fault: fault},
				)
				created := w.grow(p, 4)
				p.stop()
				w.store.ClearScript()
				q := w.run(nil)
				slices.Sort(created)
				if got := q.topics(t, metadata.Fresh()); !slices.Equal(got, created) {
					t.Fatalf("%d topics, want %d", len(got), len(created))
				}
			})
		}
	}
}

// TestALateSnapshotOfADeposedLeaderDoesNoHarm: its swap of head lands a week later.
func TestALateSnapshotOfADeposedLeaderDoesNoHarm(t *testing.T) {
	w := newWorld(t)
	p := w.run(often)
	created := w.grow(p, 2)
	w.store.Script(fake.Rule{Op: fake.Put, Key: "c/head", Fault: fake.Block})
	for i := len(created); len(w.store.Pending()) == 0; i++ {
		name := fmt.Sprintf("topic-%d-%d", p.session[15], i)
		p.mustCreate(t, name)
		created = append(created, name)
		if i > 100_000 {
			t.Fatal("no snapshot comes")
		}
	}
	stalled := w.store.Pending()[0]
	q := w.run(often)
	created = append(created, w.grow(q, 3)...)
	_ = stalled.Land()
	stalled.Release()
	p.stop()
	q.stop()
	r := w.run(nil)
	slices.Sort(created)
	if got := r.topics(t, metadata.Fresh()); !slices.Equal(got, created) {
		t.Fatalf("%d topics, want %d", len(got), len(created))
	}
}

func TestAMissingShardIsSaidAndNothingIsServed(t *testing.T) {
	w := newWorld(t)
	p := w.run(often)
	w.grow(p, 2)
	p.stop()
	for _, name := range w.names(w.keys.SnapshotPrefix()) {
		if _, manifest, _, _ := w.keys.ParseSnapshot(name); !manifest {
			must(t, w.store.Objects().Delete(t.Context(), name)) // all of them: some may wait to be swept
		}
	}
	j, err := object.Open(t.Context(), w.store, w.keys)
	must(t, err)
	_, err = replica.Open(t.Context(), w.config(), j, object.NewImages(w.store.Objects(), w.keys), nil, slog.New(slog.DiscardHandler), nil)
	if err == nil || !strings.Contains(err.Error(), "shard") && !strings.Contains(err.Error(), objectstore.ErrNotFound.Error()) {
		t.Fatalf("opened with a missing shard: %v", err)
	}
}

func TestJ6ALeaderStopsOnceItFindsThatHeadIsMissing(t *testing.T) {
	w := newWorld(t)
	p := w.run(often)
	w.grow(p, 1)
	w.store.Script(fake.Rule{Op: fake.Get, Key: "c/head", Fault: fake.Refuse, Err: objectstore.ErrNotFound, Count: -1})
	for i := 0; ; i++ {
		if _, err := p.create(t.Context(), fmt.Sprintf("later-%d", i)); err != nil {
			break
		}
		if i > 10_000 {
			t.Fatal("it goes on without a head")
		}
	}
	<-p.ended
	if !errors.Is(p.err, journal.ErrNoHead) {
		t.Fatalf("it stopped because of: %v", p.err)
	}
}

func TestManySmallEntriesMakeASnapshotToo(t *testing.T) {
	w := newWorld(t)
	p := w.run(func(c *replica.Config) { c.SnapshotAfter = 10 })
	for i := range 20 {
		p.mustCreate(t, fmt.Sprintf("topic-%d", i))
	}
	waitFor(t, func() bool { snapshot, _ := w.snapshot(); return snapshot >= 10 })
}
