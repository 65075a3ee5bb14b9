package fetch

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/leat-stream/leat/agent/batch"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
)

func position(t testing.TB, f *Fetcher, tp state.TopicPartition, ts int64) Position {
	t.Helper()
	got, errs := f.Positions(t.Context(), []Moment{{tp, ts}}, false)
	if errs[0] != nil {
		t.Fatalf("%d: %v", ts, errs[0])
	}
	return got[0]
}

func TestPositionsOfSpecialTimestamps(t *testing.T) {
	w := newWorld(t)
	w.put(run{a0, []batch.View{
		makeBatch(t, batch.Options{Codec: batch.Gzip}, rec{100, "0"}, rec{300, "1"}, rec{200, "2"}),
		makeBatch(t, batch.Options{}, rec{300, "3"}, rec{50, "4"}),
	}})
	w.apply(state.Command{Op: state.AdvanceLogStart{TopicPartition: a0, Offset: 1}})
	f := w.fetcher()
	for ts, expected := range map[int64][2]Position{ // of a0, and of a1, which was never written
		Latest: {{5, -1}, {0, -1}}, Earliest: {{1, -1}, {0, -1}}, MaxTimestamp: {{1, 300}, none}, EarliestLocal: {{1, -1}, {0, -1}},
		LatestTiered: {none, none}, EarliestPendingUpload: {none, none}, 0: {{1, 300}, none}, 300: {{1, 300}, none}, 301: {none, none},
		math.MaxInt64: {none, none},
	} {
		got, errs := f.Positions(t.Context(), []Moment{{a0, ts}, {a1, ts}}, true)
		if errs[0] != nil || errs[1] != nil || got[0] != expected[0] || got[1] != expected[1] {
			t.Errorf("%d: %v, %v; want %v", ts, got, errs, expected)
		}
	}
}

// TestPositionsAreThoseOfAPlainSearch compares with a search over all records, for logs whose times are in no order, cut anywhere.
func TestPositionsAreThoseOfAPlainSearch(t *testing.T) {
	for seed := range uint64(25) {
		rng := rand.New(rand.NewPCG(seed, 3))
		w := newWorld(t)
		w.chunk = int64(1 + rng.IntN(300))
		var times []int64
		for range 1 + rng.IntN(5) {
			var batches []batch.View
			for range 1 + rng.IntN(3) {
				var records []rec
				for range 1 + rng.IntN(4) {
					times = append(times, int64(rng.IntN(12)))
					records = append(records, rec{at: times[len(times)-1], value: strings.Repeat("x", rng.IntN(200))})
				}
				batches = append(batches, makeBatch(t, batch.Options{Codec: batch.Codec(rng.IntN(5))}, records...))
			}
			w.put(run{a0, batches})
		}
		start := rng.IntN(len(times) + 1)
		w.apply(state.Command{Op: state.AdvanceLogStart{TopicPartition: a0, Offset: int64(start)}})
		f := w.fetcher()
		for ts := range int64(14) {
			expected := none
			for i := start; i < len(times) && expected == none; i++ {
				if times[i] >= ts {
					expected = Position{Offset: int64(i), Timestamp: times[i]}
				}
			}
			if got := position(t, f, a0, ts); got != expected {
				t.Errorf("seed %d, start %d of %v, time %d: %v, want %v", seed, start, times, ts, got, expected)
			}
		}
		newest := none
		for i := start; i < len(times); i++ {
			if times[i] > newest.Timestamp {
				newest = Position{Offset: int64(i), Timestamp: times[i]}
			}
		}
		if got := position(t, f, a0, MaxTimestamp); got != newest {
			t.Errorf("seed %d, start %d of %v: newest %v, want %v", seed, start, times, got, newest)
		}
	}
}

func TestAppendTimesAreThoseOfTheBatch(t *testing.T) {
	w := newWorld(t)
	v := makeBatch(t, batch.Options{}, rec{1, "a"}, rec{2, "b"})
	v.Stamp(batch.LogAppendTime, 77)
	w.put(run{a0, []batch.View{v}})
	f := w.fetcher()
	if got := position(t, f, a0, 50); got != (Position{0, 77}) {
		t.Error(got)
	}
	if got := position(t, f, a0, MaxTimestamp); got != (Position{0, 77}) {
		t.Error(got)
	}
}

// TestAllPositionsOfARequestNeedOneProof: cost is behaviour, and a proof may be a request to the bucket.
func TestAllPositionsOfARequestNeedOneProof(t *testing.T) {
	w := newWorld(t)
	w.put(run{a0, []batch.View{plainBatch(t, 1, 10, 100)}}, run{a1, []batch.View{plainBatch(t, 1, 10, 200)}})
	w.lags = true
	w.put(run{b0, []batch.View{plainBatch(t, 1, 10, 300)}})
	w.asked = nil
	got, errs := w.fetcher().Positions(t.Context(), []Moment{{a0, Latest}, {a1, Latest}, {b0, Latest}, {b0, Earliest}}, false)
	if fmt.Sprint(got, errs) != "[{1 -1} {1 -1} {1 -1} {0 -1}] [<nil> <nil> <nil> <nil>]" || len(w.asked) != 1 || !w.asked[0].IsFresh() || w.reads != 0 {
		t.Errorf("%v, %v; asked %v, %d reads", got, errs, w.asked, w.reads)
	}
}

func TestPositionsFailOneByOne(t *testing.T) {
	w := newWorld(t)
	key := w.put(run{a0, []batch.View{plainBatch(t, 1, 10, 100)}})
	w.put(run{a1, []batch.View{plainBatch(t, 1, 10, 200)}})
	delete(w.objects, key)
	f := w.fetcher()
	moments := []Moment{{a0, 5}, {a1, 5}, {state.TopicPartition{Topic: state.UUID{9}}, 5}, {a0, Latest}, {a0, MaxTimestamp}}
	got, errs := f.Positions(t.Context(), moments, false)
	if !errors.Is(errs[0], ErrStorage) || !strings.Contains(errs[0].Error(), key) || got[0] != none {
		t.Errorf("missing: %v, %v", got[0], errs[0])
	}
	if errs[1] != nil || got[1] != (Position{0, 200}) || errs[3] != nil || got[3].Offset != 1 || !errors.Is(errs[4], ErrStorage) {
		t.Errorf("%v, %v", got, errs)
	}
	if !errors.Is(errs[2], ErrUnknownTopic) || got[2] != none {
		t.Errorf("unknown: %v, %v", got[2], errs[2])
	}
	w.freshErr = metadata.ErrUnavailable
	if got, errs = f.Positions(t.Context(), moments, false); !errors.Is(errs[3], metadata.ErrUnavailable) || got[3] != none {
		t.Errorf("no proof: %v, %v", got, errs)
	}
}

// TestAMissingObjectIsSearchedForOnceMore is rule R4.
func TestAMissingObjectIsSearchedForOnceMore(t *testing.T) {
	w := newWorld(t)
	w.put(run{a0, []batch.View{plainBatch(t, 1, 10, 100)}})
	fails := 0
	w.fail = func(key string) error {
		if fails++; fails == 1 {
			return fmt.Errorf("get %s: %w", key, objectstore.ErrNotFound)
		}
		return nil
	}
	w.asked = nil
	if got := position(t, w.fetcher(), a0, 5); got != (Position{0, 100}) {
		t.Error(got)
	}
	if len(w.asked) != 3 || !w.asked[2].IsFresh() {
		t.Errorf("asked %v", w.asked)
	}
}

func TestASearchFollowsTheLogStart(t *testing.T) {
	w := newWorld(t)
	w.put(run{a0, []batch.View{plainBatch(t, 1, 10, 100)}})
	w.put(run{a0, []batch.View{plainBatch(t, 1, 10, 200)}})
	w.afterAsk = func(n int) {
		if n == 1 { // after the search was planned
			w.apply(state.Command{Op: state.AdvanceLogStart{TopicPartition: a0, Offset: 1}})
		}
	}
	if got := position(t, w.fetcher(), a0, 5); got != (Position{1, 200}) {
		t.Error(got)
	}
}

func TestACommittedSearchEndsAtTheStableOffset(t *testing.T) {
	w := newWorld(t)
	w.put(run{a0, []batch.View{plainBatch(t, 1, 10, 100), plainBatch(t, 1, 10, 200)}})
	f := w.fetcher()
	all := func(state.Extent) bool { return true }
	for end, expected := range map[int64]Position{0: none, 1: none, 2: {1, 200}} { // nothing holds it back before transactions
		got, err := f.search(t.Context(), &search{tp: a0, end: end, want: all, first: true, least: 150})
		if err != nil || got != expected {
			t.Errorf("end %d: %v, %v", end, got, err)
		}
	}
}
