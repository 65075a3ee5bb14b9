package cache

import (
	"bytes"
	"context"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// shy is a source that answers nothing until it is told to go to the origin.
func shy(asked *[]Miss) Source {
	var mu sync.Mutex
	return func(ctx context.Context, m Miss) (io.ReadCloser, error) {
		mu.Lock()
		*asked = append(*asked, m)
		mu.Unlock()
		select {
		case <-m.Origin:
			return io.NopCloser(bytes.NewReader(content(m.Key, 1<<12)[m.Off : m.Off+m.N])), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// readOrigin is read for another cache.
func readOrigin(t *testing.T, c *Cache, key string, size, off, n int64, class Class) {
	t.Helper()
	parts, err := c.ReadOrigin(t.Context(), key, size, off, n, class)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := bytes.Join(parts, nil), content(key, 1<<12)[off:off+n]; !bytes.Equal(got, want) {
		t.Fatal("wrong bytes")
	}
}

func TestSourceLearnsWhatIsMissing(t *testing.T) {
	for _, class := range []Class{Tail, Backfill} {
		var asked []Miss
		c := open(t, small(), shy(&asked))
		readOrigin(t, c, "a", 1000, 930, 70, class)
		if len(asked) != 1 {
			t.Fatalf("asked %v", asked)
		}
		asked[0].Origin = nil
		if want := (Miss{Key: "a", Size: 1000, Off: 896, N: 104, Class: class}); asked[0] != want {
			t.Errorf("asked %v, want %v", asked[0], want)
		}
	}
}

func TestReadForAnotherCacheSendsAFlightUnderWayToTheOrigin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []Miss
		c := open(t, small(), shy(&asked))
		var local sync.WaitGroup
		local.Go(func() { read(t, c, "a", 1000, 0, 64, Backfill) })
		synctest.Wait() // its flight waits for another cache
		for range 2 {   // a second one finds the way open
			readOrigin(t, c, "a", 1000, 0, 64, Backfill)
		}
		local.Wait()
		if len(asked) != 1 {
			t.Errorf("asked %v", asked)
		}
	})
}

func TestReadForAnotherCacheNeedsNoSlotOfThisAgentsReaders(t *testing.T) {
	for _, class := range []Class{Tail, Backfill} {
		synctest.Test(t, func(t *testing.T) {
			var asked []Miss
			cfg := small()
			cfg.TailGets, cfg.BackfillGets = 1, 1
			c := open(t, cfg, shy(&asked))
			var local sync.WaitGroup
			stop, cancel := context.WithCancel(t.Context())
			for _, key := range []string{"holds", "waits"} {
				local.Go(func() { _, _ = c.Read(stop, key, 1000, 0, 64, class) })
				synctest.Wait()
			}
			readOrigin(t, c, "new", 1000, 0, 64, class)
			readOrigin(t, c, "waits", 1000, 0, 64, class) // a flight that stands at the gate
			cancel()
			local.Wait()
			keys := []string{asked[0].Key, asked[1].Key, asked[2].Key}
			if want := []string{"holds", "new", "waits"}; !slices.Equal(keys, want) {
				t.Errorf("asked %v, want %v", keys, want)
			}
		})
	}
}
