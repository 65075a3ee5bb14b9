package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMissFetchesAlignedChunkAndHitFetchesNothing(t *testing.T) {
	b := &bucket{}
	c := open(t, small(), b.open)
	read(t, c, "a", 1000, 70, 10, Tail)
	if got := b.asked(); !slices.Equal(got, []string{"a 64+64"}) {
		t.Fatalf("asked %v", got)
	}
	read(t, c, "a", 1000, 64, 64, Tail)
	if got := b.asked(); len(got) != 0 {
		t.Fatalf("a hit asked %v", got)
	}
	read(t, c, "a", 1000, 990, 10, Tail) // the last chunk is short
	if got := b.asked(); !slices.Equal(got, []string{"a 960+40"}) {
		t.Fatalf("asked %v", got)
	}
}

func TestAdjacentMissingChunksAreOneGetOfBoundedSize(t *testing.T) {
	b := &bucket{}
	c := open(t, small(), b.open)
	read(t, c, "a", 1000, 200, 10, Tail) // chunk 3
	b.asked()
	read(t, c, "a", 1000, 0, 1000, Tail)
	got := b.asked()
	read(t, c, "b", 1000, 200, 200, Tail) // chunks 3 to 6
	if got := b.asked(); !slices.Contains(got, "b 192+64") || !slices.Contains(got, "b 256+192") {
		t.Errorf("asked %v", got) // a GET ends where a region of several agents may end
	}
	slices.Sort(got)
	if want := []string{"a 0+192", "a 256+256", "a 512+256", "a 768+232"}; !slices.Equal(got, want) {
		t.Fatalf("asked %v, want %v", got, want)
	}
}

func TestOneGetForAllReadersOfAChunk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b := &bucket{before: func(context.Context, string) error { <-release; return nil }}
		c := open(t, small(), b.open)
		var readers sync.WaitGroup
		for i := range int64(50) {
			readers.Go(func() { read(t, c, "a", 1000, i, 10, Tail) })
		}
		synctest.Wait()
		close(release)
		readers.Wait()
		if got := b.asked(); !slices.Equal(got, []string{"a 0+64"}) {
			t.Fatalf("asked %v", got)
		}
	})
}

func TestReaderThatGivesUpFailsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b := &bucket{before: func(ctx context.Context, _ string) error {
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		c := open(t, small(), b.open)
		impatient, cancel := context.WithCancel(t.Context())
		gaveUp := make(chan error, 1)
		go func() { _, err := c.Read(impatient, "a", 1000, 0, 10, Tail); gaveUp <- err }()
		synctest.Wait() // the impatient one began the flight
		var other sync.WaitGroup
		other.Go(func() { read(t, c, "a", 1000, 0, 10, Tail) })
		synctest.Wait()
		cancel()
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		close(release)
		other.Wait()
		if got := b.asked(); len(got) != 1 {
			t.Fatalf("asked %v", got)
		}
	})
}

func TestFlightThatNobodyWaitsForIsCancelledAndBegunAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var blocked bool
		b := &bucket{}
		b.before = func(ctx context.Context, _ string) error {
			if blocked {
				return nil
			}
			blocked = true
			<-ctx.Done()
			return ctx.Err()
		}
		c := open(t, small(), b.open)
		ctx, cancel := context.WithCancel(t.Context())
		var reader sync.WaitGroup
		reader.Go(func() { _, _ = c.Read(ctx, "a", 1000, 0, 10, Tail) })
		synctest.Wait()
		cancel()
		reader.Wait()
		read(t, c, "a", 1000, 0, 10, Tail)
		if got := b.asked(); len(got) != 2 {
			t.Fatalf("asked %v", got)
		}
	})
}

func TestErrorNamesTheObjectAndIsNotRemembered(t *testing.T) {
	away := errors.New("bucket away")
	b := &bucket{before: func(context.Context, string) error { return away }}
	c := open(t, small(), b.open)
	_, err := c.Read(t.Context(), "data/x", 1000, 0, 10, Tail)
	if !errors.Is(err, away) || !strings.Contains(err.Error(), "data/x") {
		t.Fatalf("got %v", err)
	}
	b.before = nil
	read(t, c, "data/x", 1000, 0, 10, Tail)
}

func TestObjectOfAnotherLengthFailsLoudly(t *testing.T) {
	for _, cut := range []int64{1, 64, -1} {
		b := &bucket{cut: cut}
		c := open(t, small(), b.open)
		if _, err := c.Read(t.Context(), "a", 1000, 0, 64, Tail); !errors.Is(err, ErrShort) || !strings.Contains(err.Error(), "a") {
			t.Errorf("%d bytes too few: %v", cut, err)
		}
		b.cut = 0
		read(t, c, "a", 1000, 0, 64, Tail)
	}
}

func TestRangeOutsideOfObjectIsRefused(t *testing.T) {
	c := open(t, small(), (&bucket{}).open)
	for _, r := range [][3]int64{{10, -1, 1}, {10, 0, 11}, {10, 11, 0}, {10, 5, -1}, {10, 1 << 62, 1 << 62}} {
		if _, err := c.Read(t.Context(), "a", r[0], r[1], r[2], Tail); !errors.Is(err, ErrRange) {
			t.Errorf("%v: %v", r, err)
		}
	}
	if parts, err := c.Read(t.Context(), "a", 10, 10, 0, Tail); err != nil || len(parts) != 0 {
		t.Errorf("nothing at the end: %v, %v", parts, err)
	}
}

func TestJustWrittenIsServedWithoutGetAndWithoutCopy(t *testing.T) {
	b := &bucket{}
	c := open(t, small(), b.open)
	data := content("w", 1<<12)[:1000]
	c.Put("w", [][]byte{data[:100], data[100:101], {}, data[101:]})
	for off := int64(0); off < 1000; off += 7 {
		for _, n := range []int64{1, 13, 64, 200} {
			read(t, c, "w", 1000, off, min(n, 1000-off), Tail)
		}
	}
	parts, err := c.Read(t.Context(), "w", 1000, 130, 20, Tail)
	if err != nil || &parts[0][0] != &data[130] {
		t.Fatalf("copied (%v)", err)
	}
	if got := b.asked(); len(got) != 0 {
		t.Fatalf("asked %v", got)
	}
}

func TestObjectLargerThanTheWindowGoesDownAndPushesNothingOut(t *testing.T) {
	b := &bucket{}
	c := open(t, small(), b.open)
	c.Put("small", [][]byte{content("small", 1<<12)[:64]})
	c.Put("large", [][]byte{make([]byte, c.cfg.MemoryBytes)})
	read(t, c, "small", 64, 0, 64, Tail)
	if got := b.asked(); len(got) != 0 {
		t.Fatalf("asked %v", got)
	}
}

func TestMemoryBudgetHolds(t *testing.T) {
	cfg := small()
	c := open(t, cfg, (&bucket{}).open)
	total := func() int64 { return c.windows[Tail].held() + c.windows[Backfill].held() + c.memory.held() }
	for i := range 500 {
		key := fmt.Sprint("k", i)
		c.Put(key, [][]byte{content(key, 1<<12)[:300]})
		read(t, c, fmt.Sprint("r", i), 1000, 0, 200, Class(i%2))
		if got := total() + c.memory.pending; got > cfg.MemoryBytes {
			t.Fatalf("%d bytes held, of %d", got, cfg.MemoryBytes)
		}
	}
	settle(c)
	if got := total(); got < cfg.MemoryBytes/2 || got > cfg.MemoryBytes {
		t.Fatalf("%d bytes held, of %d", got, cfg.MemoryBytes)
	}
}

func TestBackfillDoesNotEvictTheTail(t *testing.T) {
	b := &bucket{}
	c := open(t, small(), b.open)
	for i := range 30 { // more than the window: part of it is in ristretto
		key := fmt.Sprint("tail", i)
		c.Put(key, [][]byte{content(key, 1<<12)[:256]})
	}
	settle(c)
	inMemory := c.memory.held()
	for i := range 500 {
		read(t, c, fmt.Sprint("old", i), 1000, 0, 1000, Backfill)
	}
	settle(c)
	if got := c.memory.held(); got != inMemory {
		t.Errorf("ristretto went from %d to %d bytes", inMemory, got)
	}
	b.asked()
	for i := range 30 {
		read(t, c, fmt.Sprint("tail", i), 256, 0, 256, Tail)
	}
	if got := b.asked(); len(got) != 0 {
		t.Fatalf("asked %v", got)
	}
}

func TestBackfillIsReadOnceByAReaderThatGoesInSmallSteps(t *testing.T) {
	b := &bucket{}
	c := open(t, small(), b.open)
	for off := int64(0); off < 256; off += 8 {
		read(t, c, "old", 256, off, 8, Backfill)
	}
	if got := b.asked(); len(got) != 4 {
		t.Fatalf("asked %v", got)
	}
}

func TestBackfillHasItsOwnConcurrencyAndTheTailPassesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b := &bucket{before: func(_ context.Context, key string) error {
			if strings.HasPrefix(key, "old") {
				<-release
			}
			return nil
		}}
		cfg := small()
		cfg.BackfillGets = 2
		c := open(t, cfg, b.open)
		var readers sync.WaitGroup
		for i := range 5 {
			readers.Go(func() { read(t, c, fmt.Sprint("old", i), 1000, 0, 64, Backfill) })
		}
		synctest.Wait()
		if got := b.asked(); len(got) != 2 {
			t.Errorf("asked %v at a time", got)
		}
		read(t, c, "tail", 1000, 0, 64, Tail)
		close(release)
		readers.Wait()
	})
}

func TestBackfillIsPacedUntilATailReaderWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := small()
		cfg.BackfillBytesPerSecond = 64
		c := open(t, cfg, (&bucket{}).open)
		began := time.Now()
		for i := range 5 { // one second's worth is free
			read(t, c, fmt.Sprint("old", i), 64, 0, 64, Backfill)
		}
		if took := time.Since(began); took != 4*time.Second {
			t.Errorf("took %v", took)
		}
		var slow sync.WaitGroup
		slow.Go(func() { read(t, c, "wanted", 64, 0, 64, Backfill) })
		synctest.Wait()
		began = time.Now()
		read(t, c, "wanted", 64, 0, 64, Tail)
		if took := time.Since(began); took != 0 {
			t.Errorf("the tail waited %v for back-fill's pace", took)
		}
		slow.Wait()
	})
}

func TestDropForgetsEveryTierAndFlightsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b := &bucket{}
		c := open(t, small(), b.open)
		c.Put("w", [][]byte{content("w", 1<<12)[:300]})
		c.Drop("w", 300)
		read(t, c, "w", 300, 0, 300, Tail)
		for i := range 40 {
			c.Put(fmt.Sprint("push", i), [][]byte{make([]byte, 300)})
		}
		c.Drop("w", 300) // now from ristretto
		b.asked()
		read(t, c, "w", 300, 0, 300, Tail)
		if got := b.asked(); len(got) != 2 {
			t.Fatalf("asked %v", got)
		}

		b.before = func(context.Context, string) error { <-release; return nil }
		var reader sync.WaitGroup
		reader.Go(func() { read(t, c, "f", 64, 0, 64, Tail) })
		synctest.Wait()
		c.Drop("f", 64)
		close(release)
		reader.Wait()
		b.asked()
		read(t, c, "f", 64, 0, 64, Tail)
		if got := b.asked(); len(got) != 1 {
			t.Fatalf("a flight begun before Drop was kept")
		}
	})
}

func TestCloseEndsReadersAndRefusesFurtherOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bucket{before: func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }}
		c := open(t, small(), b.open)
		ended := make(chan error, 1)
		go func() { _, err := c.Read(t.Context(), "a", 1000, 0, 10, Tail); ended <- err }()
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("reader got %v", err)
		}
		if _, err := c.Read(t.Context(), "a", 1000, 0, 10, Tail); !errors.Is(err, ErrClosed) {
			t.Errorf("later reader got %v", err)
		}
		c.Put("a", [][]byte{{1}})
		c.Drop("a", 1)
	})
}

func TestMetricsTellTiersAndClassesAndGoWithTheCache(t *testing.T) {
	r := prometheus.NewRegistry()
	c, err := Open(small(), (&bucket{}).open, nil, r)
	if err != nil {
		t.Fatal(err)
	}
	read(t, c, "a", 1000, 0, 128, Tail)
	read(t, c, "a", 1000, 0, 64, Backfill)
	want := map[string]float64{
		`leat_cache_misses_total tail`: 2, `leat_cache_hits_total backfill window`: 1, `leat_cache_gets_total tail`: 1,
		`leat_cache_get_bytes_total tail`: 128, `leat_cache_read_bytes_total backfill`: 64,
	}
	for name, value := range gather(t, r) {
		if w, ok := want[name]; ok && w != value {
			t.Errorf("%s is %v, not %v", name, value, w)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(small(), (&bucket{}).open, nil, r)
	if err != nil {
		t.Fatalf("opened again with the same registry: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

// gather answers the counters by name and label values.
func gather(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += " " + l.GetValue()
			}
			all[name] = m.GetCounter().GetValue()
		}
	}
	return all
}

func TestBadConfigurationIsRefusedWithEveryReason(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
	cfg := Config{ChunkBytes: 1 << 20, Dir: "x", BackfillBytesPerSecond: -1}
	err := cfg.Validate()
	for _, word := range []string{"memory budget", "disk budget", "largest GET", "at least one GET", "rate"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%q is missing in %v", word, err)
		}
	}
	if _, err := Open(Config{}, nil, nil, nil); err == nil {
		t.Error("opened with no configuration")
	}
}

func TestSplitCutsAtChunksAndKeepsEveryByte(t *testing.T) {
	data := content("s", 1000)
	for _, sizes := range [][]int{{1000}, {64, 64, 872}, {1, 1, 1, 997}, {63, 2, 935}, {0, 1000, 0}} {
		var parts [][]byte
		rest := data
		for _, n := range sizes {
			parts, rest = append(parts, rest[:n]), rest[n:]
		}
		var got []byte
		for i, c := range split("s", parts, 64) {
			if want := chunkLength(1000, int64(i), 64); c.size != want || c.id.index != int64(i) {
				t.Fatalf("%v: chunk %d has %d bytes", sizes, i, c.size)
			}
			got = append(got, c.compact().parts[0]...)
		}
		if !bytes.Equal(got, data) {
			t.Fatalf("%v: bytes differ", sizes)
		}
	}
}
