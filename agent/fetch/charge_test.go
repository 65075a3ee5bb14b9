package fetch

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/agent/batch"
)

// ledger is a Memory that gives what it is told to give.
type ledger struct {
	give    int64 // at most; 0: nothing, after patience
	scarce  bool
	asked   []int64
	held    int64
	waited  time.Duration
	patient time.Duration // the last patience
}

func (l *ledger) Take(ctx context.Context, most int64, patience time.Duration) (int64, bool) {
	l.asked, l.patient = append(l.asked, most), patience
	if l.give == 0 {
		begun := time.Now()
		select {
		case <-time.After(patience):
		case <-ctx.Done():
		}
		l.waited = time.Since(begun)
	}
	l.held = min(most, l.give)
	return l.held, l.scarce
}

func (l *ledger) Hold(n int64) { l.held = n }

// tenBatches is a partition with ten batches of 20 KiB, in an object each.
func tenBatches(t *testing.T) (w *world, size int64) {
	w = newWorld(t)
	w.chunk = mib
	for range 10 {
		b := plainBatch(t, 20, 1<<10, 1)
		w.put(run{a0, []batch.View{b}})
		size = int64(len(b))
	}
	return w, size
}

func TestFetchAnswersWhatThereIsMemoryFor(t *testing.T) {
	w, size := tenBatches(t)
	f := w.fetcher()
	for given, want := range map[int64]int64{10 * size: 10, 4*size + 1: 4, size: 1, 1: 1} { // at least a batch
		l := &ledger{give: given}
		got := f.Fetch(t.Context(), Request{Partitions: []Want{want0(0), want0(0)}, MaxBytes: 10 * size, Memory: l})
		_, first, next := decoded(t, got[0].Records)
		if first != 0 || next != 20*want || len(got[1].Records) > 0 && want < 10 {
			t.Errorf("given %d: offsets %d to %d, and %d bytes", given, first, next, got[1].Records.Size())
		}
		if len(l.asked) != 1 || l.asked[0] != 10*size {
			t.Errorf("asked for %d, not once for %d", l.asked, 10*size)
		}
		if least := got[0].Records.Size(); l.held < least || l.held > least+mib {
			t.Errorf("given %d: holds %d bytes for %d", given, l.held, least)
		}
	}
}

func want0(offset int64) Want { return want(a0, offset, mib) }

func TestFetchTakesMemoryForABatchBeyondItsLimits(t *testing.T) {
	w, size := tenBatches(t)
	l := &ledger{give: mib}
	got := w.fetcher().Fetch(t.Context(), Request{Partitions: []Want{want(a0, 0, 1)}, MaxBytes: 1, Memory: l})
	if l.asked[0] < size || got[0].Records.Size() != size || l.held != size {
		t.Errorf("asked for %d, holds %d, answers %d", l.asked, l.held, got[0].Records.Size())
	}
}

func TestFetchWithoutMemoryWaitsAndAnswersNoRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := tenBatches(t)
		l := &ledger{}
		got := w.fetcher().Fetch(t.Context(), Request{
			Partitions: []Want{want0(0), want(b0, 5, mib)}, MaxBytes: mib, MinBytes: 1, MaxWait: time.Second, Memory: l,
		})
		if got[0].Err != nil || len(got[0].Records) > 0 || got[0].Watermark != 200 || got[0].LogStart != 0 {
			t.Errorf("%+v", got[0])
		}
		if got[1].Err == nil {
			t.Error("an error is not told")
		}
		if want := time.Second + memoryPatience; l.waited != want || w.reads > 0 {
			t.Errorf("waited %v, not %v; %d reads", l.waited, want, w.reads)
		}
	})
}

func TestLongPollHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := tenBatches(t)
		l, f := &ledger{give: mib}, w.fetcher()
		done := make(chan []Got)
		go func() {
			done <- f.Fetch(t.Context(), Request{Partitions: []Want{want0(200)}, MaxBytes: mib, MinBytes: 1, MaxWait: time.Minute, Memory: l})
		}()
		synctest.Wait()
		if len(l.asked) > 0 {
			t.Error("a fetch that waits for records took memory")
		}
		<-done
		if len(l.asked) > 0 || l.held != 0 {
			t.Error("a fetch without records took memory")
		}
	})
}

// TestAnswerHoldsFewChunks: a piece of a chunk keeps all of it, so small pieces of many are copied.
func TestAnswerHoldsFewChunks(t *testing.T) {
	w, size := tenBatches(t)
	for _, c := range []struct {
		chunk  int64
		scarce bool
		refers int64
	}{
		{chunk: size, refers: 10}, // every object is about one chunk
		{chunk: mib, refers: 0},   // 200 KiB may not keep four chunks of 1 MiB
		{chunk: 100 << 10, refers: 8},
		{chunk: 100 << 10, scarce: true, refers: 2},
	} {
		f, l := w.fetcher(), &ledger{give: mib, scarce: c.scarce}
		f.chunk = c.chunk
		got := f.Fetch(t.Context(), Request{Partitions: []Want{want0(0)}, MaxBytes: mib, Memory: l})
		if _, _, next := decoded(t, got[0].Records); next != 200 {
			t.Fatalf("ends at %d", next)
		}
		bytes := got[0].Records.Size()
		most := 4 * bytes
		if c.scarce {
			most = bytes
		}
		copied := bytes - c.refers*(size-batch.HeaderSize)
		if c.chunk != size && l.held != copied+c.refers*c.chunk || l.held > most+bytes {
			t.Errorf("chunks of %d bytes: %d bytes are held for %d", c.chunk, l.held, bytes)
		}
	}
}
