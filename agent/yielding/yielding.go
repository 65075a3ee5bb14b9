// Package yielding lets a metadata leader whose journal is in the bucket let go when its agent alone does not reach the bucket.
//
// It must never decide what was committed, nor who leads: it only ends what waits for the bucket, with its outcome unknown.
package yielding

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/leat-stream/leat/agent/brokers"
	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/replica"
)

// Journal is a journal in the bucket whose leader can let go. A leader that no longer reaches the bucket cannot find out what became of
// its append, nor that another agent leads by now, and would hang until the bucket is back, with all commands of this agent. Told by
// another agent that there is a newer term, it ends the append with its outcome unknown (J1 allows that at any time), becomes a
// follower, and gets everything from that agent; commands are sent again and are decided once (R2). Whoever claims a newer term
// falsely costs an election, never more.
//
// mu guards term and newer.
type Journal struct {
	journal.Journal
	stuck func() error // why the bucket does not answer; nil: it does

	mu    sync.Mutex
	term  *term  // the newest that this process led; nil: none
	newer uint64 // index of the newest fence that others told of
}

// New makes one of inner, which is in the bucket; stuck answers why the bucket does not answer, nil if it does.
func New(inner journal.Journal, stuck func() error) *Journal {
	return &Journal{Journal: inner, stuck: stuck}
}

// stuckPatience bounds a look at the journal while the bucket does not answer: who looks has others to serve, who need no bucket.
const stuckPatience = time.Second

var (
	errSuperseded = errors.New("another agent leads")
	errStuckLook  = errors.New("the object store does not answer this agent")
)

// term is a term that ends when this agent hears of a newer one.
type term struct {
	journal.Term
	over context.Context
	end  context.CancelCauseFunc
}

// Lead implements journal.Journal.
func (y *Journal) Lead(ctx context.Context, after uint64, body []byte) (journal.Term, error) {
	inner, err := y.Journal.Lead(ctx, after, body)
	if err != nil {
		return nil, err
	}
	t := &term{Term: inner}
	t.over, t.end = context.WithCancelCause(context.Background())
	y.mu.Lock()
	defer y.mu.Unlock()
	y.term = t
	return t, nil
}

// Append implements journal.Term.
func (t *term) Append(ctx context.Context, body []byte) (journal.Entry, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(t.over, func() { stop(errSuperseded) })()
	return t.Term.Append(ctx, body)
}

// Read implements journal.Journal.
func (y *Journal) Read(ctx context.Context, from uint64) iter.Seq2[journal.Entry, error] {
	return func(yield func(journal.Entry, error) bool) {
		ctx, stop := y.bounded(ctx)
		defer stop()
		y.Journal.Read(ctx, from)(yield)
	}
}

// Tip implements journal.Journal. There are entries beyond what a leader has applied whom another one has replaced.
func (y *Journal) Tip(ctx context.Context, applied uint64) error {
	if _, newer := y.terms(); applied < newer && y.stuck() != nil {
		return fmt.Errorf("%w: %w", journal.ErrBehind, errSuperseded)
	}
	ctx, stop := y.bounded(ctx)
	defer stop()
	return y.Journal.Tip(ctx, applied)
}

func (y *Journal) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if y.stuck() == nil {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, stuckPatience, errStuckLook)
}

// terms is the index of the newest fence of this process, and of the newest that others told of; 0: none.
func (y *Journal) terms() (own, newer uint64) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.term != nil {
		own = y.term.Fence().Index
	}
	return own, y.newer
}

// superseded tells of the fence of another agent.
func (y *Journal) superseded(by uint64) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.term != nil && by > y.term.Fence().Index {
		y.newer = max(y.newer, by)
		y.term.end(errSuperseded)
	}
}

// leadPatience bounds what it takes to have another agent lead.
const leadPatience = 2 * time.Second

// Peers is how other agents are asked, by their peer address, as replica.Peers does.
type Peers interface {
	// Status answers what the agent's replica knows.
	Status(ctx context.Context, address string) (replica.Status, error)
	// TakeOver has the agent lead after the fence at index term; nil once it does.
	TakeOver(ctx context.Context, address string, term uint64) error
}

// Yield finds out from the others whether one of them leads by now; with ask, it asks them in turn to take the lead if none does.
func (y *Journal) Yield(ctx context.Context, peers Peers, others []brokers.Broker, ask bool) {
	ctx, stop := context.WithTimeout(ctx, leadPatience)
	defer stop()
	own, _ := y.terms()
	var able []brokers.Broker
	for _, b := range others {
		status, err := peers.Status(ctx, b.Peer)
		switch {
		case err != nil:
		case status.Term > own:
			y.superseded(status.Term)
			return
		case !b.Leaving:
			able = append(able, b)
		}
	}
	for _, b := range able {
		if ask && peers.TakeOver(ctx, b.Peer, own) == nil {
			y.superseded(own + 1) // it leads, by a fence that lies behind
			return
		}
	}
}
