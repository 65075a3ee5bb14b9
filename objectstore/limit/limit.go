// Package limit bounds how many requests an object store gets at once and per second, by kind of request.
//
// A caller that must wait waits in its own goroutine, no longer than its context allows; there is no queue beside the waiting
// callers themselves. A request that did not get its turn was never made: its error matches ErrNotApplied. It must never
// delay the bytes of a request that has begun.
package limit

import (
	"context"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/leat-stream/leat/objectstore"
)

// Kind bounds one kind of request. The zero value bounds nothing.
type Kind struct {
	Concurrent int     // requests at once; a Get counts until its reader is closed, a List until its loop ends; 0: no bound
	PerSecond  float64 // requests begun per second, spaced evenly; 0: no bound
	Burst      int     // requests that may begin at once after a pause; 0 means 1
}

// Config bounds each kind of request.
type Config struct{ Put, Get, Delete, List Kind }

// Default bounds what is at once in flight so that a burst of readers cannot exhaust sockets, and no rate.
func Default() Config {
	return Config{
		Put: Kind{Concurrent: 64}, Get: Kind{Concurrent: 256}, Delete: Kind{Concurrent: 8}, List: Kind{Concurrent: 8},
	}
}

// Validate refuses what cannot be meant.
func (c Config) Validate() error {
	for _, k := range []struct {
		name string
		Kind
	}{{"put", c.Put}, {"get", c.Get}, {"delete", c.Delete}, {"list", c.List}} {
		if k.Concurrent < 0 || k.PerSecond < 0 || k.Burst < 0 {
			return fmt.Errorf("limit: %s: %+v: want nothing below 0", k.name, k.Kind)
		}
	}
	return nil
}

// Store bounds the requests to another. Make it with New. A List whose loop lists again needs a bound of two at once.
type Store struct {
	inner                  objectstore.Store
	put, get, delete, list *gate
}

var _ objectstore.Store = (*Store)(nil)

// New decorates inner; config must be valid.
func New(inner objectstore.Store, config Config) *Store {
	return &Store{
		inner: inner,
		put:   newGate(config.Put), get: newGate(config.Get), delete: newGate(config.Delete), list: newGate(config.List),
	}
}

// Get implements objectstore.Store.
func (s *Store) Get(ctx context.Context, key string, r objectstore.Range) (objectstore.Object, error) {
	if err := s.get.enter(ctx); err != nil {
		return objectstore.Object{}, fmt.Errorf("get %q: %w", key, err)
	}
	o, err := s.inner.Get(ctx, key, r)
	if err != nil {
		s.get.leave()
		return o, err
	}
	o.Reader = &reader{ReadCloser: o.Reader, leave: sync.OnceFunc(s.get.leave)}
	return o, nil
}

// reader holds the place of a Get until it is closed.
type reader struct {
	io.ReadCloser
	leave func()
}

func (r *reader) Close() error {
	defer r.leave()
	return r.ReadCloser.Close()
}

// Put implements objectstore.Store.
func (s *Store) Put(ctx context.Context, key string, body objectstore.Body, c objectstore.Condition) (
	objectstore.Version, error,
) {
	if err := s.put.enter(ctx); err != nil {
		return "", fmt.Errorf("put %q: %w", key, err)
	}
	defer s.put.leave()
	return s.inner.Put(ctx, key, body, c)
}

// Delete implements objectstore.Store.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	if err := s.delete.enter(ctx); err != nil {
		return fmt.Errorf("delete %q: %w", keys[0], err)
	}
	defer s.delete.leave()
	return s.inner.Delete(ctx, keys...)
}

// List implements objectstore.Store.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objectstore.Info, error] {
	return func(yield func(objectstore.Info, error) bool) {
		if err := s.list.enter(ctx); err != nil {
			yield(objectstore.Info{}, fmt.Errorf("list %q: %w", prefix, err))
			return
		}
		defer s.list.leave()
		s.inner.List(ctx, prefix, after)(yield)
	}
}

// gate lets requests of one kind begin.
type gate struct {
	places chan struct{} // one token per request in flight; nil: no bound
	gap    time.Duration // between two requests; 0: no bound
	slack  time.Duration // how far requests may run ahead of their even spacing

	mu   sync.Mutex
	next time.Time // when the next request would begin if all were spaced evenly; guarded by mu
}

func newGate(k Kind) *gate {
	g := &gate{}
	if k.Concurrent > 0 {
		g.places = make(chan struct{}, k.Concurrent)
	}
	if k.PerSecond > 0 {
		g.gap = time.Duration(float64(time.Second) / k.PerSecond)
		g.slack = g.gap * time.Duration(max(k.Burst, 1)-1)
	}
	return g
}

// enter waits for a place and for its time. Its error matches ErrNotApplied and the context's.
func (g *gate) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", objectstore.ErrNotApplied, err)
	}
	if g.places != nil {
		select {
		case g.places <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("%w: too many requests at once: %w", objectstore.ErrNotApplied, ctx.Err())
		}
	}
	if err := g.wait(ctx); err != nil {
		g.leave()
		return fmt.Errorf("%w: too many requests per second: %w", objectstore.ErrNotApplied, err)
	}
	return nil
}

func (g *gate) leave() {
	if g.places != nil {
		<-g.places
	}
}

// wait takes the next turn and waits for it; a turn that would come too late for ctx is not taken.
func (g *gate) wait(ctx context.Context) error {
	if g.gap == 0 {
		return nil
	}
	g.mu.Lock()
	now := time.Now()
	if g.next.Before(now) {
		g.next = now
	}
	turn := g.next.Add(-g.slack)
	if deadline, ok := ctx.Deadline(); ok && turn.After(deadline) {
		g.mu.Unlock()
		return context.DeadlineExceeded
	}
	g.next = g.next.Add(g.gap)
	g.mu.Unlock()
	if !turn.After(now) {
		return nil
	}
	timer := time.NewTimer(turn.Sub(now))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err() // the turn is lost: the rate stays below its bound
	}
}
