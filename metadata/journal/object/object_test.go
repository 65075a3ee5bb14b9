package object

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/journal/bolt"
	"github.com/leat-stream/leat/metadata/journal/journaltest"
	memjournal "github.com/leat-stream/leat/metadata/journal/mem"
	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/file"
	"github.com/leat-stream/leat/objectstore/mem"
	"github.com/leat-stream/leat/objectstore/minio"
	"github.com/leat-stream/leat/objectstore/storetest/miniotest"
)

func testKeys(t testing.TB) objectstore.Keys {
	keys, err := objectstore.NewKeys("c")
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// over answers the harness for the journal in a store that is made for each test, or for a cluster of its own in it.
func over(makeStore func(t *testing.T) (objectstore.Store, objectstore.Keys)) func(t *testing.T) journaltest.Harness {
	return func(t *testing.T) journaltest.Harness {
		ctx := context.Background()
		store, keys := makeStore(t)
		must(t, Create(ctx, store, keys))
		process := func(t *testing.T) journaltest.Process {
			w := newWire(store)
			j, err := Open(ctx, w, keys)
			must(t, err)
			return journaltest.Process{Journal: j, Wire: w}
		}
		return journaltest.Harness{
			Open:       process,
			Restart:    process,
			RemoveHead: func(t *testing.T) { must(t, store.Delete(ctx, keys.Head())) },
			Kept:       func(t *testing.T) []uint64 { return kept(t, store, keys) },
		}
	}
}

func kept(t testing.TB, store objectstore.Store, keys objectstore.Keys) (all []uint64) {
	for info, err := range store.List(context.Background(), keys.JournalPrefix(), "") {
		must(t, err)
		index, err := keys.ParseJournal(info.Key)
		must(t, err)
		all = append(all, index)
	}
	slices.Sort(all)
	return all
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var inMemory = over(func(t *testing.T) (objectstore.Store, objectstore.Keys) { return mem.New(), testKeys(t) })

var inFolder = over(func(t *testing.T) (objectstore.Store, objectstore.Keys) {
	s, err := file.New(t.TempDir())
	must(t, err)
	return s, testKeys(t)
})

func TestJournal(t *testing.T)           { journaltest.Run(t, inMemory) }
func TestV1LostAck(t *testing.T)         { journaltest.V1LostAck(t, inMemory(t)) }
func TestV2DivergedReplica(t *testing.T) { journaltest.V2DivergedReplica(t, inMemory(t)) }
func TestV3WrongBase(t *testing.T)       { journaltest.V3WrongBase(t, inMemory(t)) }
func TestV4StaleRead(t *testing.T)       { journaltest.V4StaleRead(t, inMemory(t)) }

func TestJournalInFolder(t *testing.T) { journaltest.Run(t, inFolder) }

func TestTracesInFolder(t *testing.T) { traces(t, inFolder) }

// TestJournalInMinIO runs the suite and the traces over a real server, each test with a cluster of its own.
func TestJournalInMinIO(t *testing.T) {
	if testing.Short() {
		t.Skip("short: needs a server")
	}
	server := miniotest.Start(t)
	store, err := minio.New(minio.Config{Address: server.Address, Bucket: server.Bucket})
	must(t, err)
	clusters := 0
	inMinIO := over(func(t *testing.T) (objectstore.Store, objectstore.Keys) {
		clusters++
		keys, err := objectstore.NewKeys(fmt.Sprint("cluster-", clusters))
		must(t, err)
		return store, keys
	})
	journaltest.Run(t, inMinIO)
	traces(t, inMinIO)
}

func traces(t *testing.T, fresh func(t *testing.T) journaltest.Harness) {
	t.Run("V1", func(t *testing.T) { journaltest.V1LostAck(t, fresh(t)) })
	t.Run("V2", func(t *testing.T) { journaltest.V2DivergedReplica(t, fresh(t)) })
	t.Run("V3", func(t *testing.T) { journaltest.V3WrongBase(t, fresh(t)) })
	t.Run("V4", func(t *testing.T) { journaltest.V4StaleRead(t, fresh(t)) })
}

// open answers a process on store, and its wire.
func open(t testing.TB, store objectstore.Store) (*Journal, *wire) {
	t.Helper()
	w := newWire(store)
	j, err := Open(context.Background(), w, testKeys(t))
	must(t, err)
	w.sent()
	return j, w
}

func newStore(t testing.TB) objectstore.Store {
	store := mem.New()
	must(t, Create(context.Background(), store, testKeys(t)))
	return store
}

func TestRequestsAreCounted(t *testing.T) {
	ctx, store := t.Context(), newStore(t)
	l, lw := open(t, store)
	f, fw := open(t, store)
	want := func(w *wire, what, requests string) {
		t.Helper()
		if got := w.sent(); got != requests {
			t.Errorf("%s sent %q, want %q", what, got, requests)
		}
	}
	term, err := l.Lead(ctx, 0, nil)
	must(t, err)
	want(lw, "lead", "PUT journal/1, GET head")
	for i := range 3 {
		_, err := term.Append(ctx, []byte("x"))
		must(t, err)
		want(lw, "append", fmt.Sprint("PUT journal/", i+2))
	}
	must(t, l.Tip(ctx, 4))
	want(lw, "tip of a leader at rest", "GET journal/5")
	must(t, f.Tip(ctx, 4))
	want(fw, "tip of a follower", "GET journal/5, GET head")
	for range f.Read(ctx, 5) {
		t.Error("read beyond the end")
	}
	want(fw, "read at the end", "GET journal/5, GET head")
	var r journaltest.Replica
	must(t, r.CatchUp(ctx, f))
	if n := strings.Count(fw.sent(), "GET head"); n != 1 {
		t.Errorf("reading four entries took %d GETs of head", n)
	}
	must(t, r.Publish(ctx, f, 1, 4))
	want(fw, "trim", "GET head, PUT head, DELETE journal/2")
	must(t, r.Publish(ctx, f, 4, 4))
	want(fw, "a trim that is behind", "GET head")
}

// TestIdleJournalCostsNothing: in an hour of virtual time not one request is sent.
func TestIdleJournalCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, w := open(t, newStore(t))
		_, err := j.Lead(t.Context(), 0, nil)
		must(t, err)
		w.sent()
		time.Sleep(time.Hour)
		synctest.Wait()
		if s := w.sent(); s != "" {
			t.Errorf("sent %s", s)
		}
	})
}

// TestPairedFaults fails every PUT of take-over, append and trim in three ways: it did not land, it landed and the answer was
// lost, it lands later. Each time the driver finds out by itself.
func TestPairedFaults(t *testing.T) {
	for _, fault := range []string{"drop", "lose", "late"} {
		for n := 1; n <= 5; n++ {
			t.Run(fmt.Sprint(fault, n), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, store := t.Context(), newStore(t)
					j, w := open(t, store)
					w.spoil(n, fault)
					if n == 4 { // and once twice in a row
						w.spoil(n+1, "lose")
					}
					term, err := j.Lead(ctx, 0, []byte("L"))
					must(t, err)
					r := journaltest.Replica{term.Fence()}
					for _, body := range []string{"2", "3", "4"} {
						e, err := term.Append(ctx, []byte(body))
						must(t, err)
						r = append(r, e)
					}
					w.land() // before the trim: after it, it would only be litter (see explore_test.go)
					must(t, r.Publish(ctx, j, 1, 4))
					w.land()
					if got := kept(t, store, testKeys(t)); !slices.Equal(got, []uint64{1, 4}) {
						t.Fatalf("kept %v", got)
					}
					h, err := j.Head(ctx)
					must(t, err)
					if h.Boundary != 4 || h.Snapshot != 4 {
						t.Fatalf("head is %+v", h)
					}
					again := slices.Clone(r[:3])
					must(t, again.CatchUp(ctx, j))
					if string(again[3].Body) != "4" {
						t.Fatalf("entry 4 is %+v", again[3])
					}
				})
			})
		}
	}
}

// TestUnknownOutcomeEndsTheTerm: the PUT is under way, nothing is there yet, and ctx ends. It lands later: everybody sees it,
// and the term never sends anything again.
func TestUnknownOutcomeEndsTheTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t)
		j, w := open(t, store)
		term, err := j.Lead(t.Context(), 0, nil)
		must(t, err)
		for n := 1; n < 100; n++ {
			w.spoil(n, "late")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = term.Append(ctx, []byte("late"))
		if !errors.Is(err, journal.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if n := strings.Count(w.sent(), "PUT"); n < 10 || n > 130 {
			t.Errorf("sent %d PUTs in a minute", n)
		}
		_, err = term.Append(t.Context(), []byte("other"))
		if !errors.Is(err, journal.ErrFenced) || w.sent() != "" {
			t.Fatal(err)
		}
		w.land()
		var r journaltest.Replica
		must(t, r.CatchUp(t.Context(), j))
		if len(r) != 2 || string(r[1].Body) != "late" {
			t.Fatalf("entries are %+v", r)
		}
		if err := j.Tip(t.Context(), 1); !errors.Is(err, journal.ErrBehind) {
			t.Fatal(err)
		}
	})
}

// TestFencedIsNotSaidOfACommittedEntry: the append landed unheard, was trimmed, and a stalled candidate's fence took the slot.
func TestFencedIsNotSaidOfACommittedEntry(t *testing.T) {
	ctx, store := t.Context(), newStore(t)
	l, lw := open(t, store)
	c, cw := open(t, store)
	f, _ := open(t, store)
	term, err := l.Lead(ctx, 0, nil)
	must(t, err)

	atFence := cw.Stall("PUT")
	ledBy := make(chan error, 1)
	go func() { _, err := c.Lead(ctx, 1, nil); ledBy <- err }()
	<-atFence
	lw.LosePut(true)
	atGet := lw.Stall("GET")
	appended := make(chan error, 1)
	go func() { _, err := term.Append(ctx, []byte("c2")); appended <- err }()
	<-atGet
	var r journaltest.Replica
	must(t, r.CatchUp(ctx, f))
	must(t, r.Publish(ctx, f, 1, 3))
	cw.Resume()
	if err := <-ledBy; !errors.Is(err, journal.ErrTrimmed) {
		t.Fatal(err)
	}
	lw.Resume()
	if err := <-appended; !errors.Is(err, journal.ErrUnknown) || errors.Is(err, journal.ErrFenced) {
		t.Fatal(err)
	}
}

// TestTipIsShared: those who come while a question is under way share the next one, and none takes the answer to one that
// began before it asked.
func TestTipIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, store := t.Context(), newStore(t)
		j, w := open(t, store)
		reached := w.Stall("GET")
		var wg sync.WaitGroup
		errs := make(chan error, 20)
		ask := func(ctx context.Context) { wg.Go(func() { errs <- j.Tip(ctx, 0) }) }
		ask(ctx)
		<-reached
		gaveUp, cancel := context.WithCancel(ctx)
		ask(gaveUp)
		for range 10 {
			ask(ctx)
		}
		synctest.Wait()
		cancel() // one of those who wait gives up; the others are asked for all the same
		synctest.Wait()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		w.Resume()
		wg.Wait()
		for range 11 {
			must(t, <-errs)
		}
		if s := w.sent(); s != "GET journal/1, GET head, GET journal/1, GET head" {
			t.Errorf("twelve callers sent %s", s)
		}
		if len(j.tips) != 0 {
			t.Errorf("%d questions are left", len(j.tips))
		}
	})
}

// TestTipOutlivesItsAsker: the caller that sends the question gives up; those who share it ask again.
func TestTipOutlivesItsAsker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, w := open(t, newStore(t))
		first, cancelFirst := context.WithCancel(t.Context())
		reached := w.Stall("GET")
		errs := make(chan error, 3)
		go func() { errs <- j.Tip(first, 0) }()
		<-reached
		second, cancelSecond := context.WithCancel(t.Context())
		go func() { errs <- j.Tip(second, 0) }()
		synctest.Wait()
		go func() { errs <- j.Tip(t.Context(), 0) }()
		synctest.Wait()
		cancelFirst()
		synctest.Wait()
		cancelSecond()
		synctest.Wait()
		w.Resume()
		failed := 0
		for range 3 {
			if err := <-errs; errors.Is(err, context.Canceled) {
				failed++
			} else if err != nil {
				t.Error(err)
			}
		}
		if failed != 2 {
			t.Errorf("%d callers were told that they gave up", failed)
		}
	})
}

// TestDamageIsNamedAfterWhatIsGood: entries before a damaged one are yielded.
func TestDamageIsNamedAfterWhatIsGood(t *testing.T) {
	ctx, store, keys := t.Context(), newStore(t), testKeys(t)
	j, _ := open(t, store)
	term, err := j.Lead(ctx, 0, nil)
	must(t, err)
	_, err = term.Append(ctx, []byte("2"))
	must(t, err)
	newer, err := journal.EncodeEntry(j.cluster, journal.Entry{Index: 3, Kind: journal.KindCommands})
	must(t, err)
	for _, test := range []struct {
		bytes []byte
		want  error
		text  string
	}{
		{[]byte("LeJE"), journal.ErrCorrupt, "entry 3"},
		{make([]byte, maxEntry+1), journal.ErrCorrupt, "journal/00000000000000000003"},
		{relevel(newer, 9), journal.ErrFormat, "entry 3: " + journal.ErrFormat.Error() + ": it has level 9, this version reads up to 1"},
	} {
		_, err = store.Put(ctx, keys.Journal(3), objectstore.NewBody(test.bytes), objectstore.Condition{})
		must(t, err)
		var r journaltest.Replica
		if err := r.CatchUp(ctx, j); !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) || len(r) != 2 {
			t.Errorf("%d entries, then %v", len(r), err)
		}
	}
	// An append that finds it knows at least that the slot is taken.
	if _, err := term.Append(ctx, []byte("3")); !errors.Is(err, journal.ErrFenced) {
		t.Error(err)
	}
}

// relevel answers b as a version of that level would have written it.
func relevel(b []byte, level uint16) []byte {
	b = slices.Clone(b[:len(b)-4])
	binary.BigEndian.PutUint16(b[4:], level)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

func TestOpenNeedsHead(t *testing.T) {
	ctx, store, keys := t.Context(), mem.New(), testKeys(t)
	if _, err := Open(ctx, store, keys); !errors.Is(err, journal.ErrNoHead) {
		t.Fatal(err)
	}
	must(t, Create(ctx, store, keys))
	j, err := Open(ctx, store, keys)
	must(t, err)
	must(t, Create(ctx, store, keys)) // again: the same cluster
	h, err := j.Head(ctx)
	must(t, err)
	if h.Cluster != j.cluster {
		t.Error("the second Create made another cluster")
	}
	_, err = j.Lead(ctx, 0, nil)
	must(t, err)
	must(t, store.Delete(ctx, keys.Head()))
	if err := Create(ctx, store, keys); !errors.Is(err, journal.ErrNoHead) || !strings.Contains(err.Error(), "journal/") {
		t.Errorf("a head was made beside entries: %v", err)
	}
}

// TestHeadOfAnotherClusterIsNoticed: somebody emptied the bucket and began anew under a running process.
func TestHeadOfAnotherClusterIsNoticed(t *testing.T) {
	ctx, store, keys := t.Context(), newStore(t), testKeys(t)
	j, _ := open(t, store)
	must(t, store.Delete(ctx, keys.Head()))
	must(t, Create(ctx, store, keys))
	if err := j.Tip(ctx, 0); !errors.Is(err, journal.ErrMismatch) {
		t.Error(err)
	}
	if _, err := j.Lead(ctx, 0, nil); !errors.Is(err, journal.ErrMismatch) {
		t.Error(err)
	}
}

func TestBind(t *testing.T) {
	ctx, keys := t.Context(), testKeys(t)
	newBolt := func(t *testing.T) Local {
		j, err := bolt.Open(t.TempDir() + "/journal.bolt")
		must(t, err)
		t.Cleanup(func() { j.Close() })
		return j
	}
	newMem := func(*testing.T) Local { return memjournal.New().Open() }
	refused := func(t *testing.T, err error, want error) {
		t.Helper()
		if !errors.Is(err, want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want one line with %v", err, want)
		}
	}
	for name, fresh := range map[string]func(*testing.T) Local{"bolt": newBolt, "mem": newMem} {
		t.Run(name, func(t *testing.T) {
			store, local := mem.New(), fresh(t)
			must(t, Bind(ctx, store, keys, local))
			must(t, Bind(ctx, store, keys, local)) // as at every start
			refused(t, Bind(ctx, mem.New(), keys, local), journal.ErrMismatch)
			refused(t, Bind(ctx, newStore(t), keys, local), journal.ErrMismatch)
			refused(t, Bind(ctx, store, keys, fresh(t)), journal.ErrMismatch) // the journal was wiped

			_, err := Open(ctx, store, keys)
			refused(t, err, journal.ErrMismatch)
			refused(t, Create(ctx, store, keys), journal.ErrMismatch)
			refused(t, Bind(ctx, newStore(t), keys, fresh(t)), journal.ErrMismatch) // the truth is in the bucket
		})
	}
	t.Run("bolt and mem", func(t *testing.T) {
		store := mem.New()
		must(t, Bind(ctx, store, keys, newMem(t)))
		refused(t, Bind(ctx, store, keys, newBolt(t)), journal.ErrMismatch)
	})
	t.Run("data without head", func(t *testing.T) {
		for _, key := range []string{keys.Data(objectstore.Segment{Number: 1}), keys.Journal(7)} {
			store := mem.New()
			_, err := store.Put(ctx, key, objectstore.NewBody([]byte("x")), objectstore.IfAbsent())
			must(t, err)
			refused(t, Bind(ctx, store, keys, newBolt(t)), journal.ErrNoHead)
		}
		store := mem.New() // what a probe left does not count
		_, err := store.Put(ctx, keys.Probe([16]byte{1}), objectstore.NewBody([]byte("x")), objectstore.IfAbsent())
		must(t, err)
		must(t, Bind(ctx, store, keys, newBolt(t)))
	})
	for _, fault := range []string{"drop", "lose", "late"} {
		t.Run("head "+fault, func(t *testing.T) {
			store, local := mem.New(), newBolt(t)
			w := newWire(store)
			w.spoil(1, fault)
			must(t, Bind(ctx, w, keys, local))
			w.land()
			must(t, Bind(ctx, store, keys, local))
		})
	}
	t.Run("crash between head and mark", func(t *testing.T) {
		store, local := mem.New(), newBolt(t)
		if err := Bind(ctx, store, keys, crashing{local}); err == nil {
			t.Fatal("did not crash")
		}
		must(t, Bind(ctx, store, keys, local))
		must(t, Bind(ctx, store, keys, local))
	})
	t.Run("two buckets, each of which believed that it was the first", func(t *testing.T) {
		first, second, local := mem.New(), mem.New(), newBolt(t)
		for _, store := range []objectstore.Store{first, second} {
			if err := Bind(ctx, store, keys, crashing{local}); err == nil {
				t.Fatal("did not crash")
			}
		}
		must(t, Bind(ctx, second, keys, local))
		refused(t, Bind(ctx, first, keys, local), journal.ErrMismatch)
		must(t, Bind(ctx, second, keys, local))

		own := newBolt(t) // the first cluster gets a journal of its own, and is told what is still in the way
		for _, local := range []Local{local, own} {
			if err := Bind(ctx, first, keys, local); err == nil || !strings.Contains(err.Error(), "delete the object "+keys.Head()+" ") {
				t.Errorf("a bucket with nothing but a head: %v", err)
			}
		}
		data := keys.Data(objectstore.Segment{Number: 1})
		_, err := first.Put(ctx, data, objectstore.NewBody([]byte("x")), objectstore.IfAbsent())
		must(t, err)
		if err := Bind(ctx, first, keys, own); err == nil || strings.Contains(err.Error(), "delete") {
			t.Errorf("a bucket with data: %v", err)
		}
		must(t, first.Delete(ctx, data, keys.Head()))
		must(t, Bind(ctx, first, keys, own))
	})
}

type crashing struct{ Local }

func (crashing) MarkBound([16]byte) error { return errors.New("crash") }
