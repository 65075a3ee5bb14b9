package group

import (
	"context"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/agent/group/offsets"
	"github.com/leat-stream/leat/agent/group/proof"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// Deps is what a coordinator stands on.
type Deps struct {
	Door proof.Door // a metadata.Session
	// Applied is the journal index that is applied here, told at once. nil: Door is asked.
	Applied func() uint64
	// Watch is that of the metadata.Service behind the door.
	Watch func(ctx context.Context, since uint64) iter.Seq2[state.Change, error]
	// Mine tells whether this agent is the one that should coordinate a group, as far as it knows. It is asked for every
	// request, and must not block. nil: this agent coordinates all groups.
	Mine func(group string) bool
	// Changed is closed when Mine may answer differently than before Changed was called. nil: never.
	Changed  func() <-chan struct{}
	Log      *slog.Logger
	Register prometheus.Registerer
}

const (
	// adoptInterval is how soon groups are taken over (again) that have members and that nobody holds.
	adoptInterval = time.Second
	// expiry is the group, of no meaning otherwise, whose coordinator expires the offsets of all.
	expiry = "__expire_offsets"
)

// Coordinator coordinates those consumer groups that the agents' view gives to this agent (Deps.Mine). Its methods are safe
// for concurrent use, and answer ErrCoordinatorNotAvailable unless Run is running.
//
// mu guards groups, orphans, running and stopped, is held for moments only, and never while a group is asked. A group in
// memory is owned by the goroutine of its actor. How many there are: those with members in the journal, plus those that
// newcomers, bounded by Config.MaxNewcomerBytes, have called into being.
type Coordinator struct {
	cfg        Config
	deps       Deps
	door       *proof.Proof
	acceptance *offsets.Acceptance
	log        *slog.Logger
	m          *metrics

	mu      sync.Mutex
	groups  map[string]*actor
	orphans map[string]orphan
	running context.Context // of Run; nil before. Actors live under it
	stopped bool

	released  atomic.Bool // nothing is coordinated here any more
	actors    sync.WaitGroup
	peopled   atomic.Int64 // actors whose group has members, somebody of whom waits for answers
	newcomers atomic.Int64 // bytes, see Config.MaxNewcomerBytes
}

// New makes a coordinator; cfg must be valid. It does nothing before Run.
func New(cfg Config, deps Deps) *Coordinator {
	c := &Coordinator{
		cfg: cfg, deps: deps, door: proof.New(deps.Door, cfg.ConfirmEvery), acceptance: offsets.NewAcceptance(deps.Door, deps.Applied),
		log: deps.Log, groups: map[string]*actor{}, orphans: map[string]orphan{},
	}
	c.m = newMetrics(deps.Register, c.held)
	return c
}

// Run takes over this agent's groups that have members, restarts their sessions, follows who coordinates what, confirms
// claims, and expires offsets, until ctx ends. Requests that still wait then get ErrCoordinatorNotAvailable. It answers nil.
func (c *Coordinator) Run(ctx context.Context) error {
	c.mu.Lock()
	c.running = ctx
	c.mu.Unlock()
	var parts sync.WaitGroup
	parts.Go(func() { c.door.Run(ctx, func() bool { return c.peopled.Load() > 0 }) })
	parts.Go(func() { c.acceptance.Run(ctx) })
	parts.Go(func() { c.follow(ctx) })
	defer func() {
		c.mu.Lock()
		c.stopped = true
		c.mu.Unlock()
		c.actors.Wait()
		parts.Wait()
	}()

	adopt := time.NewTicker(adoptInterval)
	defer adopt.Stop()
	expire := time.NewTicker(c.cfg.OffsetsCheckInterval)
	defer expire.Stop()
	changed := c.changed()
	surveyed := c.survey(ctx, metadata.Fresh())
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			changed = c.changed()
			c.reconsider()
			surveyed = c.survey(ctx, metadata.Local()) && surveyed
		case <-adopt.C:
			if !surveyed {
				surveyed = c.survey(ctx, metadata.Fresh())
				continue
			}
			c.adopt()
		case <-expire.C:
			if !c.mine(expiry) {
				continue
			}
			lost, err := offsets.Expire(ctx, c.door, c.cfg.OffsetsRetention)
			if c.m.abandoned.Add(float64(lost)); err != nil && ctx.Err() == nil {
				c.log.Warn("offsets of abandoned groups could not be expired; trying again later", "error", err)
			}
		}
	}
}

// Release gives every group to other agents, for good: requests about groups get ErrNotCoordinator, those that wait at
// once, or when a write that is under way has ended. Offsets are still committed and answered. An agent does so before it leaves.
func (c *Coordinator) Release() {
	c.released.Store(true)
	c.reconsider()
}

// mine reports whether this agent should coordinate the group.
func (c *Coordinator) mine(group string) bool {
	return !c.released.Load() && (c.deps.Mine == nil || c.deps.Mine(group))
}

func (c *Coordinator) changed() <-chan struct{} {
	if c.deps.Changed == nil {
		return nil
	}
	return c.deps.Changed()
}

// start makes an actor for a group that has none; false if nothing may be started. c.mu is held.
func (c *Coordinator) start(id string) bool {
	if c.stopped || c.running == nil || c.running.Err() != nil {
		return false
	}
	o, peopled := c.orphans[id]
	delete(c.orphans, id)
	a := newActor(c, id, peopled, o.losses)
	c.groups[id] = a
	c.actors.Go(func() { a.run(c.running) })
	return true
}

func (c *Coordinator) held() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return float64(len(c.groups))
}
