package retry_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/mem"
	"github.com/leat-stream/leat/objectstore/retry"
	"github.com/leat-stream/leat/objectstore/storetest"
	"github.com/leat-stream/leat/objectstore/storetest/fake"
)

func TestItIsAStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) objectstore.Store { return retry.New(mem.New(), retry.Default()) })
}

// run runs f in virtual time over a fake with one journal entry, 0.
func run(t *testing.T, config retry.Config, f func(*testing.T, *fake.Store, *retry.Store, objectstore.Keys)) {
	t.Helper()
	if err := config.Validate(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		keys, err := objectstore.NewKeys("c")
		if err != nil {
			t.Fatal(err)
		}
		inner := fake.New(keys)
		if _, err := inner.Put(t.Context(), keys.Journal(0), objectstore.NewBody([]byte("zero")), objectstore.IfAbsent()); err != nil {
			t.Fatal(err)
		}
		inner.ResetRequests()
		f(t, inner, retry.New(inner, config), keys)
		if v := inner.Violations(); len(v) != 0 {
			t.Error(v)
		}
	})
}

func TestReadsAndDeletesAreRepeated(t *testing.T) {
	run(t, retry.Default(), func(t *testing.T, inner *fake.Store, s *retry.Store, keys objectstore.Keys) {
		for _, fault := range []fake.Fault{fake.Lose, fake.LoseAnswer, fake.Refuse} {
			inner.Script(
				fake.Rule{Op: fake.Get, Count: 2, Fault: fault, Err: objectstore.ErrThrottled},
				fake.Rule{Op: fake.List, Count: 2, Fault: fault},
				fake.Rule{Op: fake.Delete, Count: 2, Fault: fault},
			)
			inner.ResetRequests()
			o, err := s.Get(t.Context(), keys.Journal(0), objectstore.Range{})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(o.Reader); err != nil || string(got) != "zero" {
				t.Fatal(string(got), err)
			}
			n := 0
			for _, err := range s.List(t.Context(), "c/", "") {
				if n++; err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Delete(t.Context(), keys.Journal(0)); err != nil || n != 1 {
				t.Fatal(n, err)
			}
			if got := len(inner.Requests()); got != 9 {
				t.Fatalf("%d requests, want 3 of each", got)
			}
			if _, err := s.Put(t.Context(), keys.Journal(0), objectstore.NewBody([]byte("zero")), objectstore.IfAbsent()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestAnAmbiguousPutIsNeverRepeated(t *testing.T) {
	run(t, retry.Default(), func(t *testing.T, inner *fake.Store, s *retry.Store, keys objectstore.Keys) {
		for i, fault := range []fake.Fault{fake.Lose, fake.LoseAnswer, fake.Late} {
			inner.Script(fake.Rule{Op: fake.Put, Fault: fault, Err: objectstore.ErrThrottled})
			inner.ResetRequests()
			_, err := s.Put(t.Context(), keys.Journal(uint64(i+1)), objectstore.NewBody([]byte("x")), objectstore.IfAbsent())
			if !errors.Is(err, fake.ErrInjected) || errors.Is(err, objectstore.ErrNotApplied) || len(inner.Requests()) != 1 {
				t.Fatal(fault, err, inner.Requests())
			}
		}
	})
}

func TestAPutThatWasCertainlyNotAppliedIsRepeated(t *testing.T) {
	run(t, retry.Default(), func(t *testing.T, inner *fake.Store, s *retry.Store, keys objectstore.Keys) {
		inner.Script(fake.Rule{Op: fake.Put, Count: 3, Fault: fake.Refuse, Err: objectstore.ErrThrottled})
		v, err := s.Put(t.Context(), keys.Head(), objectstore.NewBody([]byte("1")), objectstore.IfAbsent())
		if err != nil || len(inner.Requests()) != 4 {
			t.Fatal(err, inner.Requests())
		}
		inner.Script(fake.Rule{Op: fake.Put, Fault: fake.Refuse})
		if _, err = s.Put(t.Context(), keys.Head(), objectstore.NewBody([]byte("2")), objectstore.IfVersion(v)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDecidedErrorsAreFinal(t *testing.T) {
	run(t, retry.Default(), func(t *testing.T, inner *fake.Store, s *retry.Store, keys objectstore.Keys) {
		start := time.Now()
		for _, final := range []error{
			objectstore.ErrDenied, objectstore.ErrNoBucket, objectstore.ErrClockSkew, objectstore.ErrUnsupported,
		} {
			inner.Script(fake.Rule{Fault: fake.Refuse, Err: final}, fake.Rule{Fault: fake.Lose, Err: final})
			_, err := s.Put(t.Context(), keys.Journal(1), objectstore.Body{}, objectstore.IfAbsent())
			_, err2 := s.Get(t.Context(), keys.Journal(0), objectstore.Range{})
			if !errors.Is(err, final) || !errors.Is(err2, final) {
				t.Error(err, err2)
			}
		}
		_, err := s.Get(t.Context(), keys.Journal(9), objectstore.Range{})
		_, err2 := s.Get(t.Context(), keys.Journal(0), objectstore.Range{Offset: 4})
		_, err3 := s.Put(t.Context(), keys.Journal(0), objectstore.Body{}, objectstore.IfAbsent())
		if !errors.Is(err, objectstore.ErrNotFound) || !errors.Is(err2, objectstore.ErrRange) || !errors.Is(err3, objectstore.ErrLost) {
			t.Error(err, err2, err3)
		}
		if n := len(inner.Requests()); n != 11 || time.Since(start) != 0 {
			t.Errorf("%d requests in %v, want 11 at once", n, time.Since(start))
		}
	})
}

func TestAListThatHasYieldedIsNotRepeated(t *testing.T) {
	run(t, retry.Default(), func(t *testing.T, inner *fake.Store, s *retry.Store, keys objectstore.Keys) {
		for i := range uint64(3) {
			if _, err := s.Put(t.Context(), keys.Journal(i+1), objectstore.Body{}, objectstore.IfAbsent()); err != nil {
				t.Fatal(err)
			}
		}
		inner.ResetRequests()
		inner.Script(fake.Rule{Op: fake.List, Fault: fake.Cut})
		var n int
		var last error
		for _, err := range s.List(t.Context(), keys.JournalPrefix(), "") {
			if last = err; err == nil {
				n++
			}
		}
		if n != 2 || !errors.Is(last, io.ErrUnexpectedEOF) || len(inner.Requests()) != 1 {
			t.Fatal(n, last, inner.Requests())
		}
		for range s.List(t.Context(), keys.JournalPrefix(), "") {
			break
		}
	})
}

func TestWaitsDoubleAndAttemptsEnd(t *testing.T) {
	config := retry.Config{Attempts: 6, Base: time.Second, Max: 4 * time.Second, Budget: 1000}
	run(t, config, func(t *testing.T, inner *fake.Store, s *retry.Store, keys objectstore.Keys) {
		inner.Script(fake.Rule{Count: -1, Fault: fake.Lose})
		var at []time.Duration
		start := time.Now()
		inner.OnAnswer(func(fake.Request) { at = append(at, time.Since(start)) })
		for range 100 {
			at, start = nil, time.Now()
			if _, err := s.Get(t.Context(), keys.Journal(0), objectstore.Range{}); !errors.Is(err, fake.ErrInjected) {
				t.Fatal(err)
			}
			if len(at) != 6 {
				t.Fatalf("%d attempts", len(at))
			}
			for i, bound := range []time.Duration{1, 2, 4, 4, 4} {
				if wait := at[i+1] - at[i]; wait <= 0 || wait > bound*time.Second {
					t.Fatalf("wait %d is %v, want up to %d s", i+1, wait, bound)
				}
			}
		}
	})
}

func TestTheBudgetEndsRetriesInAnOutage(t *testing.T) {
	config := retry.Config{Attempts: 4, Base: time.Millisecond, Max: time.Millisecond, Budget: 10, Earn: 0.5}
	run(t, config, func(t *testing.T, inner *fake.Store, s *retry.Store, keys objectstore.Keys) {
		get := func() { _, _ = s.Get(t.Context(), keys.Journal(0), objectstore.Range{}) }
		inner.Script(fake.Rule{Count: -1, Fault: fake.Lose})
		for range 100 {
			get()
		}
		if n := len(inner.Requests()); n != 110 {
			t.Fatalf("%d requests for 100 calls with a budget of 10", n)
		}
		inner.ClearScript()
		for range 4 {
			get() // earns two tokens
		}
		inner.ResetRequests()
		inner.Script(fake.Rule{Count: -1, Fault: fake.Lose})
		for range 10 {
			get()
		}
		if n := len(inner.Requests()); n != 12 {
			t.Fatalf("%d requests for 10 calls with two tokens", n)
		}
	})
}

func TestTheContextEndsTheWait(t *testing.T) {
	config := retry.Config{Attempts: 100, Base: time.Hour, Max: time.Hour, Budget: 100}
	run(t, config, func(t *testing.T, inner *fake.Store, s *retry.Store, keys objectstore.Keys) {
		inner.Script(fake.Rule{Count: -1, Fault: fake.Refuse, Err: objectstore.ErrThrottled})
		ctx, cancel := context.WithTimeout(t.Context(), time.Microsecond)
		defer cancel()
		_, err := s.Put(ctx, keys.Journal(1), objectstore.Body{}, objectstore.IfAbsent())
		for _, want := range []error{context.DeadlineExceeded, objectstore.ErrThrottled, objectstore.ErrNotApplied} {
			if !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	if err := retry.Default().Validate(); err != nil {
		t.Error(err)
	}
	for _, break_ := range []func(*retry.Config){
		func(c *retry.Config) { c.Attempts = 0 }, func(c *retry.Config) { c.Base = 0 },
		func(c *retry.Config) { c.Max = c.Base - 1 }, func(c *retry.Config) { c.Budget = -1 }, func(c *retry.Config) { c.Earn = -1 },
	} {
		c := retry.Default()
		break_(&c)
		if c.Validate() == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}
