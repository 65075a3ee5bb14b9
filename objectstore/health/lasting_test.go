package health_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/leat-stream/leat/objectstore"
)

func throttle(context.Context, string, int64) error {
	return fmt.Errorf("slow down: %w", objectstore.ErrThrottled)
}

// TestAStoreThatRefusesEverybodyForALongTimeIsNotStuck: it would be so for every agent, one after another.
func TestAStoreThatRefusesEverybodyForALongTimeIsNotStuck(t *testing.T) {
	for name, is := range map[string]mood{"all": throttle, "only writes": only("put", throttle), "only reads": only("get", throttle)} {
		t.Run(name, func(t *testing.T) {
			within(t, func(b *bed) {
				b.inner.set(is)
				changed := b.Changed()
				b.keep(10*time.Minute, 100*time.Millisecond, func() { _, _ = b.put(1), b.get() })
				select {
				case <-changed:
					t.Error("it counted as stuck")
				default:
				}
				if n := b.probed(); n > 0 {
					t.Errorf("%v probes", n)
				}
			})
		})
	}
}

// TestAStuckStoreThatThrottlesIsBack: what it refuses now it refuses to others as well.
func TestAStuckStoreThatThrottlesIsBack(t *testing.T) {
	within(t, func(b *bed) {
		b.inner.set(refuse)
		b.keep(4*time.Second, 100*time.Millisecond, func() { _ = b.put(1) })
		b.stuckWithin(time.Second, true)
		b.inner.set(throttle)
		b.stuckWithin(6*time.Second, false)
		b.inner.set(nil)
	})
}

// TestAStoreThatTakesSecondsForEverythingIsStuckAtMostOnce: until it is known to be so slow.
func TestAStoreThatTakesSecondsForEverythingIsStuckAtMostOnce(t *testing.T) {
	within(t, func(b *bed) {
		slow := func(ctx context.Context, op string, size int64) error {
			select {
			case <-time.After(4 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		b.inner.set(slow)
		ctx, stop := context.WithCancel(b.t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			for ctx.Err() == nil { // one after another: nothing is answered for 4 s each time
				_, _ = b.put(1), b.get()
			}
		})
		b.stuckWithin(10*time.Second, true)
		if took := b.stuckWithin(time.Minute, false); took > 20*time.Second {
			t.Errorf("known to be slow after %v", took)
		}
		before, changed := b.probed(), b.Changed()
		time.Sleep(time.Hour)
		select {
		case <-changed:
			t.Error("stuck once more")
		default:
		}
		if n := b.probed() - before; n > 3600/11 { // 3 s of patience, 8 s of probe
			t.Errorf("%v probes in an hour", n)
		}
		stop()
		wg.Wait()
		b.inner.set(refuse) // it is noticed all the same when it goes away, and soon once it is fast again
		b.keep(10*time.Second, 100*time.Millisecond, func() { _ = b.put(1) })
		b.stuckWithin(time.Second, true)
		b.inner.set(nil)
		b.stuckWithin(10*time.Second, false)
		b.inner.set(swallow)
		go func() { _ = b.put(1) }()
		if took := b.stuckWithin(time.Minute, true); took > 5500*time.Millisecond {
			t.Errorf("noticed after %v", took)
		}
		b.inner.set(nil)
	})
}

// keeping is a store that does not delete for a while.
func (m *moody) keeping(yes bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keeps = yes
}

func (m *moody) Delete(ctx context.Context, keys ...string) error {
	m.mu.Lock()
	keeps := m.keeps
	m.mu.Unlock()
	if keeps {
		return errors.New("not deleted")
	}
	return m.Store.Delete(ctx, keys...)
}

// outage has the store be stuck and come back.
func (b *bed) outage() {
	b.t.Helper()
	b.inner.set(refuse)
	b.keep(4*time.Second, 100*time.Millisecond, func() { _ = b.put(1) })
	b.stuckWithin(time.Second, true)
	b.inner.set(nil)
	b.stuckWithin(10*time.Second, false)
	<-time.After(10 * time.Second)
}

// TestWhatWasNotDeletedIsDeletedLater: but for what exceeds the bound.
func TestWhatWasNotDeletedIsDeletedLater(t *testing.T) {
	within(t, func(b *bed) {
		b.inner.keeping(true)
		for range 3 {
			b.outage()
		}
		if left := b.left(); len(left) != 3 {
			t.Fatalf("left: %v", left)
		}
		b.inner.keeping(false)
		b.outage()
		if left := b.left(); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
		b.inner.keeping(true)
		for range 20 {
			b.outage()
		}
		b.inner.keeping(false)
		b.outage()
		if left := b.left(); len(left) != 4 {
			t.Errorf("left: %v", left)
		}
	})
}

// TestAProbeThatLandsLateIsDeletedByTheNext: its name was created by a later attempt, and deleted, before it landed.
func TestAProbeThatLandsLateIsDeletedByTheNext(t *testing.T) {
	within(t, func(b *bed) {
		b.outage() // every probe of it had the name that the last one made
		late := b.keys.Probe([16]byte{1})
		if _, err := b.inner.Store.Put(b.t.Context(), late, objectstore.NewBody([]byte("probe")), objectstore.IfAbsent()); err != nil {
			t.Fatal(err)
		}
		b.outage()
		if left := b.left(); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
}
