package produce

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/state"
)

func sized(sizes ...int) []item {
	items := make([]item, len(sizes))
	for i, n := range sizes {
		items[i].bytes = make([]byte, n)
	}
	return items
}

func TestTakingBreaksOffAtTheSizeAndKeepsTheOrder(t *testing.T) {
	b := newBuffer(1000)
	if err := b.add(t.Context(), sized(10, 20, 30, 500)); err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]int{{10, 20}, {30}, {500}, {}} { // at least one, even if it is larger than 30
		taken := b.take(30)
		if len(taken) != len(want) {
			t.Fatalf("take %d: %d items, want %v", i, len(taken), want)
		}
		for n, it := range taken {
			if len(it.bytes) != want[n] {
				t.Errorf("take %d: item %d has %d bytes, want %d", i, n, len(it.bytes), want[n])
			}
		}
	}
	if bytes, oldest, _ := b.look(); bytes != 0 || !oldest.IsZero() || b.heldBytes() != 560 {
		t.Errorf("%d bytes, oldest %s, %v held", bytes, oldest, b.heldBytes())
	}
}

func TestAnObjectHasABoundOfBatches(t *testing.T) {
	b := newBuffer(1 << 30)
	if err := b.add(t.Context(), sized(make([]int, maxItems+1)...)); err != nil {
		t.Fatal(err)
	}
	if first, rest := len(b.take(1<<20)), len(b.take(1<<20)); first != maxItems || rest != 1 {
		t.Errorf("%d and %d items", first, rest)
	}
}

// TestTheLargestObjectFitsAJournalEntry: as many batches as an object may have, each in a partition and a topic of its own, and as far
// from the one before as its fields allow. The metadata session passes on commands of up to 8 MiB, of which an entry holds one.
func TestTheLargestObjectFitsAJournalEntry(t *testing.T) {
	items := make([]item, maxItems)
	for i := range items {
		topic := state.UUID{byte(i >> 16), byte(i >> 8), byte(i)} // in the order in which they are sealed
		far := math.MaxInt64 * int64(i%2)
		items[i] = item{
			tp: state.TopicPartition{Topic: topic, Partition: math.MaxInt32 * int32(i%2)}, bytes: []byte{0},
			batch: state.Batch{
				Len: math.MaxInt32, Count: math.MaxInt32, Attributes: math.MinInt16, MaxTimestamp: far,
				ProducerID: far, ProducerEpoch: math.MinInt16, FirstSequence: math.MinInt32,
			},
			accept: math.MaxUint64 / 2 * uint64(i%2),
		}
	}
	o := newWorld(t).producer().seal(1, items)
	if o.err != nil || len(o.runs) != maxItems {
		t.Fatalf("%d runs, %v", len(o.runs), o.err)
	}
	op := state.CommitObject{Attempt: math.MaxUint32, Size: o.body.Size(), Runs: o.runs}
	encoded := len(state.EncodeEntry(state.Entry{Index: math.MaxUint64, Commands: []state.Command{{Time: math.MaxInt64, Op: op}}}))
	if hint := state.SizeHint(op); encoded > 8<<20 || hint > 8<<20 || encoded > journal.MaxBody/2 {
		t.Errorf("%d bytes, estimated at %d", encoded, hint)
	}
	if least := 80 * maxItems; encoded < least {
		t.Errorf("%d bytes: not the largest that there can be", encoded)
	}
}

func TestAFullBufferMakesPeopleWaitInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBuffer(100)
		entered := make(chan int, 10)
		add := func(size int) {
			go func() {
				if err := b.add(t.Context(), sized(size)); err != nil {
					t.Errorf("%d: %v", size, err)
				}
				entered <- size
			}()
			synctest.Wait()
		}
		expect := func(sizes ...int) {
			t.Helper()
			synctest.Wait()
			for _, want := range sizes {
				select {
				case got := <-entered:
					if got != want {
						t.Errorf("%d entered, want %d", got, want)
					}
				default:
					t.Errorf("%d still waits", want)
				}
			}
			if len(entered) > 0 {
				t.Errorf("%d entered too early", <-entered)
			}
		}
		add(90)
		expect(90)
		add(500) // larger than the whole buffer: only when nothing is held
		add(5)   // would fit, but must not overtake
		expect()
		b.release(b.take(1 << 40))
		expect(500)
		b.release(sized(500))
		expect(5)
		add(95)
		expect(95)
		add(1)
		expect()
		b.release(sized(5))
		expect(1)
	})
}

func TestOneWhoGivesUpWaitingLetsOthersIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBuffer(100)
		if err := b.add(t.Context(), sized(60)); err != nil {
			t.Fatal(err)
		}
		why := errors.New("client is gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		large, small := make(chan error, 1), make(chan error, 1)
		go func() { large <- b.add(ctx, sized(50)) }()
		synctest.Wait()
		go func() { small <- b.add(t.Context(), sized(40)) }()
		synctest.Wait()
		if len(small) != 0 {
			t.Error("the small one overtook")
		}
		cancel(why)
		if err := <-large; !errors.Is(err, why) {
			t.Error(err)
		}
		if err := <-small; err != nil {
			t.Error(err)
		}
		if bytes, _, _ := b.look(); bytes != 100 {
			t.Errorf("%d bytes in the buffer", bytes)
		}
	})
}

func TestAClosedBufferRefusesAndEmpties(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBuffer(100)
		if err := b.empty(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := b.add(t.Context(), sized(100)); err != nil {
			t.Fatal(err)
		}
		waiting := make(chan error, 1)
		go func() { waiting <- b.add(t.Context(), sized(1)) }()
		synctest.Wait()
		b.close(errDraining)
		if err := <-waiting; !errors.Is(err, errDraining) {
			t.Errorf("one who waited got %v", err)
		}
		if err := b.add(t.Context(), sized(1)); !errors.Is(err, errDraining) {
			t.Errorf("one who came later got %v", err)
		}
		empty := make(chan error, 1)
		go func() { empty <- b.empty(t.Context()) }()
		synctest.Wait()
		b.release(sized(40))
		synctest.Wait()
		if len(empty) != 0 {
			t.Error("not empty yet")
		}
		b.release(sized(60))
		if err := <-empty; err != nil {
			t.Error(err)
		}
	})
}
