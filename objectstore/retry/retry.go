// Package retry repeats the requests to an object store that may be repeated without knowing what they are for.
//
// Those are: opening a Get, a List that has not yielded anything yet, a Delete, and a Put that was certainly not applied
// (ErrNotApplied: refused, throttled by 429, never sent). A Put with an ambiguous error is NEVER repeated here, whatever its
// condition. If it were, a later ErrLost could be its own first attempt's doing, and only the caller knows what that would
// mean: the journal reads the slot and compares (J1), an upload takes a new name. So an ErrLost that comes out of this decorator is
// another writer's, as far as this call goes. A body that breaks off while it is read is the reader's to ask for again.
//
// Retries are bounded three times: in number, by back-off with full jitter, and by a budget that all calls share. A retry costs
// one token, a success earns a fraction of one: while the store is down, retries dry up and every call fails after one
// attempt. It must never turn an outage into more requests than that.
package retry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/leat-stream/leat/objectstore"
)

// Config bounds the retries.
type Config struct {
	Attempts int           // of one call, the first included; ≥ 1
	Base     time.Duration // upper bound of the wait before the first retry; doubles with each
	Max      time.Duration // upper bound of any wait
	Budget   float64       // tokens at the start and at most; a retry costs one
	Earn     float64       // tokens that a success earns

	// Jitter draws from [0, bound): how long a wait is. Nil: at random. A simulation draws from its seed.
	Jitter func(bound time.Duration) time.Duration
}

// Default retries up to four times within about 1.5 s, and at most every tenth request in the long run.
func Default() Config {
	return Config{Attempts: 5, Base: 100 * time.Millisecond, Max: 5 * time.Second, Budget: 100, Earn: 0.1}
}

// Validate refuses what cannot be meant.
func (c Config) Validate() error {
	switch {
	case c.Attempts < 1:
		return fmt.Errorf("retry: %d attempts: want at least 1", c.Attempts)
	case c.Base <= 0 || c.Max < c.Base:
		return fmt.Errorf("retry: waits from %v to %v: want 0 < base ≤ max", c.Base, c.Max)
	case c.Budget < 0 || c.Earn < 0:
		return fmt.Errorf("retry: budget %v, earning %v: want neither below 0", c.Budget, c.Earn)
	}
	return nil
}

// Store repeats requests to another. Make it with New.
type Store struct {
	inner  objectstore.Store
	config Config

	mu     sync.Mutex
	tokens float64 // left of the budget; guarded by mu
}

var _ objectstore.Store = (*Store)(nil)

// New decorates inner; config must be valid.
func New(inner objectstore.Store, config Config) *Store {
	return &Store{inner: inner, config: config, tokens: config.Budget}
}

// Get implements objectstore.Store.
func (s *Store) Get(ctx context.Context, key string, r objectstore.Range) (o objectstore.Object, err error) {
	err = s.do(ctx, func() (error, bool) {
		o, err = s.inner.Get(ctx, key, r)
		return err, transient(err)
	})
	return o, err
}

// Put implements objectstore.Store.
func (s *Store) Put(ctx context.Context, key string, body objectstore.Body, c objectstore.Condition) (
	v objectstore.Version, err error,
) {
	err = s.do(ctx, func() (error, bool) {
		v, err = s.inner.Put(ctx, key, body, c)
		return err, errors.Is(err, objectstore.ErrNotApplied) && transient(err)
	})
	return v, err
}

// Delete implements objectstore.Store.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	return s.do(ctx, func() (error, bool) {
		err := s.inner.Delete(ctx, keys...)
		return err, transient(err)
	})
}

// List implements objectstore.Store.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objectstore.Info, error] {
	return func(yield func(objectstore.Info, error) bool) {
		broken := false // off by the caller
		err := s.do(ctx, func() (error, bool) {
			yielded := false
			for info, err := range s.inner.List(ctx, prefix, after) {
				if err != nil {
					return err, !yielded && transient(err)
				}
				yielded = true
				if broken = !yield(info, nil); broken {
					return nil, false
				}
			}
			return nil, false
		})
		if err != nil && !broken {
			yield(objectstore.Info{}, err)
		}
	}
}

// do calls attempt until it succeeds, or says that its error is final, or a bound is met; it answers the last error.
func (s *Store) do(ctx context.Context, attempt func() (err error, again bool)) error {
	for n := 1; ; n++ {
		err, again := attempt()
		if err == nil {
			s.earn()
			return nil
		}
		if !again || n >= s.config.Attempts || ctx.Err() != nil || !s.spend() {
			return err
		}
		timer := time.NewTimer(s.wait(n))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w; gave up after attempt %d: %w", err, n, ctx.Err())
		}
	}
}

// wait answers how long to wait after attempt n: anything up to a bound that doubles, so that callers that failed together
// do not come back together.
func (s *Store) wait(n int) time.Duration {
	bound := s.config.Max
	if shift := n - 1; shift < 32 && s.config.Base<<shift < bound && s.config.Base<<shift > 0 {
		bound = s.config.Base << shift
	}
	draw := s.config.Jitter
	if draw == nil {
		draw = rand.N[time.Duration]
	}
	return 1 + draw(bound)
}

func (s *Store) earn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = min(s.tokens+s.config.Earn, s.config.Budget)
}

func (s *Store) spend() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tokens < 1 {
		return false
	}
	s.tokens--
	return true
}

// transient reports whether the same request may fare better later: not when the store has decided, nor when the request
// itself is wrong.
func transient(err error) bool {
	if err == nil {
		return false
	}
	for _, final := range []error{
		objectstore.ErrNotFound, objectstore.ErrLost, objectstore.ErrRange, objectstore.ErrDenied, objectstore.ErrNoBucket,
		objectstore.ErrClockSkew, objectstore.ErrUnsupported, objectstore.ErrKey, context.Canceled,
	} {
		if errors.Is(err, final) {
			return false
		}
	}
	return true
}
