package health_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/health"
	"github.com/leat-stream/leat/objectstore/mem"
	"github.com/leat-stream/leat/objectstore/storetest"
)

func TestItIsAStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) objectstore.Store { return health.New(mem.New(), health.Default(), nil, nil) })
}

// mood is what a moody store does to a request: an error, or nil to let it pass. It may wait.
type mood func(ctx context.Context, op string, size int64) error

// moody is a store in memory that counts requests.
type moody struct {
	*mem.Store
	mu    sync.Mutex
	is    mood
	lost  bool // puts are carried out, and their answers lost
	keeps bool // nothing is deleted
	count map[string]int
}

func (m *moody) set(is mood) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.is = is
}

func (m *moody) lose(answers bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lost = answers
}

func (m *moody) meet(ctx context.Context, op string, size int64) error {
	m.mu.Lock()
	m.count[op]++
	is := m.is
	m.mu.Unlock()
	if is == nil {
		return nil
	}
	return is(ctx, op, size)
}

func (m *moody) requests() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.count["get"] + m.count["put"]
}

func (m *moody) Get(ctx context.Context, key string, r objectstore.Range) (objectstore.Object, error) {
	if err := m.meet(ctx, "get", 0); err != nil {
		return objectstore.Object{}, err
	}
	return m.Store.Get(ctx, key, r)
}

func (m *moody) Put(ctx context.Context, key string, body objectstore.Body, c objectstore.Condition) (objectstore.Version, error) {
	if err := m.meet(ctx, "put", body.Size()); err != nil {
		return "", err
	}
	v, err := m.Store.Put(ctx, key, body, c)
	m.mu.Lock()
	lost := m.lost
	m.mu.Unlock()
	if lost && err == nil {
		return "", errAnswerLost
	}
	return v, err
}

// bed is a watched moody store in virtual time.
type bed struct {
	*health.Store
	t     *testing.T
	inner *moody
	keys  objectstore.Keys
	reg   *prometheus.Registry
	began time.Time
	n     atomic.Uint64
}

func within(t *testing.T, run func(b *bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		keys, err := objectstore.NewKeys("c")
		if err != nil {
			t.Fatal(err)
		}
		b := &bed{t: t, inner: &moody{Store: mem.New(), count: map[string]int{}}, keys: keys, reg: prometheus.NewRegistry(), began: time.Now()}
		n := byte(0)
		b.Store = health.New(b.inner, health.Default(), func() string { n++; return keys.Probe([16]byte{n}) }, b.reg)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { b.Run(ctx) })
		defer wg.Wait()
		defer stop()
		run(b)
	})
}

func (b *bed) put(size int) error {
	ctx, stop := context.WithTimeout(b.t.Context(), 10*time.Second)
	defer stop()
	_, err := b.Put(ctx, b.keys.Journal(b.n.Add(1)), objectstore.NewBody(make([]byte, size)), objectstore.IfAbsent())
	return err
}

func (b *bed) get() error {
	ctx, stop := context.WithTimeout(b.t.Context(), 10*time.Second)
	defer stop()
	o, err := b.Get(ctx, b.keys.Head(), objectstore.Range{})
	if err == nil {
		_, _ = io.ReadAll(o.Reader)
		err = o.Reader.Close()
	}
	return err
}

// keep does it again and again for a while.
func (b *bed) keep(d, pause time.Duration, do func()) {
	for end := time.Now().Add(d); time.Now().Before(end); <-time.After(pause) {
		do()
	}
}

// stuckWithin waits for the store to become stuck or well again, and answers when it did.
func (b *bed) stuckWithin(limit time.Duration, stuck bool) time.Duration {
	b.t.Helper()
	began, timer := time.Now(), time.NewTimer(limit)
	defer timer.Stop()
	for {
		changed := b.Changed()
		if (b.Stuck() != nil) == stuck {
			return time.Since(began)
		}
		select {
		case <-changed:
		case <-timer.C:
			b.t.Fatalf("stuck is %v after %v", b.Stuck(), limit)
		}
	}
}

func (b *bed) probed() float64 { return b.value("leat_objectstore_probes_total") }

// value is that of a counter or gauge.
func (b *bed) value(name string) float64 {
	b.t.Helper()
	families, err := b.reg.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue() + f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	return -1
}

// left lists what probes have left.
func (b *bed) left() (keys []string) {
	for info, err := range b.inner.List(b.t.Context(), "c/probe/", "") {
		if err != nil {
			b.t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

var (
	errAway       = errors.New("connection refused")
	errAnswerLost = errors.New("answer lost")
)

func refuse(context.Context, string, int64) error { return errAway }

// swallow never answers.
func swallow(ctx context.Context, _ string, _ int64) error {
	<-ctx.Done()
	return ctx.Err()
}

func only(op string, do mood) mood {
	return func(ctx context.Context, of string, size int64) error {
		if of == op {
			return do(ctx, of, size)
		}
		return nil
	}
}

func TestAStoreThatNobodyAsksIsNotAskedEither(t *testing.T) {
	within(t, func(b *bed) {
		b.inner.set(refuse)
		time.Sleep(24 * time.Hour)
		_ = b.put(1) // one failure that nobody follows up
		time.Sleep(24 * time.Hour)
		_ = b.put(1)
		time.Sleep(24 * time.Hour)
		if n := b.inner.requests(); n != 2 || b.Stuck() != nil {
			t.Errorf("%d requests, stuck: %v", n, b.Stuck())
		}
	})
}

func TestAStoreThatAnswersIsNotProbed(t *testing.T) {
	within(t, func(b *bed) {
		some := 0
		b.inner.set(func(_ context.Context, op string, _ int64) error {
			if some++; some%3 > 0 { // it is overloaded and refuses most
				return objectstore.ErrThrottled
			}
			return nil
		})
		b.keep(time.Minute, 500*time.Millisecond, func() { _ = b.put(1) })
		b.inner.set(nil)
		b.keep(time.Minute, 10*time.Second, func() { _, _ = b.put(1), b.get() }) // 404 is an answer
		if n := b.probed(); n != 0 || b.Stuck() != nil {
			t.Errorf("%v probes, stuck: %v", n, b.Stuck())
		}
	})
}

func TestItIsStuckAndComesBack(t *testing.T) {
	for name, c := range map[string]struct {
		is    mood
		most  time.Duration // until it is noticed
		reads bool          // what is asked for
	}{
		"refused":              {refuse, 3500 * time.Millisecond, false},
		"swallowed":            {swallow, 5500 * time.Millisecond, false},
		"only writes refused":  {only("put", refuse), 3500 * time.Millisecond, false},
		"only reads refused":   {only("get", refuse), 3500 * time.Millisecond, true},
		"only writes answered": {only("get", swallow), 5500 * time.Millisecond, true},
		"forbidden":            {only("put", func(context.Context, string, int64) error { return objectstore.ErrDenied }), 3500 * time.Millisecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(b *bed) {
				b.inner.set(c.is)
				ctx, stop := context.WithCancel(b.t.Context())
				var wg sync.WaitGroup
				wg.Go(func() {
					for ctx.Err() == nil {
						if c.reads {
							_ = b.get()
						} else {
							_ = b.put(100)
							_ = b.get() // whether or not these are answered
						}
						time.Sleep(200 * time.Millisecond)
					}
				})
				if took := b.stuckWithin(time.Minute, true); took < 3*time.Second || took > c.most {
					t.Errorf("noticed after %v", took)
				}
				if v := b.value("leat_objectstore_stuck"); v != 1 {
					t.Errorf("the gauge says %v", v)
				}
				stop()
				wg.Wait()
				before := b.probed()
				time.Sleep(time.Minute) // nobody asks for anything: probes alone tell
				if n := b.probed() - before; n < 8 || n > 16 {
					t.Errorf("%v probes in a minute", n)
				}
				b.inner.set(nil)
				if took := b.stuckWithin(time.Minute, false); took > 7*time.Second { // the one that is under way may yet be swallowed
					t.Errorf("back after %v", took)
				}
				before = b.probed()
				time.Sleep(time.Hour)
				if left := b.left(); b.probed() != before || len(left) > 0 {
					t.Errorf("probed on: %v; left: %v", b.probed()-before, left)
				}
			})
		})
	}
}

// TestSlowUploadsOnAThinLineAreNotStuck: no object gets through in its time, and still this agent is no worse off than others.
func TestSlowUploadsOnAThinLineAreNotStuck(t *testing.T) {
	within(t, func(b *bed) {
		b.inner.set(func(ctx context.Context, op string, size int64) error {
			if size > 1000 {
				return swallow(ctx, op, size)
			}
			time.Sleep(1500 * time.Millisecond)
			return nil
		})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { b.keep(time.Minute, 50*time.Millisecond, func() { _ = b.put(8 << 20) }) })
		}
		changed := b.Changed()
		wg.Wait()
		select {
		case <-changed:
			t.Error("it counted as stuck")
		default:
		}
		if n := b.probed(); n == 0 || n > 21 {
			t.Errorf("%v probes in a minute", n)
		}
	})
}

func TestASignOfLifeHurriesTheNextProbe(t *testing.T) {
	for name, sign := range map[string]func(*bed){
		"a request": func(b *bed) { _ = b.get() },
		"a hint":    func(b *bed) { b.Hint() },
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(b *bed) {
				b.inner.set(refuse)
				b.keep(5*time.Second, 100*time.Millisecond, func() { _ = b.put(1) })
				b.stuckWithin(time.Second, true)
				time.Sleep(time.Minute)
				for before := b.probed(); b.probed() == before; { // just after a probe, the next is five seconds away
					time.Sleep(10 * time.Millisecond)
				}
				b.inner.set(nil)
				time.Sleep(300 * time.Millisecond)
				sign(b)
				if took := b.stuckWithin(time.Minute, false); took > 20*time.Millisecond {
					t.Errorf("back after %v", took)
				}
			})
		})
	}
}

// TestAProbeWhoseAnswerGotLostIsNoTrouble: the object is there, so that its name cannot be used again, and is deleted.
func TestAProbeWhoseAnswerGotLostIsNoTrouble(t *testing.T) {
	within(t, func(b *bed) {
		b.inner.lose(true)
		b.keep(4*time.Second, 100*time.Millisecond, func() { _ = b.put(1) })
		b.stuckWithin(time.Second, true)
		time.Sleep(2 * time.Second)
		b.inner.lose(false)
		b.stuckWithin(10*time.Second, false)
		time.Sleep(time.Second)
		if left := b.left(); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
}

func TestConfig(t *testing.T) {
	if err := health.Default().Validate(); err != nil {
		t.Error(err)
	}
	for _, spoil := range []func(*health.Config){
		func(c *health.Config) { c.Patience = 0 }, func(c *health.Config) { c.Deadline = -1 }, func(c *health.Config) { c.Again = 0 },
		func(c *health.Config) { c.AgainMax = c.Again - 1 },
	} {
		c := health.Default()
		spoil(&c)
		if c.Validate() == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}
