package object

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/objectstore"
)

// written answers a store with a journal whose entries have bodies of these sizes, after a fence.
func written(t *testing.T, sizes ...int) objectstore.Store {
	t.Helper()
	store := newStore(t)
	j, _ := open(t, store)
	term, err := j.Lead(t.Context(), 0, nil)
	must(t, err)
	for _, n := range sizes {
		_, err := term.Append(t.Context(), make([]byte, n))
		must(t, err)
	}
	return store
}

// TestReadingAheadCostsLittle: besides an entry's GET each, a reader pays for the 404 that ends the journal, for as many more as it
// was ahead then, and for head once in a run. At the end of a journal it is not ahead at all.
func TestReadingAheadCostsLittle(t *testing.T) {
	for _, test := range []struct{ entries, slots, heads int }{
		{0, 1, 1}, {1, 3, 1}, {2, 3, 1}, {3, 7, 1}, {6, 7, 1}, {7, 15, 1}, {firstRun - 1, 31, 1}, {firstRun, 31, 2}, {62, 63, 3}, {63, 127, 3},
		{64, 128, 3}, {7*firstRun - 1, 7*firstRun - 1 + maxPrefetch, 3}, {7 * firstRun, 7*firstRun + maxPrefetch, 4}, {1000, 1000 + maxPrefetch, 4 + (1000-7*firstRun)/runEntries},
	} {
		j, w := open(t, written(t, make([]int, 1000)...))
		from, n := uint64(1002-test.entries), 0
		for e, err := range j.Read(t.Context(), from) {
			must(t, err)
			if e.Index != from+uint64(n) {
				t.Fatalf("entry %d where %d should be", e.Index, from+uint64(n))
			}
			n++
		}
		sent := w.sent()
		slots, heads := strings.Count(sent, "GET journal/"), strings.Count(sent, "GET head")
		if n != test.entries || slots != test.slots || heads != test.heads {
			t.Errorf("%d entries of %d were read by %d GETs of slots, want %d, and %d of head, want %d",
				n, test.entries, slots, test.slots, heads, test.heads)
		}
	}
}

// held is a store that holds back one GET, and counts what is read of the bodies of others.
type held struct {
	objectstore.Store
	key      string
	release  chan struct{}
	begun    atomic.Int64 // bodies of large entries of which something was read
	answered atomic.Int64
}

type counted struct {
	io.Reader
	once *atomic.Int64
	read bool
}

func (c *counted) Read(p []byte) (int, error) {
	if !c.read {
		c.read = true
		c.once.Add(1)
	}
	return c.Reader.Read(p)
}

func (h *held) Get(ctx context.Context, key string, r objectstore.Range) (objectstore.Object, error) {
	if key == h.key {
		select {
		case <-h.release:
		case <-ctx.Done():
			return objectstore.Object{}, context.Cause(ctx)
		}
	}
	o, err := h.Store.Get(ctx, key, r)
	if err == nil && o.Size > aheadBytes {
		h.answered.Add(1)
		b, readErr := io.ReadAll(o.Reader)
		err = readErr
		o.Reader = io.NopCloser(&counted{Reader: bytes.NewReader(b), once: &h.begun})
	}
	return o, err
}

// TestReadingAheadHoldsLittle: of large entries nothing is read before it is their turn.
func TestReadingAheadHoldsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sizes := make([]int, 30)
		for i := range sizes {
			sizes[i] = aheadBytes + i
		}
		h := &held{Store: written(t, sizes...), release: make(chan struct{})}
		j, err := Open(t.Context(), h, testKeys(t))
		must(t, err)
		h.key = j.keys.Journal(8) // the first of the window from 8 to 15
		done := make(chan int)
		go func() {
			n := 0
			for _, err := range j.Read(t.Context(), 1) {
				must(t, err)
				n++
			}
			done <- n
		}()
		synctest.Wait()
		if answered, begun := h.answered.Load(), h.begun.Load(); answered != 13 || begun != 6 {
			t.Errorf("while slot 8 is waited for, %d large entries are on their way and %d were begun; want 13 and 6", answered, begun)
		}
		close(h.release)
		if n := <-done; n != 31 {
			t.Errorf("%d entries were read", n)
		}
	})
}

// TestWhatIsValidatedWaitsForNothingBehindIt: a GET that takes for ever holds up its own run only.
func TestWhatIsValidatedWaitsForNothingBehindIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &held{Store: written(t, make([]int, 199)...), release: make(chan struct{})}
		j, err := Open(t.Context(), h, testKeys(t))
		must(t, err)
		h.key = j.keys.Journal(3*firstRun + 1) // the first of the third run
		var n atomic.Int64
		done := make(chan struct{})
		go func() {
			defer close(done)
			for _, err := range j.Read(t.Context(), 1) {
				must(t, err)
				n.Add(1)
			}
		}()
		synctest.Wait()
		if got := n.Load(); got != 3*firstRun {
			t.Errorf("%d entries were handed out while the one behind %d was waited for", got, 3*firstRun)
		}
		close(h.release)
		if <-done; n.Load() != 200 {
			t.Errorf("%d entries were read", n.Load())
		}
	})
}

// denying is a store that denies one GET.
type denying struct {
	objectstore.Store
	key string
}

func (d denying) Get(ctx context.Context, key string, r objectstore.Range) (objectstore.Object, error) {
	if key == d.key {
		return objectstore.Object{}, objectstore.ErrDenied
	}
	return d.Store.Get(ctx, key, r)
}

// TestAStoreThatFailsComesAfterWhatIsValidated: so whoever reads on begins further on.
func TestAStoreThatFailsComesAfterWhatIsValidated(t *testing.T) {
	const slot = 3*firstRun + 5
	keys := testKeys(t)
	j, err := Open(t.Context(), denying{written(t, make([]int, 199)...), keys.Journal(slot)}, keys)
	must(t, err)
	n := 0
	for e, err := range j.Read(t.Context(), 1) {
		if err != nil {
			if n != 3*firstRun || !errors.Is(err, objectstore.ErrDenied) || !strings.Contains(err.Error(), fmt.Sprint("at ", slot)) {
				t.Errorf("after %d entries: %v", n, err)
			}
			return
		}
		if n++; e.Index != uint64(n) {
			t.Fatalf("entry %d where %d should be", e.Index, n)
		}
	}
	t.Error("the store did not fail")
}

// TestReadEndsWithNothingUnderWay: whoever does not want more, or has found the end, does not wait for what was asked for ahead, and
// leaves nothing behind. (In a bubble of synctest that fails by itself.)
func TestReadEndsWithNothingUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			held uint64 // the slot whose GET is never answered: behind the end, or two runs ahead
			stop int
			want int
		}{{held: 13, want: 11}, {held: 300, stop: 1, want: 1}} {
			h := &held{Store: written(t, make([]int, map[bool]int{true: 400, false: 10}[test.stop > 0])...), release: make(chan struct{})}
			j, err := Open(t.Context(), h, testKeys(t))
			must(t, err)
			h.key = j.keys.Journal(test.held)
			n := 0
			for _, err := range j.Read(t.Context(), 1) {
				must(t, err)
				if n++; n == test.stop {
					break
				}
			}
			if n != test.want {
				t.Errorf("%d entries were read, want %d", n, test.want)
			}
		}
	})
}

// TestDamageAheadIsToldInItsTurn: what is found ahead counts only once everything before it was handed out, and not at all behind
// the end.
func TestDamageAheadIsToldInItsTurn(t *testing.T) {
	store := written(t, make([]int, 40)...)
	j, _ := open(t, store)
	for _, slot := range []uint64{30, 34} {
		must(t, store.Delete(t.Context(), j.keys.Journal(slot)))
		_, err := store.Put(t.Context(), j.keys.Journal(slot), objectstore.NewBody([]byte("no entry")), objectstore.IfAbsent())
		must(t, err)
	}
	last := uint64(0)
	for e, err := range j.Read(t.Context(), 1) {
		if err != nil {
			if last != 29 || !errors.Is(err, journal.ErrCorrupt) || !strings.Contains(err.Error(), "at 30") {
				t.Errorf("after entry %d: %v", last, err)
			}
			last = 0
			break
		}
		last = e.Index
	}
	if last != 0 {
		t.Error("the damage was not found")
	}
	must(t, store.Delete(t.Context(), j.keys.Journal(30)))
	for e, err := range j.Read(t.Context(), 1) { // a hole is the end, whatever is behind it
		must(t, err)
		last = e.Index
	}
	if last != 29 {
		t.Errorf("the journal ended after %d, behind which there is a hole", last)
	}
}
