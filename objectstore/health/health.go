// Package health knows when an object store does not serve this process any more, while it may well serve others.
//
// It watches the requests that pass. When reads or writes are asked for and none of that kind has been answered for a while, it
// asks itself, with requests so small that a thin line full of large objects does not hold them up: it creates an object under
// a condition, reads it and deletes it. If that fails too, the store is stuck, until such a probe succeeds again.
//
// A store that refuses everybody because it has too much to do is not stuck, and neither, once that is known, is one that takes seconds for
// every request: this process is no worse off than others then.
//
// What was asked for decides, so a store that nobody asks anything costs no request, and is never stuck. It must never change, hold up
// or repeat a request that passes.
package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/objectstore"
)

// Config is how soon a store counts as stuck.
type Config struct {
	Patience time.Duration // without an answer to any read, or to any write, before the store is probed
	Deadline time.Duration // of each request of a probe; twice as long after each that fails, up to AgainMax
	// While the store is stuck it is probed after Again, and after twice as long each time, up to AgainMax.
	Again, AgainMax time.Duration
}

// Default notices within three seconds a store that refuses or fails, and within five one that swallows requests.
func Default() Config {
	return Config{Patience: 3 * time.Second, Deadline: 2 * time.Second, Again: time.Second, AgainMax: 5 * time.Second}
}

// Validate refuses what cannot be meant.
func (c Config) Validate() error {
	if c.Patience <= 0 || c.Deadline <= 0 || c.Again <= 0 || c.AgainMax < c.Again {
		return fmt.Errorf("health: patience %v, deadline %v, probes %v to %v apart: want all above 0, the last not below the one before",
			c.Patience, c.Deadline, c.Again, c.AgainMax)
	}
	return nil
}

const (
	// looks is how often the store is looked at in the time of Config.Patience.
	looks = 8
	// hurries is how often, in the time of Config.Again, hints that a stuck store is back may bring a probe about.
	hurries = 4
)

// Store watches the requests to another. Make it with New; without Run it is never stuck.
//
// mu guards reads, writes, stuck and changed. What is below belongs to Run.
type Store struct {
	inner   objectstore.Store
	cfg     Config
	newKey  func() string
	metrics metrics
	hints   chan struct{} // holds one hint that a stuck store may be back

	mu            sync.Mutex
	reads, writes class
	stuck         error         // nil: it is not
	changed       chan struct{} // closed and replaced when stuck changes

	deadline time.Duration // of each request of the next probe
	key      string        // of the next probe; "": a new one
	tried    bool          // key may be created yet by an earlier attempt
	waste    []string      // to be deleted with what the next probe makes; at most wasteMost, the newest
}

// wasteMost bounds what probes may leave that is deleted later. A store that does not delete keeps the others, of a few bytes each.
const wasteMost = 16

var _ objectstore.Store = (*Store)(nil)

// New decorates inner; cfg must be valid. newKey answers a name for a probe's object that was never used before. reg may be nil.
func New(inner objectstore.Store, cfg Config, newKey func() string, reg prometheus.Registerer) *Store {
	s := &Store{
		inner: inner, cfg: cfg, newKey: newKey, hints: make(chan struct{}, 1), changed: make(chan struct{}), deadline: cfg.Deadline,
	}
	s.metrics = newMetrics(reg, s)
	return s
}

// Stuck answers why the store counts as stuck, nil if it does not.
func (s *Store) Stuck() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stuck
}

// Changed is closed when Stuck may answer something else than before Changed was called.
func (s *Store) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Hint has a stuck store probed soon: there is a sign that it is back.
func (s *Store) Hint() {
	select {
	case s.hints <- struct{}{}:
	default:
	}
}

// Run watches until ctx ends.
func (s *Store) Run(ctx context.Context) {
	tick := time.NewTicker(max(s.cfg.Patience/looks, 1))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !s.suspect(time.Now()) {
			continue
		}
		if err := s.probe(ctx); err != nil && ctx.Err() == nil {
			s.turn(err)
			s.recover(ctx)
		}
		s.relax(time.Now())
	}
}

// recover probes a stuck store until it is back, or ctx ends.
func (s *Store) recover(ctx context.Context) {
	took := time.Duration(0) // by the probe before, which counts as a pause
	for pause := s.cfg.Again; ; pause = min(2*pause, s.cfg.AgainMax) {
		select { // a hint from before says nothing
		case <-s.hints:
		default:
		}
		if !wait(ctx, s.cfg.Again/hurries, nil) || !wait(ctx, pause-s.cfg.Again/hurries-took, s.hints) {
			return
		}
		began := time.Now()
		err := s.probe(ctx)
		took = time.Since(began)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			s.turn(nil)
			return
		}
	}
}

// wait waits for d or a hint; false if ctx ended.
func wait(ctx context.Context, d time.Duration, hints <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-hints:
	case <-ctx.Done():
		return false
	}
	return true
}

// turn makes a change known.
func (s *Store) turn(stuck error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stuck = stuck
	close(s.changed)
	s.changed = make(chan struct{})
}

// suspect reports whether the store looks stuck.
func (s *Store) suspect(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads.suspect(now, s.cfg.Patience) || s.writes.suspect(now, s.cfg.Patience)
}

// relax begins to count anew, after a probe.
func (s *Store) relax(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads.relax(now)
	s.writes.relax(now)
}

// probe finds out whether the store answers what creates and what reads, and learns how long that takes.
func (s *Store) probe(ctx context.Context) error {
	s.metrics.probes.Inc()
	slowest, err := s.attempt(ctx)
	if err != nil {
		slowest = s.deadline
	}
	s.deadline = max(s.cfg.Deadline, min(2*slowest, s.cfg.AgainMax))
	return err
}

// attempt makes the requests of a probe and answers how long the slowest of them took. A name is used until its object could be
// created: an earlier attempt that landed says so, then the next name tells.
func (s *Store) attempt(ctx context.Context) (slowest time.Duration, err error) {
	var made, again []string
	defer func() { s.clean(ctx, made, again) }()
	ask := func(request func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, s.deadline)
		defer cancel()
		began := time.Now()
		err := request(ctx)
		slowest = max(slowest, time.Since(began))
		return err
	}
	key := ""
	for lost := true; lost && len(made) < 2; { // one name that was tried before, and a new one
		if s.key == "" {
			s.key, s.tried = s.newKey(), false
		}
		key = s.key
		err := ask(func(ctx context.Context) error { return s.create(ctx, key) })
		if lost = errors.Is(err, objectstore.ErrLost); err == nil || lost {
			if made = append(made, key); s.tried { // another attempt may be on its way
				again = append(again, key)
			}
			s.key = ""
			continue
		}
		if s.tried = true; verdict(err) != answered {
			return 0, fmt.Errorf("create an object: %w", err)
		}
	}
	if err := ask(func(ctx context.Context) error { return s.read(ctx, key) }); verdict(err) != answered {
		return 0, fmt.Errorf("read an object: %w", err)
	}
	return slowest, nil
}

// clean deletes what this probe made, and what earlier ones left; again is of the former what may yet be created once more. Whether a
// store deletes is not asked: nothing that clients wait for depends on it.
func (s *Store) clean(ctx context.Context, made, again []string) {
	if len(made) == 0 { // it is away
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.deadline)
	defer cancel()
	made = append(s.waste, made...)
	if s.waste = again; s.inner.Delete(ctx, made...) != nil {
		s.waste = made[max(len(made)-wasteMost, 0):]
	}
}

var content = []byte("probe")

func (s *Store) create(ctx context.Context, key string) error {
	_, err := s.inner.Put(ctx, key, objectstore.NewBody(content), objectstore.IfAbsent())
	return err
}

func (s *Store) read(ctx context.Context, key string) error {
	o, err := s.inner.Get(ctx, key, objectstore.Range{})
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, o.Reader)
	return errors.Join(err, o.Reader.Close())
}

// Get implements objectstore.Store. What counts is that it was opened.
func (s *Store) Get(ctx context.Context, key string, r objectstore.Range) (objectstore.Object, error) {
	s.begin(&s.reads)
	o, err := s.inner.Get(ctx, key, r)
	s.end(&s.reads, err)
	return o, err
}

// Put implements objectstore.Store.
func (s *Store) Put(ctx context.Context, key string, body objectstore.Body, c objectstore.Condition) (objectstore.Version, error) {
	s.begin(&s.writes)
	v, err := s.inner.Put(ctx, key, body, c)
	s.end(&s.writes, err)
	return v, err
}

// Delete implements objectstore.Store. It says nothing about reads and writes.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	return s.inner.Delete(ctx, keys...)
}

// List implements objectstore.Store. What counts is the first answer.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objectstore.Info, error] {
	return func(yield func(objectstore.Info, error) bool) {
		s.begin(&s.reads)
		var end sync.Once
		for info, err := range s.inner.List(ctx, prefix, after) {
			end.Do(func() { s.end(&s.reads, err) })
			if !yield(info, err) {
				return
			}
		}
		end.Do(func() { s.end(&s.reads, nil) })
	}
}
