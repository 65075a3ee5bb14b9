package produce

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"sync"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// news is the changes of one replica, for those who watch it.
type news struct {
	mu      sync.Mutex
	changes []state.Change
	wake    chan struct{}
}

func newNews() *news { return &news{wake: make(chan struct{})} }

func (n *news) publish(changes []state.Change) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.changes = append(n.changes, changes...)
	close(n.wake)
	n.wake = make(chan struct{})
}

func (n *news) watch(ctx context.Context, since uint64) iter.Seq2[state.Change, error] {
	return func(yield func(state.Change, error) bool) {
		for next := 0; ; {
			n.mu.Lock()
			fresh, wake := n.changes[next:], n.wake
			n.mu.Unlock()
			next += len(fresh)
			for _, c := range fresh {
				if c.Index > since && !yield(c, nil) {
					return
				}
			}
			select {
			case <-wake:
			case <-ctx.Done():
				return
			}
		}
	}
}

// node is a further agent of a world: a session of its own, and a replica of the world's state that may lag until it is told
// to catch up, or until it commits something itself.
type node struct {
	w     *world
	owner state.UUID
	news  *news

	mu      sync.Mutex
	st      *state.State
	missing []state.Entry
	lags    bool
	stale   error  // a fresh look fails with it
	looked  func() // called once, after the next look
}

// join adds an agent.
func (w *world) join() *node {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := &node{w: w, owner: w.owner, st: state.New(), news: newNews()}
	n.owner[2] = byte(len(w.others) + 1)
	for _, e := range w.log {
		n.hear(e)
	}
	w.others = append(w.others, n)
	w.apply(state.Command{Op: state.OpenSession{Session: n.owner, NodeID: -1, Level: state.Level}})
	return n
}

// hear takes the next entry of the world.
func (n *node) hear(e state.Entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.missing = append(n.missing, e); !n.lags {
		n.apply()
	}
}

// catchUp applies what is missing.
func (n *node) catchUp() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.apply()
}

// lag makes the replica keep still, or go on.
func (n *node) lag(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lags = on; !on {
		n.apply()
	}
}

func (n *node) apply() {
	for _, e := range n.missing {
		_, changes, err := n.st.Apply(e)
		if err != nil {
			n.w.t.Errorf("apply at a further agent: %v", err)
		}
		n.news.publish(changes)
	}
	n.missing = nil
}

func (n *node) ID() state.UUID { return n.owner }

func (n *node) DoObjects(ctx context.Context, first uint64, ops ...state.Op) ([]state.Result, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%w: %w", metadata.ErrNotApplied, ctx.Err())
	}
	commands := make([]state.Command, len(ops))
	for i, op := range ops {
		commands[i] = state.Command{Session: n.owner, Lane: state.LaneObjects, Number: first + uint64(i), Settled: first - 1, Op: op}
	}
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	results := n.w.apply(commands...)
	n.catchUp()
	return results, nil
}

func (n *node) Ask(ctx context.Context, f metadata.Freshness, read func(state.Reader)) error {
	n.mu.Lock()
	defer func() {
		looked := n.looked
		n.looked = nil
		n.mu.Unlock()
		if looked != nil {
			looked()
		}
	}()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if f.IsFresh() {
		if n.stale != nil {
			return n.stale
		}
		n.apply()
	}
	read(n.st.Reader())
	return nil
}

func (n *node) Watch(ctx context.Context, since uint64) iter.Seq2[state.Change, error] {
	return n.news.watch(ctx, since)
}

// producer is the agent's write path.
func (n *node) producer(change ...func(*Config)) *Producer {
	cfg := Default()
	cfg.EarlyPuts = -1
	for _, f := range change {
		f(&cfg)
	}
	p, err := New(cfg, Deps{
		Session: n, Store: n.w.store, Keys: n.w.keys, Cluster: cluster, Recent: n.w, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		n.w.t.Fatal(err)
	}
	return p
}
