package group

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// Door is what the coordinator needs of the metadata; a metadata.Session is one.
type Door interface {
	// ID is the session that claims are made by.
	ID() state.UUID
	// Do commits ops in the order of the calls, and answers once they are applied here. An error means that the outcome is
	// unknown, unless it is metadata.ErrNotApplied; an op of a later call is never decided before one of an earlier.
	Do(ctx context.Context, ops ...state.Op) ([]state.Result, error)
	// Ask looks at one state that is as fresh as f demands.
	Ask(ctx context.Context, f metadata.Freshness, read func(state.Reader)) error
}

const (
	// adoptInterval is how soon groups are taken over (again) that have members and that nobody holds.
	adoptInterval = time.Second
	// expireBatch is how many groups one ExpireOffsets looks after.
	expireBatch = 1000
)

// Coordinator coordinates the consumer groups of this agent. In a cluster of one agent these are all. Its methods are safe for
// concurrent use, and answer ErrCoordinatorNotAvailable unless Run is running.
//
// mu guards groups, orphans, running and stopped, is held for moments only, and never while a group is asked. A group in
// memory is owned by the goroutine of its actor. How many there are: those with members in the journal, plus those that
// newcomers, bounded by Config.MaxNewcomerBytes, have called into being.
type Coordinator struct {
	cfg  Config
	door Door
	log  *slog.Logger
	m    *metrics

	mu      sync.Mutex
	groups  map[string]*actor
	orphans map[string]struct{} // groups of which the journal may know members and that no actor holds, to be adopted
	running context.Context     // of Run; nil before. Actors live under it
	stopped bool

	actors    sync.WaitGroup
	newcomers atomic.Int64 // bytes, see Config.MaxNewcomerBytes
}

// New makes a coordinator; cfg must be valid. It does nothing before Run.
func New(cfg Config, door Door, log *slog.Logger, reg prometheus.Registerer) *Coordinator {
	c := &Coordinator{cfg: cfg, door: door, log: log, groups: map[string]*actor{}, orphans: map[string]struct{}{}}
	c.m = newMetrics(reg, c.held)
	return c
}

// Run takes over the groups that have members, restarts their sessions, and expires offsets, until ctx ends. Requests that
// still wait then get ErrCoordinatorNotAvailable. It answers nil.
func (c *Coordinator) Run(ctx context.Context) error {
	c.mu.Lock()
	c.running = ctx
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.stopped = true
		c.mu.Unlock()
		c.actors.Wait()
	}()

	adopt := time.NewTicker(adoptInterval)
	defer adopt.Stop()
	expire := time.NewTicker(c.cfg.OffsetsCheckInterval)
	defer expire.Stop()
	surveyed := c.survey(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-adopt.C:
			if !surveyed {
				surveyed = c.survey(ctx)
				continue
			}
			c.adopt()
		case <-expire.C:
			if err := c.expireOffsets(ctx); err != nil && ctx.Err() == nil {
				c.log.Warn("offsets of abandoned groups could not be expired; trying again later", "error", err)
			}
		}
	}
}

// survey finds the groups that have members, and takes them over.
func (c *Coordinator) survey(ctx context.Context) bool {
	var found []string
	err := c.door.Ask(ctx, metadata.Fresh(), func(r state.Reader) {
		for id := range r.Groups() {
			if g, ok := r.Group(id); ok && len(g.Members) > 0 {
				found = append(found, id)
			}
		}
	})
	if err != nil {
		return false
	}
	c.mu.Lock()
	for _, id := range found {
		c.orphans[id] = struct{}{}
	}
	c.mu.Unlock()
	c.adopt()
	return true
}

// adopt starts actors for the orphans. Their members cannot be expected to call: all may have died.
func (c *Coordinator) adopt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.orphans {
		if c.groups[id] == nil && !c.start(id, true) {
			return
		}
		delete(c.orphans, id)
	}
}

// start makes an actor for a group that has none; false if nothing may be started. c.mu is held.
func (c *Coordinator) start(id string, peopled bool) bool {
	if c.stopped || c.running == nil || c.running.Err() != nil {
		return false
	}
	a := newActor(c, id, peopled)
	c.groups[id] = a
	c.actors.Go(func() { a.run(c.running) })
	return true
}

// need tells for whom a group is wanted.
type need uint8

const (
	needHeld    need = iota // only if it is in memory
	needMembers             // also if the journal knows members of it
	needAny                 // a new one is made if need be
)

// errAbsent: there is no group of the kind that was needed. errRetired: the actor had nothing to do any more; ask again.
var (
	errAbsent  = errors.New("group is absent")
	errRetired = errors.New("group is not in memory any more")
)

func (c *Coordinator) acquire(ctx context.Context, id string, n need) (*actor, error) {
	c.mu.Lock()
	a, ready := c.groups[id], c.running != nil && !c.stopped
	if a == nil && ready && n == needAny && c.start(id, false) {
		a = c.groups[id]
	}
	c.mu.Unlock()
	switch {
	case a != nil:
		return a, nil
	case !ready || n == needAny:
		return nil, ErrCoordinatorNotAvailable
	case n == needHeld:
		return nil, errAbsent
	}
	// Nothing negative is said before it was looked up freshly (rule R7).
	members := 0
	err := c.door.Ask(ctx, metadata.Fresh(), func(r state.Reader) {
		if g, ok := r.Group(id); ok {
			members = len(g.Members)
		}
	})
	if err != nil {
		return nil, unavailable(err)
	}
	if members == 0 {
		return nil, errAbsent
	}
	return c.acquire(ctx, id, needAny)
}

// call runs f in the group's goroutine and waits until f, or something that happens later, answers w.
func call[T any](
	ctx context.Context, c *Coordinator, id string, n need, f func(g *group, w *waiter[T], now time.Time),
) (T, error) {
	var zero T
	for {
		a, err := c.acquire(ctx, id, n)
		if err != nil {
			return zero, err
		}
		w := newWaiter[T]()
		answer, err := ask(ctx, a, w, func(g *group, now time.Time) { f(g, w, now) })
		if err != errRetired {
			return answer, err
		}
	}
}

func ask[T any](ctx context.Context, a *actor, w *waiter[T], ev event) (T, error) {
	var zero T
	gone := func() error { return fmt.Errorf("%w: %w", ErrCoordinatorNotAvailable, context.Cause(ctx)) }
	select {
	case a.inbox <- ev:
	case <-a.gone:
		return zero, a.err
	case <-ctx.Done():
		return zero, gone()
	}
	select {
	case o := <-w.ch:
		return o.value, o.err
	case <-ctx.Done():
		return zero, gone()
	case <-a.gone:
	}
	select {
	case o := <-w.ch: // answered just before
		return o.value, o.err
	default:
		return zero, a.err
	}
}

// waiter is where the answer to one request goes. Answering never blocks, and only the first answer counts.
type waiter[T any] struct{ ch chan outcome[T] }

type outcome[T any] struct {
	value T
	err   error
}

func newWaiter[T any]() *waiter[T] { return &waiter[T]{ch: make(chan outcome[T], 1)} }

func (w *waiter[T]) answer(value T, err error) {
	select {
	case w.ch <- outcome[T]{value, err}:
	default:
	}
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", ErrCoordinatorNotAvailable, err) }

func (c *Coordinator) held() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return float64(len(c.groups))
}
