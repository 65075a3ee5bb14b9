// Package replica is the shell around the metadata state machine: it loads the state from snapshot and journal, takes the
// lead, gathers waiting commands into journal entries, applies what is committed, answers, and serves reads and watchers.
//
// It decides nothing about metadata (that is state) and nothing about fencing (that is journal). It must never apply an
// entry that the journal did not hand out as committed, and never answer a command before it is applied here.
//
// In this version the process that opens a replica leads it: opening fences whoever led before, and a replica that is
// fenced stops for good. Two processes on one journal therefore never alternate.
package replica

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
	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/state"
)

// Config bounds a replica's work.
type Config struct {
	Leader        state.LeaderInfo // what the fence says about this process
	EntryCommands int              // commands gathered into one journal entry at most; a single Do is never split below it
	EntryBytes    int              // encoded size at which gathering stops, bytes
	Queue         int              // calls of Do waiting at most; beyond, callers wait
	CheckEvery    uint64           // entries between two state hashes in the journal
	SnapshotBytes int64            // journal bytes after which a snapshot is taken
	SnapshotAfter int64            // entries after which one is taken: each costs a start a request to the bucket
	WatchChanges  int              // changes remembered for watchers; one who is further behind gets state.ChangeAll
	Clock         func() time.Time // only for times inside commands that the replica itself issues
}

// Default is fit for one agent.
func Default() Config {
	return Config{
		EntryCommands: 512, EntryBytes: 1 << 20, Queue: 1024, CheckEvery: 256,
		SnapshotBytes: 16 << 20, SnapshotAfter: 8192, WatchChanges: 1 << 16, Clock: time.Now,
	}
}

// Validate refuses bounds that could not work.
func (c Config) Validate() error {
	if c.EntryCommands < 1 || c.EntryBytes < 1 || c.Queue < 1 || c.CheckEvery < 1 || c.SnapshotBytes < 1 || c.SnapshotAfter < 1 ||
		c.WatchChanges < 1 {
		return fmt.Errorf("replica: every bound must be at least 1: %+v", c)
	}
	if c.Clock == nil {
		return errors.New("replica: no clock")
	}
	return nil
}

// Replica is a metadata.Service over one journal.
//
// Who owns what: the goroutine in Run owns term, sinceCheck, sinceSnapshot and calls Apply, holding mu; everybody else
// reads st under mu's read lock. The hub and the snapshotter have locks of their own, never held together with mu.
type Replica struct {
	cfg     Config
	log     *slog.Logger
	journal journal.Journal
	metrics *metrics

	mu      sync.RWMutex
	st      *state.State
	applied atomic.Uint64

	term       journal.Term
	sinceCheck uint64 // entries since the last one that carried a hash

	calls chan *call    // bounded by cfg.Queue
	fresh chan *waiter  // callers that want proof of freshness
	hub   *hub          // changes, for watchers and for reads at an index
	snaps *snapshotter  // images, trim and sweep
	dead  chan struct{} // closed when nothing is served any more
	why   error         // set before dead is closed
}

var _ metadata.Service = (*Replica)(nil)

// call is one Do.
type call struct {
	commands []state.Command
	results  []state.Result
	done     chan struct{} // closed once results are set
}

// Open loads the newest state, takes the lead by a fence, and answers a replica ready to Run. It fences whoever led
// before.
func Open(ctx context.Context, cfg Config, j journal.Journal, images Images, log *slog.Logger, reg prometheus.Registerer) (*Replica, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r := &Replica{
		cfg: cfg, log: log, journal: j, metrics: newMetrics(reg),
		calls: make(chan *call, cfg.Queue), fresh: make(chan *waiter, cfg.Queue),
		hub: newHub(cfg.WatchChanges), dead: make(chan struct{}),
	}
	r.snaps = newSnapshotter(j, images, cfg, log, r.metrics)
	if err := r.lead(ctx); err != nil {
		return nil, err
	}
	r.metrics.applied.Set(float64(r.applied.Load()))
	return r, nil
}

// lead loads, catches up and fences, again and again while others are quicker.
func (r *Replica) lead(ctx context.Context) error {
	for loaded := false; ; {
		if !loaded {
			if err := r.load(ctx); err != nil {
				return err
			}
		}
		err := r.catchUp(ctx)
		if err == nil {
			if r.term, err = r.journal.Lead(ctx, r.applied.Load(), state.EncodeLeader(r.cfg.Leader)); err == nil {
				return r.applyFence(r.term.Fence())
			}
		}
		switch {
		case errors.Is(err, journal.ErrBehind):
			loaded = true
		case errors.Is(err, journal.ErrTrimmed):
			loaded = false
		default:
			return fmt.Errorf("take the lead of the journal: %w", err)
		}
	}
}

// catchUp applies what the journal holds beyond the applied index.
func (r *Replica) catchUp(ctx context.Context) error {
	for e, err := range r.journal.Read(ctx, r.applied.Load()+1) {
		if err != nil {
			return err
		}
		if _, _, err := r.apply(e); err != nil {
			return err
		}
		r.snaps.grow(int64(len(e.Body)))
	}
	return ctx.Err()
}

func (r *Replica) applyFence(e journal.Entry) error {
	_, changes, err := r.apply(e)
	if err != nil {
		return err
	}
	r.hub.publish(e.Index, changes)
	return nil
}

// apply decodes and applies one committed entry.
func (r *Replica) apply(e journal.Entry) ([]state.Result, []state.Change, error) {
	entry, err := decode(e)
	if err != nil {
		return nil, nil, fmt.Errorf("journal entry %d: %w", e.Index, err)
	}
	return r.applyDecoded(entry)
}

func (r *Replica) applyDecoded(entry state.Entry) ([]state.Result, []state.Change, error) {
	r.mu.Lock()
	results, changes, err := r.st.Apply(entry)
	r.mu.Unlock()
	if err != nil {
		return nil, nil, fmt.Errorf("apply journal entry %d: %w", entry.Index, err)
	}
	r.applied.Store(entry.Index)
	r.metrics.applied.Set(float64(entry.Index))
	return results, changes, nil
}

func decode(e journal.Entry) (state.Entry, error) {
	if e.Kind == journal.KindFence {
		return state.DecodeLeader(e.Index, e.Body)
	}
	return state.DecodeEntry(e.Index, e.Body)
}

// Run serves until ctx ends (then it returns nil) or the replica can no longer lead: metadata.ErrFenced, or an error of
// the state machine. It is called once.
func (r *Replica) Run(ctx context.Context) error {
	snapsCtx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { r.snaps.run(snapsCtx) })
	err := r.serve(ctx)
	r.why = metadata.ErrStopped
	if err != nil {
		r.why = err
	}
	close(r.dead) // first: who was fenced, or failed to apply an entry, has nothing to say, however long a snapshot still takes
	r.hub.stop()
	stop()
	wg.Wait()
	return err
}

// stopped answers why the replica no longer serves.
func (r *Replica) stopped() error {
	if errors.Is(r.why, metadata.ErrFenced) || errors.Is(r.why, metadata.ErrStopped) {
		return r.why
	}
	return fmt.Errorf("%w: %w", metadata.ErrStopped, r.why)
}
