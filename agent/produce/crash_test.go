package produce

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/leat-stream/leat/agent/batch"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore/storetest/fake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client is an idempotent producer as the Java client is one: some batches in flight, retried in order from the first that was not
// acknowledged, with the same sequences, whatever the error was.
type client struct {
	id    int64
	tp    state.TopicPartition
	total int
	acked []int64 // base offsets, in order
}

func (c *client) bytes(t testing.TB, n int) []byte {
	o := batch.Options{Producer: &batch.Producer{ID: c.id, BaseSequence: int32(2 * n)}}
	return records(t, fmt.Sprintf("%d/%d", c.id, n), 2, o)
}

// send has up to window batches in flight once and notes those that were acknowledged.
func (c *client) send(ctx context.Context, t testing.TB, p *Producer, window int) {
	var flight []*Pending
	for n := len(c.acked); n < min(len(c.acked)+window, c.total); n++ {
		pending, err := p.Accept(ctx, []Part{part(c.tp, c.bytes(t, n))})
		if err != nil {
			break
		}
		flight = append(flight, pending)
	}
	refused := false
	for _, pending := range flight {
		got, err := pending.Wait(ctx)
		if err != nil {
			return
		}
		ok := got[0].Err == nil && got[0].Code == state.CodeOK
		switch {
		case ok && refused:
			t.Errorf("producer %d: a batch was acknowledged after one before it was refused", c.id)
		case ok:
			c.acked = append(c.acked, got[0].Base)
		default:
			refused = true
		}
	}
}

// check compares what is stored with what was acknowledged: every batch once, at its offset, in order.
func check(t testing.TB, w *world, clients []*client) {
	t.Helper()
	for _, tp := range []state.TopicPartition{a0, a1, b0} {
		stored := w.read(tp)
		want := map[int64]string{}
		for _, c := range clients {
			if c.tp != tp {
				continue
			}
			last := int64(-1)
			for n, base := range c.acked {
				if base <= last {
					t.Errorf("producer %d: batch %d is at %d, behind %d", c.id, n, base, last)
				}
				last = base
				for i := range int64(2) {
					want[base+i] = fmt.Sprintf("%d/%d/%d", c.id, n, i)
				}
			}
		}
		if len(stored) != len(want) {
			t.Errorf("%v holds %d records, %d were acknowledged", tp, len(stored), len(want))
		}
		for offset, value := range want {
			if stored[offset] != value {
				t.Errorf("%v at %d: %q was acknowledged, %q is there", tp, offset, value, stored[offset])
			}
		}
	}
}

// TestCrashBetweenEveryTwoSteps kills the agent before and after each PUT and each commit: what was acknowledged is there, and
// a client that retries at the next agent has every batch there once.
func TestCrashBetweenEveryTwoSteps(t *testing.T) {
	for step := 0; ; step++ {
		crashed := false
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { crashed = crashAt(t, step) })
		})
		if !crashed {
			if step < 8 {
				t.Errorf("only %d steps", step)
			}
			return
		}
	}
}

func crashAt(t *testing.T, step int) (crashed bool) {
	w := newWorld(t)
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	steps := 0
	tick := func() bool { // whether the agent is dead from here on
		w.mu.Lock()
		defer w.mu.Unlock()
		if steps == step {
			w.dead, crashed = true, true
			kill()
		}
		steps++
		return w.dead
	}
	w.store.OnRequest(func(fake.Request) fake.Fault {
		if tick() {
			return fake.Late // it may still land
		}
		return fake.None
	})
	w.store.OnAnswer(func(fake.Request) { tick() })
	w.before = func(uint64, []state.Op) error {
		if tick() {
			return errCrashed
		}
		return nil
	}
	w.after = func(uint64, []state.Op, []state.Result) error {
		w.mu.Unlock() // which DoObjects holds
		defer w.mu.Lock()
		if tick() {
			return errCrashed
		}
		return nil
	}
	clients := []*client{{id: 1, tp: a0, total: 4}, {id: 2, tp: a1, total: 2}}
	p := w.producer(func(c *Config) { c.FlushInterval = time.Millisecond })
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	for range 2 {
		for _, c := range clients {
			c.send(ctx, t, p, 2)
		}
	}
	kill()
	<-ended

	w.store.OnRequest(nil)
	w.store.OnAnswer(nil)
	w.before, w.after = nil, nil
	for i, late := range w.store.Pending() {
		if i%2 == step%2 {
			_ = late.Land()
		}
		late.Drop()
	}
	w.reopen()
	next := w.producer()
	stop := run(t, next)
	for _, c := range clients {
		for range 10 {
			c.send(t.Context(), t, next, 3)
		}
		if len(c.acked) != c.total {
			t.Errorf("producer %d: %d of %d batches acknowledged", c.id, len(c.acked), c.total)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	check(t, w, clients)
	return crashed
}

// TestRandomFaultsLoseAndDoubleNothing lets many producers send through random failures of PUTs, and the agent die now and then.
func TestRandomFaultsLoseAndDoubleNothing(t *testing.T) {
	seeds := 12
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { randomFaults(t, uint64(seed)) })
		})
	}
}

func randomFaults(t *testing.T, seed uint64) {
	w := newWorld(t)
	rng := rand.New(rand.NewPCG(seed, 1))
	var mu sync.Mutex
	draw := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rng.IntN(n)
	}
	w.store.OnRequest(func(fake.Request) fake.Fault {
		faults := []fake.Fault{fake.Refuse, fake.Lose, fake.LoseAnswer, fake.Late, fake.BlockAnswer, fake.Block}
		if n := draw(3 * len(faults)); n < len(faults) {
			return faults[n]
		}
		return fake.None
	})
	var clients []*client
	for i := range 9 {
		clients = append(clients, &client{id: int64(i), tp: []state.TopicPartition{a0, a1, b0}[i%3], total: 30})
	}
	left := func() (n int) {
		for _, c := range clients {
			n += c.total - len(c.acked)
		}
		return n
	}
	for life := 0; left() > 0; life++ {
		if life > 200 {
			t.Fatalf("%d batches are still not acknowledged", left())
		}
		p := w.producer(func(c *Config) {
			c.FlushInterval, c.FlushBytes, c.Uploads = time.Duration(1+draw(20))*time.Millisecond, 1<<10, 1+draw(4)
			c.UploadAttempt, c.UploadPatience, c.MaxBuffered = 300*time.Millisecond, time.Second, 2<<10
		})
		ctx, kill := context.WithTimeout(t.Context(), time.Duration(1+draw(4000))*time.Millisecond)
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		var wg sync.WaitGroup
		for _, c := range clients {
			wg.Go(func() {
				for ctx.Err() == nil && len(c.acked) < c.total {
					c.send(ctx, t, p, 1+draw(5))
				}
			})
		}
		wg.Wait()
		kill()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if held := p.buf.heldBytes(); held != 0 {
			t.Fatalf("%v bytes are held after the end", held)
		}
		for _, late := range w.store.Pending() {
			if draw(2) == 0 {
				_ = late.Land()
			}
			late.Drop()
		}
		w.reopen()
	}
	w.store.OnRequest(nil)
	check(t, w, clients)
	if bad := w.store.Violations(); len(bad) > 0 {
		t.Error(bad)
	}
}
