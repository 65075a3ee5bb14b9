package produce

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore/storetest/fake"
)

var errAside = errors.New("another agent should")

// TestAHaltGivesUpWhatIsNotStored: everything is refused at once, retriably and for certain; numbers go on without a hole, and
// afterwards records are taken again.
func TestAHaltGivesUpWhatIsNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.producer(func(c *Config) { c.FlushInterval, c.Uploads = time.Second, 2 })
		run(t, p)
		if got := outcome(t, send(t, p, a0, "before")); got.Err != nil {
			t.Fatal(got)
		}
		w.store.Script(fake.Rule{Op: fake.Put, Count: -1, Fault: fake.Block})
		var all []*Pending
		for i := range 4 { // two are on their way, one is sealed and waits for its turn, one is in the buffer
			all = append(all, send(t, p, a0, fmt.Sprint("during", i)))
			time.Sleep(1100 * time.Millisecond)
		}
		all = append(all, hand(t, p, 0, 3)) // and one waits for its predecessors
		synctest.Wait()
		began, puts := time.Now(), len(w.puts())
		p.Resume() // to no effect: nothing is halted yet
		p.Halt(errAside)
		for i, pending := range all {
			if got := outcome(t, pending); !errors.Is(got.Err, ErrStorage) || !errors.Is(got.Err, errAside) {
				t.Errorf("%d: %+v", i, got)
			}
		}
		if took := time.Since(began); took > 1100*time.Millisecond { // what was in the buffer waits for its seal
			t.Errorf("it took %v", took)
		}
		refused := send(t, p, a0, "refused")
		select {
		case <-refused.Done(): // before it is in any object
		default:
			t.Error("a batch is accepted meanwhile")
		}
		if got := outcome(t, refused); !errors.Is(got.Err, ErrStorage) || !errors.Is(got.Err, errAside) || len(w.puts()) != puts {
			t.Errorf("%+v after %v", got, w.puts())
		}
		p.Halt(errAside) // again, to no effect
		late := w.store.Pending()
		w.store.ClearScript()
		p.Resume()
		p.Resume()
		if got := outcome(t, send(t, p, a0, "after")); got.Err != nil || got.Base != 1 {
			t.Errorf("%+v", got)
		}
		for _, l := range late {
			_ = l.Land()
			l.Drop()
		}
		if got, want := w.read(a0), map[int64]string{0: "before/0", 1: "after/0"}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%v, want %v", got, want)
		}
		if bad := w.store.Violations(); len(bad) > 0 {
			t.Error(bad)
		}
		checkEmpty(t, p)
	})
}

// TestAHaltKeepsWhatIsStored: an object that waits for its commit behind one that was given up is committed.
func TestAHaltKeepsWhatIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.store.Script(fake.Rule{Op: fake.Put, Fault: fake.Block})
		p := w.producer()
		run(t, p)
		first := send(t, p, a0, "first")
		synctest.Wait()
		second := send(t, p, a0, "second")
		time.Sleep(time.Second)
		if got := w.puts(); !slices.Equal(got, []string{"1-0", "2-0"}) {
			t.Fatal(got)
		}
		p.Halt(errAside)
		if got := outcome(t, first); !errors.Is(got.Err, errAside) {
			t.Errorf("%+v", got)
		}
		if got := outcome(t, second); got.Err != nil || got.Base != 0 {
			t.Errorf("%+v", got)
		}
		checkEmpty(t, p)
	})
}

// TestAProducerThatGoesElsewhereAtAHaltLosesAndDoublesNothing: it sends everything that was refused again to another agent, in order.
func TestAProducerThatGoesElsewhereAtAHaltLosesAndDoublesNothing(t *testing.T) {
	for _, fault := range []fake.Fault{fake.Block, fake.BlockAnswer, fake.LoseAnswer} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			one, two := w.join(), w.join()
			w.store.Script(fake.Rule{Op: fake.Put, Count: -1, Fault: fault})
			from, to := one.producer(func(c *Config) { c.FlushInterval = time.Millisecond }), two.producer()
			run(t, from)
			run(t, to)
			var flight []*Pending
			for n := range int32(5) {
				flight = append(flight, hand(t, from, 0, n))
				time.Sleep(10 * time.Millisecond)
			}
			from.Halt(errAside)
			w.store.ClearScript()
			for n, pending := range flight {
				if got := outcome(t, pending); !errors.Is(got.Err, errAside) {
					t.Errorf("%v: batch %d: %+v", fault, n, got)
				}
				want(t, fmt.Sprint(fault, n), hand(t, to, 0, int32(n)), state.CodeOK, int64(n))
			}
			for _, late := range w.store.Pending() {
				_ = late.Land()
				late.Drop()
			}
			if got := w.values(a0); !slices.Equal(got, upTo(5)) {
				t.Errorf("%v: stored: %v", fault, got)
			}
		})
	}
}
