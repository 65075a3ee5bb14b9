package cache

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

func TestChunkThatCameInBetweenLookUpAndFlightIsNotFetchedAgain(t *testing.T) {
	b := &bucket{}
	c := open(t, small(), b.open)
	read(t, c, "a", 1000, 0, 64, Tail) // the flight that ended after another reader had looked in vain
	b.asked()
	chunks := make([]*chunk, 1)
	if err := c.fill(t.Context(), span{"a", 1000, 0}, chunks, reader{class: Tail}); err != nil || chunks[0] == nil {
		t.Fatal(chunks, err)
	}
	if got := b.asked(); len(got) != 0 {
		t.Fatalf("asked %v", got)
	}
}

func TestTailReaderLeadsABackfillFlightPastItsFullGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b := &bucket{before: func(_ context.Context, key string) error {
			if strings.HasPrefix(key, "old") {
				<-release
			}
			return nil
		}}
		cfg := small()
		cfg.BackfillGets = 1
		c := open(t, cfg, b.open)
		var readers sync.WaitGroup
		readers.Go(func() { read(t, c, "old", 64, 0, 64, Backfill) })
		synctest.Wait()
		readers.Go(func() { read(t, c, "wanted", 64, 0, 64, Backfill) })
		synctest.Wait() // waits at the gate
		read(t, c, "wanted", 64, 0, 64, Tail)
		if c.windows[Tail].get(chunkID{"wanted", 0}) == nil {
			t.Error("what the tail read is not kept for the tail")
		}
		close(release)
		readers.Wait()
	})
}

func TestObjectPutAgainOutlivesItsFirstUnit(t *testing.T) {
	c := open(t, small(), (&bucket{}).open)
	data := content("w", 1<<12)[:64]
	c.Put("w", [][]byte{data})
	c.Put("w", [][]byte{data})
	w := c.windows[Tail]
	w.removeOldest()
	if w.get(chunkID{"w", 0}) == nil || w.held() != 64+chunkOverhead {
		t.Fatalf("gone, or %d bytes held", w.held())
	}
}

func TestChunkWithTheHashOfAnotherIsAMiss(t *testing.T) {
	c := open(t, small(), (&bucket{}).open)
	mine := chunkID{"mine", 0}
	c.memory.cache.Set(mine.hash(), newChunk(chunkID{"other", 0}, content("other", 64)), 64)
	settle(c)
	if found := c.memory.get(mine); found != nil {
		t.Fatalf("got %v", found.id)
	}
	read(t, c, "mine", 64, 0, 64, Tail)
}

func TestChunkReadFromDiskIsNotWrittenThereAgain(t *testing.T) {
	cfg := filled(t)
	c := open(t, cfg, (&bucket{}).open)
	read(t, c, "kept", 64, 0, 64, Tail)
	c.disk.queue.close() // what is offered now is counted as skipped
	c.moveOn(newUnit(c.windows[Tail].get(chunkID{"kept", 0})), Tail)
	if n := counted(t, c.metrics.diskSkipped); n != 0 {
		t.Errorf("%v chunks offered that are on disk", n)
	}
	c.moveOn(newUnit(newChunk(chunkID{"new", 0}, content("new", 64))), Tail)
	if n := counted(t, c.metrics.diskSkipped); n != 1 {
		t.Errorf("%v chunks offered that are not", n)
	}
}

func counted(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}
