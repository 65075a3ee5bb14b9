package limit_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/limit"
	"github.com/leat-stream/leat/objectstore/mem"
	"github.com/leat-stream/leat/objectstore/storetest"
	"github.com/leat-stream/leat/objectstore/storetest/fake"
)

func TestItIsAStore(t *testing.T) {
	one := limit.Kind{Concurrent: 1, PerSecond: 1e6, Burst: 1000}
	storetest.Run(t, func(*testing.T) objectstore.Store {
		return limit.New(mem.New(), limit.Config{Put: one, Get: one, Delete: one, List: one})
	})
}

func newFake(t *testing.T) (*fake.Store, objectstore.Keys) {
	t.Helper()
	keys, err := objectstore.NewKeys("c")
	if err != nil {
		t.Fatal(err)
	}
	return fake.New(keys), keys
}

func TestNoMoreAtOnceThanAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner, keys := newFake(t)
		inner.Script(fake.Rule{Count: -1, Fault: fake.Block})
		s := limit.New(inner, limit.Config{Put: limit.Kind{Concurrent: 2}})
		done := make(chan error, 5)
		for i := range uint64(5) {
			go func() {
				_, err := s.Put(t.Context(), keys.Journal(i), objectstore.Body{}, objectstore.IfAbsent())
				done <- err
			}()
		}
		for sent := 2; sent <= 5; sent++ {
			synctest.Wait()
			if n := len(inner.Requests()); n != sent {
				t.Fatalf("%d requests, want %d", n, sent)
			}
			inner.Pending()[0].Release()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		inner.Pending()[0].Release()
		if err := <-done; err != nil || len(inner.Requests()) != 5 {
			t.Fatal(err, inner.Requests())
		}
	})
}

func TestAGetHoldsItsPlaceUntilItIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner, keys := newFake(t)
		s := limit.New(inner, limit.Config{Get: limit.Kind{Concurrent: 1}})
		if _, err := s.Put(t.Context(), keys.Head(), objectstore.Body{}, objectstore.IfAbsent()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), keys.Journal(0), objectstore.Range{}); !errors.Is(err, objectstore.ErrNotFound) {
			t.Fatal(err) // gives its place back
		}
		o, err := s.Get(t.Context(), keys.Head(), objectstore.Range{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = s.Get(ctx, keys.Head(), objectstore.Range{})
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, objectstore.ErrNotApplied) {
			t.Fatal(err)
		}
		if err := errors.Join(o.Reader.Close(), o.Reader.Close()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if o, err = s.Get(t.Context(), keys.Head(), objectstore.Range{}); err != nil {
				t.Fatal(err)
			}
			_ = o.Reader.Close()
		}
	})
}

func TestNoMorePerSecondThanAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner, keys := newFake(t)
		s := limit.New(inner, limit.Config{Delete: limit.Kind{PerSecond: 10, Burst: 3}})
		if _, err := s.Put(t.Context(), keys.Journal(0), objectstore.Body{}, objectstore.IfAbsent()); err != nil {
			t.Fatal(err)
		}
		remove := func(ctx context.Context) error { return s.Delete(ctx, keys.Journal(0)) }
		for range 2 { // a burst is possible again after a pause
			start := time.Now()
			for i := range 13 {
				if err := remove(t.Context()); err != nil {
					t.Fatal(err)
				}
				if want := time.Duration(max(0, i-2)) * 100 * time.Millisecond; time.Since(start) != want {
					t.Fatalf("request %d after %v, want %v", i, time.Since(start), want)
				}
			}
			time.Sleep(time.Second)
		}
		for range 3 {
			_ = remove(t.Context())
		}
		n := len(inner.Requests())
		ctx, cancel := context.WithTimeout(t.Context(), 99*time.Millisecond)
		defer cancel()
		start := time.Now()
		if err := remove(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, objectstore.ErrNotApplied) {
			t.Fatal(err)
		}
		if time.Since(start) != 0 || len(inner.Requests()) != n {
			t.Fatal("it waited for a turn that comes too late, or sent the request")
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	if err := limit.Default().Validate(); err != nil {
		t.Error(err)
	}
	for _, c := range []limit.Config{
		{Put: limit.Kind{Concurrent: -1}}, {Get: limit.Kind{PerSecond: -1}}, {List: limit.Kind{Burst: -1}},
	} {
		if c.Validate() == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}
