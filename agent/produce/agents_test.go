package produce

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore/storetest/fake"
)

// TestProducersSpreadOverAgents lets idempotent producers have their batches at three agents at once, in any order and now and then
// twice, while replicas lag, fresh looks fail, objects cannot be stored, places to wait run out, and an agent drains and another joins.
// Every record is there once and in order, and no client is ever told that what comes next for it is out of order.
func TestProducersSpreadOverAgents(t *testing.T) {
	seeds := 20
	if testing.Short() {
		seeds = 4
	}
	early, missing := 0, 0
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, m := spread(t, uint64(seed))
				early, missing = early+e, missing+m
			})
		})
	}
	t.Logf("%d batches were early, %d refused as out of order", early, missing)
	if early == 0 || missing == 0 {
		t.Error("the test lost its teeth")
	}
}

// agents are the write paths that clients choose from.
type agents struct {
	mu  sync.Mutex
	rng *rand.Rand
	all []*member

	early, missing int // of all that ever were
}

type member struct {
	*Producer
	node *node
	stop func() error
}

func (a *agents) draw(n int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rng.IntN(n)
}

func (a *agents) any() *member {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all[a.rng.IntN(len(a.all))]
}

// replace lets a new agent take a random one's place, which then drains and ends.
func (a *agents) replace(t *testing.T, w *world) {
	n := w.join()
	fresh := &member{node: n, Producer: n.producer(func(c *Config) {
		c.FlushInterval, c.FlushBytes, c.PredecessorWait = time.Duration(1+a.draw(20))*time.Millisecond, 1<<10, 300*time.Millisecond
		c.UploadAttempt, c.UploadPatience, c.MaxBuffered = 300*time.Millisecond, time.Second, 8<<10
	})}
	fresh.stop = run(t, fresh.Producer)
	a.mu.Lock()
	var old *member
	if at := a.rng.IntN(3); len(a.all) < 3 {
		a.all = append(a.all, fresh)
	} else {
		old, a.all[at] = a.all[at], fresh
	}
	a.mu.Unlock()
	if old != nil {
		a.retire(t, old)
	}
}

func (a *agents) retire(t *testing.T, old *member) {
	old.node.lag(false)
	if err := old.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	if err := old.stop(); err != nil {
		t.Error(err)
	}
	checkEmpty(t, old.Producer)
	a.early += int(old.buf.lobby.waited.Load())
}

// spread sends a client's next batches to random agents, in random order, and notes which were acknowledged.
func (c *client) spread(ctx context.Context, t *testing.T, a *agents) {
	first := len(c.acked)
	window := min(1+a.draw(5), c.total-first)
	flight := make([][]*Pending, window)
	tries := make([]int, 0, 2*window)
	for n := range window {
		for range 1 + a.draw(8)/7 {
			tries = append(tries, n)
		}
	}
	a.mu.Lock()
	a.rng.Shuffle(len(tries), func(i, j int) { tries[i], tries[j] = tries[j], tries[i] })
	a.mu.Unlock()
	for _, n := range tries {
		pending, err := a.any().Accept(ctx, []Part{part(c.tp, c.bytes(t, first+n))})
		if err == nil {
			flight[n] = append(flight[n], pending)
		}
	}
	refused := false
	for n, copies := range flight {
		base := int64(-1)
		for _, pending := range copies {
			got := outcome(t, pending)
			switch {
			case got.Err == nil && got.Code == state.CodeOK && (base < 0 || base == got.Base):
				base = got.Base
			case got.Err == nil && got.Code == state.CodeOK:
				t.Errorf("producer %d: batch %d is at %d and at %d", c.id, first+n, base, got.Base)
			case got.Err == nil && n == 0:
				t.Errorf("producer %d: the next batch, %d, got %s", c.id, first, got.Code)
			case got.Err == nil && got.Code != state.CodeOutOfOrderSequence && got.Code != state.CodeUnknownProducer:
				t.Errorf("producer %d: batch %d got %s", c.id, first+n, got.Code)
			case got.Err == nil:
				a.mu.Lock()
				a.missing++
				a.mu.Unlock()
			case !errors.Is(got.Err, ErrStorage) && !errors.Is(got.Err, metadata.ErrNotApplied):
				t.Errorf("producer %d: batch %d got %v", c.id, first+n, got.Err)
			}
		}
		switch {
		case base >= 0 && refused:
			t.Errorf("producer %d: batch %d was acknowledged, one before it was not", c.id, first+n)
		case base >= 0:
			c.acked = append(c.acked, base)
		default:
			refused = true
		}
	}
}

func spread(t *testing.T, seed uint64) (early, missing int) {
	w := newWorld(t)
	a := &agents{rng: rand.New(rand.NewPCG(seed, 2))}
	w.store.OnRequest(func(fake.Request) fake.Fault {
		faults := []fake.Fault{fake.Refuse, fake.Lose, fake.LoseAnswer, fake.Late, fake.BlockAnswer, fake.Block}
		if n := a.draw(5 * len(faults)); n < len(faults) {
			return faults[n]
		}
		return fake.None
	})
	for range 3 {
		a.replace(t, w)
	}
	var clients []*client
	for i := range 6 {
		clients = append(clients, &client{id: int64(i), tp: []state.TopicPartition{a0, a1, b0}[i%3], total: 40})
	}
	ctx, end := context.WithCancel(t.Context())
	var nemesis sync.WaitGroup
	nemesis.Go(func() {
		for ctx.Err() == nil {
			select {
			case <-time.After(time.Duration(1+a.draw(100)) * time.Millisecond):
			case <-ctx.Done():
				return
			}
			victim := a.any().node
			switch a.draw(8) {
			case 0:
				a.replace(t, w)
			case 1:
				victim.mu.Lock()
				victim.stale = metadata.ErrUnavailable
				victim.mu.Unlock()
			case 2, 3:
				victim.lag(true)
			default:
				victim.mu.Lock()
				victim.stale = nil
				victim.mu.Unlock()
				victim.lag(false)
			}
		}
	})
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			for round := 0; len(c.acked) < c.total && !t.Failed(); round++ {
				if round > 5000 {
					t.Errorf("producer %d: %d of %d batches acknowledged", c.id, len(c.acked), c.total)
				}
				c.spread(t.Context(), t, a)
				<-time.After(time.Duration(a.draw(20)) * time.Millisecond) // the back-off of the client, in virtual time
			}
		})
	}
	wg.Wait()
	end()
	nemesis.Wait()
	w.store.OnRequest(nil)
	for _, m := range a.all {
		a.retire(t, m)
	}
	for _, late := range w.store.Pending() {
		late.Drop()
	}
	check(t, w, clients)
	return a.early, a.missing
}
