package answers

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const mib = 1 << 20

// budget is one of 64 MiB, whose least grant is 1 MiB, in a bubble of virtual time.
func budget(t *testing.T, f func(t *testing.T, b *Budget)) {
	synctest.Test(t, func(t *testing.T) {
		b, err := New(64*mib, prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		f(t, b)
	})
}

// took takes without waiting.
func took(a *Account, most int64) int64 {
	n, _ := a.Take(context.Background(), most, 0)
	return n
}

// later takes in the background.
func later(a *Account, most int64, patience time.Duration) chan int64 {
	got := make(chan int64, 1)
	go func() {
		n, _ := a.Take(context.Background(), most, patience)
		got <- n
	}()
	synctest.Wait()
	return got
}

func is(t *testing.T, what string, got, want int64) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %d bytes, want %d", what, got, want)
	}
}

// known is an account that has shown how much it reads.
func known(b *Budget, pace int64) *Account {
	a := b.Open()
	took(a, pace)
	a.Release(pace, time.Millisecond)
	return a
}

func TestPlentyIsGivenAndLittleIsSharedByWhoReads(t *testing.T) {
	budget(t, func(t *testing.T, b *Budget) {
		quick, quicker, fresh := known(b, 2*mib), known(b, 20*mib), b.Open()
		is(t, "a newcomer", took(b.Open(), 30*mib), 30*mib)
		n, scarce := b.Open().Take(t.Context(), mib, 0)
		if is(t, "the rest of the half", n, mib); scarce {
			t.Error("half of it is free, and it is scarce")
		}
		n, scarce = fresh.Take(t.Context(), 10*mib, 0)
		if is(t, "a newcomer, beyond the half", n, mib); !scarce {
			t.Error("not scarce")
		}
		is(t, "one that reads 2 MiB", took(quick, 10*mib), 4*mib)
		is(t, "one that reads 20 MiB", took(quicker, 20*mib), 7*mib) // a quarter of what is left
		is(t, "who wants little", took(b.Open(), 100), 100)
		is(t, "used", b.Used(), 43*mib+100)
	})
}

func TestWhoHasNotShownThatItReadsLeavesAQuarter(t *testing.T) {
	budget(t, func(t *testing.T, b *Budget) {
		slow := known(b, mib)
		took(slow, mib)
		slow.Release(mib, 5*time.Second) // shows now that it does not
		quick := known(b, 2*mib)
		took(b.Open(), 32*mib)
		for range 16 {
			is(t, "a newcomer", took(b.Open(), 5*mib), mib)
		}
		is(t, "a newcomer too many", took(b.Open(), mib), 0)
		is(t, "a slow one", took(slow, mib), 0)
		waiting := later(slow, mib, time.Minute)
		is(t, "one that reads, though one waits", took(quick, 2*mib), 2*mib)
		if len(waiting) > 0 || !b.Wanted() {
			t.Error("nobody waits")
		}
		time.Sleep(time.Minute)
		is(t, "who has waited long enough", <-waiting, 0)
		if b.Wanted() {
			t.Error("somebody waits")
		}
	})
}

func TestWhoWaitsIsServedInOrder(t *testing.T) {
	budget(t, func(t *testing.T, b *Budget) {
		full := b.Open()
		full.Hold(64 * mib)
		first := later(known0(b, 3*mib), 3*mib, time.Hour)
		second := later(b.Open(), 10*mib, time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan int64)
		go func() {
			n, _ := b.Open().Take(ctx, mib, time.Hour)
			gone <- n
		}()
		synctest.Wait()
		third := later(b.Open(), 100, time.Hour)
		cancel()
		is(t, "who went", <-gone, 0)
		full.Hold(64*mib - 100) // would do for the third
		synctest.Wait()
		if len(first)+len(second)+len(third) > 0 {
			t.Error("somebody was served out of turn")
		}
		full.Hold(60 * mib)
		is(t, "the first", <-first, mib)
		if synctest.Wait(); len(second) > 0 {
			t.Error("a newcomer took of what is kept from it")
		}
		full.Release(0, 0)
		is(t, "the second", <-second, 10*mib)
		is(t, "the third", <-third, 100)
	})
}

// known0 is an account that is known to read pace bytes, of a budget with nothing left.
func known0(b *Budget, pace int64) *Account { return &Account{b: b, pace: pace} }

func TestWhatIsHeldWithoutAskingCounts(t *testing.T) {
	budget(t, func(t *testing.T, b *Budget) {
		one := b.Open()
		is(t, "taken", took(one, 10), 10)
		one.Hold(50 * mib) // a batch was larger
		other := b.Open()
		other.Hold(30 * mib)
		is(t, "used", b.Used(), 80*mib)
		is(t, "one that reads", took(known0(b, mib), 10), 0)
		one.Release(10, time.Second)
		other.Release(0, 0)
		other.Release(0, 0)
		is(t, "used", b.Used(), 0)
		is(t, "by unproven ones", b.unproven, 0)
		is(t, "pace", one.pace, 10)
	})
}
