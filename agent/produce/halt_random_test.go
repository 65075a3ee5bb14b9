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

	"github.com/leat-stream/leat/objectstore"
)

// tardy is a bucket whose every PUT and answer takes a while, and which carries some PUTs out after their caller has gone. mu guards rng.
type tardy struct {
	objectstore.Store
	late sync.WaitGroup
	mu   sync.Mutex
	rng  *rand.Rand
}

func (s *tardy) draw(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.IntN(n)
}

func (s *tardy) pause(ctx context.Context) error {
	select {
	case <-time.After(time.Duration(s.draw(6000)) * time.Microsecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *tardy) Put(ctx context.Context, key string, body objectstore.Body, c objectstore.Condition) (objectstore.Version, error) {
	if err := s.pause(ctx); err != nil {
		if s.draw(2) == 0 {
			s.late.Go(func() {
				_ = s.pause(context.Background())
				_, _ = s.Store.Put(context.Background(), key, body, c)
			})
		}
		return "", err
	}
	v, err := s.Store.Put(ctx, key, body, c)
	return v, errors.Join(err, s.pause(ctx))
}

// TestWhatAHaltRefusesIsNeverCommitted: a producer without sequences that sends a refused batch again, anywhere, has it stored once. Halts begin
// and end at random moments, also while the PUT that they break off has been carried out, or is about to be.
func TestWhatAHaltRefusesIsNeverCommitted(t *testing.T) {
	refused, acked := 0, 0
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			p := w.producer(func(c *Config) { c.FlushInterval, c.Uploads = time.Millisecond, 3 })
			bucket := &tardy{Store: p.store, rng: rand.New(rand.NewPCG(seed, 0))}
			p.store = bucket
			run(t, p)
			var sent []*Pending
			for n := range 40 {
				sent = append(sent, send(t, p, a0, fmt.Sprint(n)))
				time.Sleep(time.Duration(bucket.draw(2000)) * time.Microsecond)
				switch bucket.draw(8) {
				case 0:
					p.Halt(errAside)
				case 1, 2:
					p.Resume()
				}
			}
			got := make([]Outcome, len(sent))
			for n, pending := range sent {
				got[n] = outcome(t, pending)
			}
			bucket.late.Wait()
			stored := map[string]int{}
			for _, value := range w.read(a0) {
				stored[value]++
			}
			for n, o := range got {
				times := stored[fmt.Sprintf("%d/0", n)]
				switch {
				case o.Err == nil && times == 1:
					acked++
				case errors.Is(o.Err, errAside) && times == 0:
					refused++
				default:
					t.Errorf("seed %d: batch %d is stored %d times: %+v", seed, n, times, o)
				}
			}
			checkEmpty(t, p)
		})
	}
	if refused < 1000 || acked < 1000 {
		t.Errorf("%d refused, %d acknowledged", refused, acked)
	}
}
