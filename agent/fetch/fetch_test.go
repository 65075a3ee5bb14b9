package fetch

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/leat-stream/leat/agent/batch"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
)

// randomLog fills a0 with objects of batches of every codec, between the runs of other partitions, and answers its values.
func randomLog(w *world, seed uint64) (values []string) {
	rng := rand.New(rand.NewPCG(seed, 7))
	for range 4 {
		var batches []batch.View
		for range 1 + rng.IntN(4) {
			var records []rec
			for range 1 + rng.IntN(5) {
				value := fmt.Sprintf("%d:%s", len(values), strings.Repeat("v", rng.IntN(9000)))
				values = append(values, value)
				records = append(records, rec{at: int64(rng.IntN(1000)), value: value})
			}
			batches = append(batches, makeBatch(w.t, batch.Options{Codec: batch.Codec(rng.IntN(5)), BaseOffset: 77, LeaderEpoch: 5}, records...))
		}
		other := []batch.View{plainBatch(w.t, 1, rng.IntN(300), 1)}
		w.put(run{a1, other}, run{a0, batches}, run{b0, other})
	}
	return values
}

func TestEveryOffsetIsServedThroughChunksOfAnySize(t *testing.T) {
	for seed, chunk := range []int64{1, 7, 61, 100, 4096, 5000, 1 << 20, 0} {
		t.Run(fmt.Sprint(chunk), func(t *testing.T) {
			w := newWorld(t)
			w.chunk = chunk
			values := randomLog(w, uint64(seed))
			f := w.fetcher()
			for offset := range int64(len(values)) {
				got := fetchOne(f, want(a0, offset, mib))
				served, first, next := decoded(t, got.Records)
				if got.Err != nil || first > offset || next != int64(len(values)) || got.Watermark != next || got.Stable != next || got.LogStart != 0 {
					t.Fatalf("from %d: %d to %d, %+v", offset, first, next, got.Err)
				}
				for o := first; o < next; o++ {
					if served[o] != values[o] {
						t.Fatalf("from %d: offset %d is wrong", offset, o)
					}
				}
				if last := lastOfFirst(t, got.Records); last < offset {
					t.Errorf("from %d: the first batch ends at %d already", offset, last)
				}
			}
			end := fetchOne(f, want(a0, int64(len(values)), mib))
			if end.Err != nil || end.Records.Size() != 0 || end.Watermark != int64(len(values)) {
				t.Errorf("at the end: %+v", end)
			}
		})
	}
}

func lastOfFirst(t testing.TB, r Records) int64 {
	v, err := batch.At(r.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return v.LastOffset()
}

func TestServingDoesNotChangeWhatIsCached(t *testing.T) {
	w := newWorld(t)
	randomLog(w, 3)
	before := map[string][]byte{}
	for key, o := range w.objects {
		before[key] = bytes.Clone(o)
	}
	f := w.fetcher()
	for offset := range int64(5) {
		fetchOne(f, want(a0, offset, mib))
	}
	for key, o := range w.objects {
		if !bytes.Equal(o, before[key]) {
			t.Errorf("%s was changed", key)
		}
	}
}

// TestLimits is Kafka's recorded behaviour, but for what is cut within a batch: here only whole batches are answered.
func TestLimits(t *testing.T) {
	w := newWorld(t)
	one := int64(len(plainBatch(t, 1, 1000, 1)))
	for range 3 { // an object each, so that three extents of one batch
		w.put(run{a0, []batch.View{plainBatch(t, 1, 1000, 1)}}, run{a1, []batch.View{plainBatch(t, 1, 1000, 1)}})
	}
	w.put(run{b0, []batch.View{plainBatch(t, 1, 1000, 1), plainBatch(t, 1, 1000, 1), plainBatch(t, 1, 1000, 1)}})
	f := w.fetcher()
	tests := map[string]struct {
		max  int64
		want []Want
		got  []int64 // batches of each
	}{
		"everything":                                {mib, []Want{want(a0, 0, mib), want(a1, 0, mib)}, []int64{3, 3}},
		"partition limit":                           {mib, []Want{want(a0, 0, 2*one), want(a1, 0, one)}, []int64{2, 1}},
		"partition limit within a batch":            {mib, []Want{want(a0, 0, 3*one-1), want(b0, 0, 2*one+1)}, []int64{2, 2}},
		"the first has one batch at least":          {mib, []Want{want(a0, 0, 1), want(a1, 0, one)}, []int64{1, 1}},
		"only the first":                            {mib, []Want{want(a0, 0, 1), want(a1, 0, one-1), want(b0, 0, 1)}, []int64{1, 0, 0}},
		"the first with data":                       {mib, []Want{want(a0, 3, 1), want(a1, 0, 1), want(b0, 0, 1)}, []int64{0, 1, 0}},
		"limits of zero":                            {0, []Want{want(a0, 0, 0), want(a1, 0, 0)}, []int64{1, 0}},
		"zero in all":                               {0, []Want{want(a0, 0, mib)}, []int64{1}},
		"one byte in all":                           {1, []Want{want(a0, 0, mib), want(a1, 0, mib)}, []int64{1, 0}},
		"in all, spent in order":                    {4 * one, []Want{want(a0, 0, mib), want(a1, 0, mib), want(b0, 0, mib)}, []int64{3, 1, 0}},
		"in all, within a batch":                    {4*one + 5, []Want{want(b0, 0, mib), want(a1, 0, mib)}, []int64{3, 1}},
		"what the first does not use is the next's": {3 * one, []Want{want(b0, 2, mib), want(a0, 0, mib)}, []int64{1, 2}},
		"an oversized first leaves nothing":         {one / 2, []Want{want(b0, 0, mib), want(a0, 0, mib)}, []int64{1, 0}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := f.Fetch(t.Context(), Request{Partitions: tt.want, MaxBytes: tt.max})
			for i, g := range got {
				if g.Err != nil || g.Records.Size() != tt.got[i]*one {
					t.Errorf("%d: %d bytes, want %d (%v)", i, g.Records.Size(), tt.got[i]*one, g.Err)
				}
			}
		})
	}
}

func TestTheAgentsOwnLimitBoundsEveryAnswer(t *testing.T) {
	w := newWorld(t)
	one := int64(len(plainBatch(t, 1, 1000, 1)))
	w.put(run{a0, []batch.View{plainBatch(t, 1, 1000, 1), plainBatch(t, 1, 1000, 1)}})
	f := w.fetcher(func(c *Config) { c.MaxBytes = one })
	got := f.Fetch(t.Context(), Request{Partitions: []Want{want(a0, 0, mib)}, MaxBytes: 1 << 40})
	if got[0].Records.Size() != one {
		t.Errorf("%d bytes, want %d", got[0].Records.Size(), one)
	}
}

func TestNothingAtOrAboveTheStableOffsetIsServed(t *testing.T) {
	w := newWorld(t)
	w.put(run{a0, []batch.View{plainBatch(t, 2, 10, 1), plainBatch(t, 2, 10, 1), plainBatch(t, 2, 10, 1)}})
	f := w.fetcher()
	w.mu.Lock()
	view, _ := w.truth.Reader().View(a0, 0, mib)
	w.mu.Unlock()
	for end, batches := range map[int64]int64{0: 0, 1: 0, 2: 1, 3: 1, 4: 2, 6: 3} { // there are no transactions yet that would hold it back
		p := plan{view: view, end: end}
		records, _, err := f.read(t.Context(), &p, want(a0, 0, mib), mib, true, f.pins(mib, pinFactor))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, next := decoded(t, records); batches > 0 && next != 2*batches || batches == 0 && records.Size() > 0 {
			t.Errorf("end %d: served up to %d", end, next)
		}
		if (p.most(want(a0, 0, mib)) == 0) != (end == 0) || p.available(want(a0, 0, mib)) > p.most(want(a0, 0, mib)) {
			t.Errorf("end %d: %d available, at most %d", end, p.available(want(a0, 0, mib)), p.most(want(a0, 0, mib)))
		}
	}
}

// TestCorruptBytesAreNeverServed flips every byte of an object in turn: what is served is always what was written, or the fetch
// fails and names the object.
func TestCorruptBytesAreNeverServed(t *testing.T) {
	w := newWorld(t)
	var batches []batch.View
	var values []string
	for i, codec := range []batch.Codec{batch.None, batch.Gzip, batch.None} {
		var records []rec
		for n := range 3 {
			values = append(values, fmt.Sprintf("%d/%d", i, n))
			records = append(records, rec{at: 5, value: values[len(values)-1]})
		}
		batches = append(batches, makeBatch(t, batch.Options{Codec: codec}, records...))
	}
	key := w.put(run{a0, batches})
	f := w.fetcher()
	good := w.objects[key]
	failures := 0
	for at := range good {
		for _, bit := range []byte{1, 0x80} {
			bad := bytes.Clone(good)
			bad[at] ^= bit
			w.objects[key] = bad
			for _, offset := range []int64{0, 4, 8} {
				got := fetchOne(f, want(a0, offset, mib))
				if got.Err != nil {
					failures++
					if !errors.Is(got.Err, ErrStorage) || !strings.Contains(got.Err.Error(), key) || got.Records.Size() != 0 ||
						got.Watermark != -1 || got.Stable != -1 || got.LogStart != -1 {
						t.Fatalf("byte %d from %d: %+v", at, offset, got)
					}
					continue
				}
				served, first, next := decoded(t, got.Records)
				if len(served) == 0 || first > offset || next <= offset {
					t.Fatalf("byte %d from %d: offsets %d to %d", at, offset, first, next)
				}
				for o, value := range served {
					if value != values[o] {
						t.Fatalf("byte %d, bit %x: offset %d has %q", at, bit, o, value)
					}
				}
			}
		}
	}
	if failures == 0 || !strings.Contains(w.logged.String(), key) {
		t.Errorf("%d failures; the log says %.200s", failures, w.logged.String())
	}
}

func TestAShortOrForeignObjectIsAnError(t *testing.T) {
	w := newWorld(t)
	key := w.put(run{a0, []batch.View{plainBatch(t, 1, 10, 1)}})
	f := w.fetcher()
	good := w.objects[key]
	for name, o := range map[string][]byte{"cut": good[:len(good)-1], "longer": append(bytes.Clone(good), 0), "empty": {}, "zeros": make([]byte, len(good))} {
		w.objects[key] = o
		if got := fetchOne(f, want(a0, 0, mib)); !errors.Is(got.Err, ErrStorage) || got.Records != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestWhatWasReadBeforeAnErrorIsServed: the error comes back when the consumer asks for the rest.
func TestWhatWasReadBeforeAnErrorIsServed(t *testing.T) {
	w := newWorld(t)
	w.put(run{a0, []batch.View{plainBatch(t, 1, 10, 1)}})
	delete(w.objects, w.put(run{a0, []batch.View{plainBatch(t, 1, 10, 1)}}))
	f := w.fetcher()
	if got := fetchOne(f, want(a0, 0, mib)); got.Err != nil || got.Watermark != 2 {
		t.Errorf("%+v", got)
	} else if _, _, next := decoded(t, got.Records); next != 1 {
		t.Errorf("served up to %d", next)
	}
	if got := fetchOne(f, want(a0, 1, mib)); !errors.Is(got.Err, ErrStorage) {
		t.Errorf("%+v", got)
	}
}

// TestAMissingObjectIsLookedForAtAFreshIndex is rule R4.
func TestAMissingObjectIsLookedForAtAFreshIndex(t *testing.T) {
	t.Run("the fresh state names another", func(t *testing.T) {
		w := newWorld(t)
		key := w.put(run{a0, []batch.View{plainBatch(t, 2, 10, 1)}})
		f := w.fetcher()
		fails := 0
		w.fail = func(string) error { // as if the merged object were under another name
			if fails++; fails == 1 {
				return fmt.Errorf("get %s: %w", key, objectstore.ErrNotFound)
			}
			return nil
		}
		w.asked = nil
		got := fetchOne(f, want(a0, 0, mib))
		if _, _, next := decoded(t, got.Records); got.Err != nil || next != 2 {
			t.Errorf("%+v", got)
		}
		if len(w.asked) != 2 || w.asked[0].IsFresh() || !w.asked[1].IsFresh() {
			t.Errorf("asked %v", w.asked)
		}
	})
	t.Run("the log start has moved on", func(t *testing.T) {
		w := newWorld(t)
		delete(w.objects, w.put(run{a0, []batch.View{plainBatch(t, 2, 10, 1)}}))
		w.lags = true
		w.apply(state.Command{Op: state.AdvanceLogStart{TopicPartition: a0, Offset: 2}})
		got := fetchOne(w.fetcher(), want(a0, 0, mib))
		if !errors.Is(got.Err, ErrOutOfRange) || got.LogStart != -1 || got.Watermark != -1 {
			t.Errorf("%+v", got)
		}
		if w.logged.Len() > 0 {
			t.Errorf("logged %s", w.logged.String())
		}
	})
	t.Run("the fresh state still names it", func(t *testing.T) {
		w := newWorld(t)
		key := w.put(run{a0, []batch.View{plainBatch(t, 2, 10, 1)}})
		delete(w.objects, key)
		got := fetchOne(w.fetcher(), want(a0, 0, mib))
		if !errors.Is(got.Err, ErrStorage) || !strings.Contains(got.Err.Error(), key) {
			t.Errorf("%+v", got)
		}
		if !strings.Contains(w.logged.String(), key) {
			t.Errorf("logged %q", w.logged.String())
		}
	})
	t.Run("there is no fresh state", func(t *testing.T) {
		w := newWorld(t)
		delete(w.objects, w.put(run{a0, []batch.View{plainBatch(t, 2, 10, 1)}}))
		w.freshErr = metadata.ErrUnavailable
		got := fetchOne(w.fetcher(), want(a0, 0, mib))
		if !errors.Is(got.Err, metadata.ErrUnavailable) || w.logged.Len() > 0 {
			t.Errorf("%+v; logged %q", got, w.logged.String())
		}
	})
}

// TestALaggingReplicaGivesNoNegativeVerdict is rule R7.
func TestALaggingReplicaGivesNoNegativeVerdict(t *testing.T) {
	w := newWorld(t)
	w.put(run{a0, []batch.View{plainBatch(t, 1, 10, 1)}})
	w.lags = true
	created := state.UUID{9}
	w.apply(state.Command{Op: state.CreateTopic{Topic: created, Name: "new", Partitions: 1, ReplicationFactor: 1}})
	n0 := state.TopicPartition{Topic: created}
	w.put(run{a0, []batch.View{plainBatch(t, 2, 10, 1)}}, run{n0, []batch.View{plainBatch(t, 1, 10, 1)}})
	f := w.fetcher()
	for name, tt := range map[string]struct {
		want Want
		next int64 // up to where it is served; -1: nothing
		err  error
	}{
		"a topic it has not heard of":          {want(n0, 0, mib), 1, nil},
		"an offset beyond its end":             {want(a0, 2, mib), 3, nil},
		"the end it has not heard of":          {want(a0, 3, mib), -1, nil},
		"what it knows needs no proof":         {want(a0, 0, mib), 1, nil},
		"beyond the end for certain":           {want(a0, 4, mib), -1, ErrOutOfRange},
		"far beyond":                           {want(a0, 1<<62, mib), -1, ErrOutOfRange},
		"negative":                             {want(a0, -1, mib), -1, ErrOutOfRange},
		"a topic that is not there":            {want(state.TopicPartition{Topic: state.UUID{99}}, 0, mib), -1, ErrUnknownTopic},
		"a partition that is not there":        {want(state.TopicPartition{Topic: topicA, Partition: 2}, 0, mib), -1, ErrUnknownTopic},
		"a negative partition":                 {want(state.TopicPartition{Topic: topicA, Partition: -1}, 0, mib), -1, ErrUnknownTopic},
		"a partition that was never written":   {want(b0, 0, mib), -1, nil},
		"beyond the end of one never written ": {want(b0, 1, mib), -1, ErrOutOfRange},
	} {
		t.Run(name, func(t *testing.T) {
			w.asked, w.freshErr = nil, nil
			got := fetchOne(f, tt.want)
			if !errors.Is(got.Err, tt.err) || got.Err != nil && (got.Watermark != -1 || got.LogStart != -1 || got.Stable != -1) {
				t.Fatalf("%+v", got)
			}
			if _, _, next := decoded(t, got.Records); next != tt.next {
				t.Errorf("served up to %d, want %d", next, tt.next)
			}
			proven := false
			for _, a := range w.asked {
				proven = proven || a.IsFresh()
			}
			if proven {
				w.freshErr = metadata.ErrUnavailable
				if got := fetchOne(f, tt.want); !errors.Is(got.Err, metadata.ErrUnavailable) {
					t.Errorf("without proof: %+v", got)
				}
			} else if tt.err != nil {
				t.Error("a negative verdict without proof")
			}
		})
	}
	w.asked, w.freshErr = nil, metadata.ErrUnavailable
	got := f.Fetch(t.Context(), Request{Partitions: []Want{want(a0, 0, mib), want(n0, 0, mib)}, MaxBytes: mib})
	if got[0].Err != nil || got[0].Records.Size() == 0 || !errors.Is(got[1].Err, metadata.ErrUnavailable) {
		t.Errorf("one in doubt must not harm the other: %+v", got)
	}
}

func TestOnePartitionsErrorLeavesTheOthersAlone(t *testing.T) {
	w := newWorld(t)
	delete(w.objects, w.put(run{a0, []batch.View{plainBatch(t, 1, 10, 1)}}))
	w.put(run{a1, []batch.View{plainBatch(t, 1, 10, 1)}})
	got := w.fetcher().Fetch(t.Context(), Request{
		Partitions: []Want{want(a0, 0, mib), want(a1, 9, mib), want(a1, 0, mib)}, MaxBytes: mib,
	})
	if !errors.Is(got[0].Err, ErrStorage) || !errors.Is(got[1].Err, ErrOutOfRange) || got[2].Err != nil || got[2].Records.Size() == 0 {
		t.Errorf("%+v", got)
	}
}

// TestBudgetsDoNotDependOnTiming spends a budget over many partitions whose reads end in any order.
func TestBudgetsDoNotDependOnTiming(t *testing.T) {
	w := newWorld(t)
	id := state.UUID{7}
	const partitions = 40
	w.apply(state.Command{Op: state.CreateTopic{Topic: id, Name: "wide", Partitions: partitions, ReplicationFactor: 1}})
	var runs []run
	for p := range int32(partitions) {
		runs = append(runs, run{state.TopicPartition{Topic: id, Partition: p}, []batch.View{
			plainBatch(t, 1, 500, 1), plainBatch(t, 1, 100, 1), plainBatch(t, 1, 300+int(p), 1),
		}})
	}
	w.put(runs...)
	req := Request{MaxBytes: 9000}
	for p := range int32(partitions) {
		req.Partitions = append(req.Partitions, want(state.TopicPartition{Topic: id, Partition: p}, int64(p%3), 900))
	}
	var expected []int64
	for i := range 30 {
		f := w.fetcher(func(c *Config) { c.Parallel = 1 + i%8 })
		got := f.Fetch(t.Context(), req)
		var sizes []int64
		total := int64(0)
		for _, g := range got {
			sizes = append(sizes, g.Records.Size())
			total += g.Records.Size()
		}
		if total > req.MaxBytes || total < req.MaxBytes-1000 {
			t.Fatalf("%d bytes of %d", total, req.MaxBytes)
		}
		if expected == nil {
			expected = sizes
		} else if fmt.Sprint(sizes) != fmt.Sprint(expected) {
			t.Fatalf("with %d at once: %v, before: %v", 1+i%8, sizes, expected)
		}
	}
}
