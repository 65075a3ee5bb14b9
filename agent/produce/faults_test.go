package produce

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/agent/batch"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/segment"
	"github.com/leat-stream/leat/objectstore/storetest/fake"
)

func TestOneObjectForWhatComesTogetherAndNothingElseIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.producer(func(c *Config) { c.EarlyPuts, c.EarlyBurst = 0, 0 }) // only the interval seals
		run(t, p)
		var all []*Pending
		for i, tp := range []state.TopicPartition{b0, a1, a0, a1, b0} {
			all = append(all, send(t, p, tp, fmt.Sprint("v", i)))
		}
		for i, pending := range all {
			if got := outcome(t, pending); got.Err != nil || got.Code != state.CodeOK || got.LogStart != 0 {
				t.Fatalf("%d: %+v", i, got)
			}
		}
		if got := w.puts(); !slices.Equal(got, []string{"1-0"}) || len(w.store.Requests()) != 1 {
			t.Errorf("requests: %v", w.store.Requests())
		}
		if got := w.commits(); !slices.Equal(got, []string{"1-1"}) {
			t.Errorf("commits: %v", got)
		}
		s, err := segment.Verify(w.object(w.store.Requests()[0].Key()))
		if err != nil || len(s.Runs) != 3 || s.Header.Number != 1 {
			t.Fatalf("%+v, %v", s, err)
		}
		for tp, want := range map[state.TopicPartition]map[int64]string{
			a0: {0: "v2/0"}, a1: {0: "v1/0", 1: "v3/0"}, b0: {0: "v0/0", 1: "v4/0"},
		} {
			if got := w.read(tp); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%v holds %v, want %v", tp, got, want)
			}
		}
		if len(w.recent) != 1 || w.recent[w.store.Requests()[0].Key()].Size() != s.Size {
			t.Error("the cache was not told of the object")
		}
	})
}

// TestPairedFaults fails each of the first PUTs of an object in every way: the batch is acknowledged once, under a name that
// was never used before unless the earlier PUT certainly did nothing.
func TestPairedFaults(t *testing.T) {
	tests := map[string]struct {
		faults []fake.Fault
		names  []string
	}{
		"certainly not applied: the same name":      {[]fake.Fault{fake.Refuse}, []string{"1-0", "1-0"}},
		"lost on the way: another name":             {[]fake.Fault{fake.Lose}, []string{"1-0", "1-1"}},
		"applied, answer lost: another name":        {[]fake.Fault{fake.LoseAnswer}, []string{"1-0", "1-1"}},
		"lands late: another name":                  {[]fake.Fault{fake.Late}, []string{"1-0", "1-1"}},
		"no answer within the time of an attempt":   {[]fake.Fault{fake.Block}, []string{"1-0", "1-1"}},
		"applied, no answer within the time":        {[]fake.Fault{fake.BlockAnswer}, []string{"1-0", "1-1"}},
		"refused after an unknown one: that name":   {[]fake.Fault{fake.Lose, fake.Refuse}, []string{"1-0", "1-1", "1-1"}},
		"unknown after a refused one: another name": {[]fake.Fault{fake.Refuse, fake.LoseAnswer}, []string{"1-0", "1-0", "1-1"}},
		"three unknown":                             {[]fake.Fault{fake.LoseAnswer, fake.Lose, fake.Late}, []string{"1-0", "1-1", "1-2", "1-3"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				for _, f := range tt.faults {
					w.store.Script(fake.Rule{Op: fake.Put, Fault: f})
				}
				p := w.producer(func(c *Config) { c.UploadAttempt = time.Second })
				stop := run(t, p)
				if got := outcome(t, send(t, p, a0, "x")); got.Err != nil || got.Base != 0 {
					t.Fatalf("%+v", got)
				}
				if got := w.puts(); !slices.Equal(got, tt.names) {
					t.Errorf("put %v, want %v", got, tt.names)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
				for _, late := range w.store.Pending() {
					_ = late.Land() // a PUT that lands a week late hurts nobody
					late.Drop()
				}
				if got := w.read(a0); fmt.Sprint(got) != fmt.Sprint(map[int64]string{0: "x/0"}) {
					t.Error(got)
				}
				if bad := w.store.Violations(); len(bad) > 0 {
					t.Error(bad)
				}
			})
		})
	}
}

// TestCommitOrderIsSealOrder lets uploads finish in any order.
func TestCommitOrderIsSealOrder(t *testing.T) {
	const objects = 4
	for _, finish := range [][]int{{3, 2, 1, 0}, {1, 0, 3, 2}, {2, 3, 0, 1}, {0, 3, 1, 2}} {
		t.Run(fmt.Sprint(finish), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.store.Script(fake.Rule{Op: fake.Put, Count: -1, Fault: fake.Block})
				p := w.producer(func(c *Config) { c.FlushInterval = time.Millisecond })
				run(t, p)
				var all []*Pending
				for i := range objects {
					o := batch.Options{Producer: &batch.Producer{ID: 9, BaseSequence: int32(i)}}
					pending, err := p.Accept(t.Context(), []Part{part(a0, records(t, fmt.Sprint(i), 1, o))})
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, pending)
					time.Sleep(2 * time.Millisecond) // virtual: the interval is over and the buffer is sealed
					synctest.Wait()
				}
				parked := w.store.Pending()
				if len(parked) != objects {
					t.Fatalf("%d uploads at once", len(parked))
				}
				done := map[int]bool{}
				for _, n := range finish {
					parked[n].Release()
					done[n] = true
					synctest.Wait()
					acked := true // an object is acknowledged exactly when it and all before it are stored
					for i, pending := range all {
						acked = acked && done[i]
						select {
						case <-pending.Done():
							if !acked {
								t.Errorf("object %d was acknowledged before one that was sealed earlier", i)
							}
						default:
							if acked {
								t.Errorf("object %d still waits", i)
							}
						}
					}
				}
				for i, pending := range all {
					if got := outcome(t, pending); got.Err != nil || got.Code != state.CodeOK || got.Base != int64(i) {
						t.Errorf("%d: %+v", i, got)
					}
				}
			})
		})
	}
}

func TestUploadsAndSealedObjectsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.store.Script(fake.Rule{Op: fake.Put, Count: -1, Fault: fake.Block})
		p := w.producer(func(c *Config) { c.Uploads, c.FlushInterval = 2, time.Millisecond })
		run(t, p)
		var all []*Pending
		for i := range 5 {
			all = append(all, send(t, p, a0, fmt.Sprint(i)))
			time.Sleep(2 * time.Millisecond)
			synctest.Wait()
		}
		if n := len(w.store.Pending()); n != 2 {
			t.Fatalf("%d uploads at once, want 2", n)
		}
		w.store.Pending()[0].Release()
		synctest.Wait()
		parked := w.store.Pending()
		if len(parked) != 2 || len(w.puts()) != 3 {
			t.Fatalf("%d at once, %v", len(parked), w.puts())
		}
		for _, r := range parked {
			r.Release()
		}
		for i, pending := range all { // what came while every upload was busy went into one object
			if got := outcome(t, pending); got.Base != int64(i) {
				t.Errorf("%d: %+v", i, got)
			}
		}
		if got := w.puts(); len(got) != 3 {
			t.Errorf("%v", got)
		}
	})
}

func TestAnObjectThatCannotBeStoredIsSkippedAndTheNextOnesGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		second := w.keys.Data(objectstore.Segment{Owner: owner, Number: 2})
		w.store.Script(fake.Rule{
			Op: fake.Put, Key: strings.TrimRight(second, "0") + "*", Count: -1, Fault: fake.LoseAnswer, Err: objectstore.ErrThrottled,
		})
		p := w.producer(func(c *Config) { c.FlushInterval, c.UploadPatience = time.Millisecond, 5*time.Second })
		run(t, p)
		began := time.Now()
		var all []*Pending
		for i := range 3 {
			all = append(all, send(t, p, a0, fmt.Sprint(i)))
			time.Sleep(2 * time.Millisecond)
			synctest.Wait()
		}
		if got := outcome(t, all[0]); got.Err != nil || got.Base != 0 {
			t.Errorf("%+v", got)
		}
		given := outcome(t, all[1])
		if !errors.Is(given.Err, ErrStorage) || !errors.Is(given.Err, objectstore.ErrThrottled) || given.Base != -1 {
			t.Errorf("given up: %+v", given)
		}
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("given up after %s", took)
		}
		if got := outcome(t, all[2]); got.Err != nil || got.Base != 1 {
			t.Errorf("the next: %+v", got)
		}
		if got := w.read(a0); len(got) != 2 || got[1] != "2/0" {
			t.Error(got)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		r := w.st.Reader()
		for n := range uint32(3) { // whatever landed under its names is garbage for ever
			o := state.ObjectName{Owner: owner, Number: 2, Attempt: n}
			if r.Referenced(o) || !r.Decided(o) {
				t.Errorf("attempt %d is referenced or undecided", n)
			}
		}
	})
}

func TestDrainAnswersEverythingThatWasAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.producer(func(c *Config) { c.EarlyPuts, c.EarlyBurst, c.FlushInterval = 0, 0, time.Minute })
		stop := run(t, p)
		pending := send(t, p, a0, "x")
		began := time.Now()
		if err := p.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case <-pending.Done():
		default:
			t.Fatal("drained, and not answered")
		}
		if got := outcome(t, pending); got.Err != nil || got.Base != 0 || time.Since(began) > time.Second {
			t.Errorf("%+v after %s", got, time.Since(began))
		}
		if _, err := p.Accept(t.Context(), []Part{part(a0, records(t, "y", 1, batch.Options{}))}); !errors.Is(err, metadata.ErrNotApplied) {
			t.Errorf("after draining: %v", err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestDrainGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.store.Script(fake.Rule{Op: fake.Put, Count: -1, Fault: fake.Block})
		p := w.producer()
		stop := run(t, p)
		pending := send(t, p, a0, "x")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if got := outcome(t, pending); !errors.Is(got.Err, metadata.ErrNotApplied) {
			t.Errorf("%+v", got)
		}
	})
}

// TestTheEndOfASessionAnswersEverything stops at each place where a batch can be: proposed (the outcome is unknown), stored, being
// stored, buffered, and waiting for room (certainly not committed).
func TestTheEndOfASessionAnswersEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		proceed := make(chan struct{})
		w.before = func(uint64, []state.Op) error {
			<-proceed
			return fmt.Errorf("commit: %w", metadata.ErrSessionClosed)
		}
		w.store.Script(fake.Rule{Op: fake.Put, Skip: 2, Count: -1, Fault: fake.Block})
		one := int64(len(records(t, "0", 1, batch.Options{})))
		p := w.producer(func(c *Config) {
			c.FlushBytes, c.FlushInterval, c.Uploads, c.MaxBuffered = 1<<10, time.Millisecond, 2, 1<<10
		})
		p.buf.limit = 5 * one
		ctx := t.Context()
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		var all []*Pending
		for i := range 5 {
			all = append(all, send(t, p, a0, fmt.Sprint(i)))
			time.Sleep(2 * time.Millisecond)
			synctest.Wait()
		}
		waiting := make(chan *Pending, 1)
		go func() {
			pending, err := p.Accept(ctx, []Part{part(a0, records(t, "5", 1, batch.Options{}))})
			if err != nil {
				t.Error(err)
			}
			waiting <- pending
		}()
		synctest.Wait()
		if got := w.commits(); !slices.Equal(got, []string{"1-1"}) || len(w.puts()) != 4 || len(w.store.Pending()) != 2 {
			t.Fatalf("commits %v, puts %v, %d parked", got, w.puts(), len(w.store.Pending()))
		}
		began := time.Now()
		close(proceed)
		if err := <-done; !errors.Is(err, metadata.ErrSessionClosed) {
			t.Errorf("Run: %v", err)
		}
		all = append(all, <-waiting) // the refusal of the first one made room for it
		if time.Since(began) > 0 {
			t.Errorf("Run took another %s", time.Since(began))
		}
		for i, pending := range all {
			select {
			case <-pending.Done():
			default:
				t.Fatalf("%d was never answered", i)
			}
			got := outcome(t, pending)
			if !errors.Is(got.Err, metadata.ErrSessionClosed) || errors.Is(got.Err, metadata.ErrNotApplied) != (i > 0) || got.Base != -1 {
				t.Errorf("%d: %+v", i, got)
			}
		}
		if held := p.buf.heldBytes(); held != 0 {
			t.Errorf("%v bytes are still held", held)
		}
		if _, err := p.Accept(ctx, []Part{part(a0, records(t, "6", 1, batch.Options{}))}); !errors.Is(err, metadata.ErrNotApplied) {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestAMalformedObjectIsRefusedAndTheNextOnesGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.before = func(_ uint64, ops []state.Op) error { // a bug of this package, made here
			if c, ok := ops[0].(state.CommitObject); ok && len(w.commits()) == 1 {
				c.Size = -1
				ops[0] = c
			}
			return nil
		}
		p := w.producer()
		run(t, p)
		if got := outcome(t, send(t, p, a0, "0")); !errors.Is(got.Err, metadata.ErrNotApplied) || got.Base != -1 {
			t.Errorf("%+v", got) // the client may send it again
		}
		if got := outcome(t, send(t, p, a0, "1")); got.Err != nil || got.Base != 0 {
			t.Errorf("%+v", got)
		}
	})
}

func TestWaitingForOutcomesEndsWithTheContext(t *testing.T) {
	w := newWorld(t)
	p := w.producer() // never runs
	pending := send(t, p, a0, "x")
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("too long")
	cancel(why)
	if got, err := pending.Wait(ctx); got != nil || !errors.Is(err, why) {
		t.Errorf("%v, %v", got, err)
	}
}
