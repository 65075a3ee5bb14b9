package agent

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/leat-stream/leat/agent/brokers"
	"github.com/leat-stream/leat/metadata/journal"
)

// yielding is a journal in the bucket whose leader can let go. A leader that no longer reaches the bucket cannot find out what became of
// its append, nor that another agent leads by now, and would hang until the bucket is back, with all commands of this agent. Told by
// another agent that there is a newer term, it ends the append with its outcome unknown (J1 allows that at any time), becomes a
// follower, and gets everything from that agent; commands are sent again and are decided once (R2). Whoever claims a newer term
// falsely costs an election, never more.
//
// mu guards term and newer.
type yielding struct {
	journal.Journal
	stuck func() error // why the bucket does not answer; nil: it does

	mu    sync.Mutex
	term  *yieldingTerm // the newest that this process led; nil: none
	newer uint64        // index of the newest fence that others told of
}

// stuckPatience bounds a look at the journal while the bucket does not answer: who looks has others to serve, who need no bucket.
const stuckPatience = time.Second

var (
	errSuperseded = errors.New("another agent leads")
	errStuckLook  = errors.New("the object store does not answer this agent")
)

// yieldingTerm is a term that ends when this agent hears of a newer one.
type yieldingTerm struct {
	journal.Term
	over context.Context
	end  context.CancelCauseFunc
}

// Lead implements journal.Journal.
func (y *yielding) Lead(ctx context.Context, after uint64, body []byte) (journal.Term, error) {
	inner, err := y.Journal.Lead(ctx, after, body)
	if err != nil {
		return nil, err
	}
	t := &yieldingTerm{Term: inner}
	t.over, t.end = context.WithCancelCause(context.Background())
	y.mu.Lock()
	defer y.mu.Unlock()
	y.term = t
	return t, nil
}

// Append implements journal.Term.
func (t *yieldingTerm) Append(ctx context.Context, body []byte) (journal.Entry, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(t.over, func() { stop(errSuperseded) })()
	return t.Term.Append(ctx, body)
}

// Read implements journal.Journal.
func (y *yielding) Read(ctx context.Context, from uint64) iter.Seq2[journal.Entry, error] {
	return func(yield func(journal.Entry, error) bool) {
		ctx, stop := y.bounded(ctx)
		defer stop()
		y.Journal.Read(ctx, from)(yield)
	}
}

// Tip implements journal.Journal. There are entries beyond what a leader has applied whom another one has replaced.
func (y *yielding) Tip(ctx context.Context, applied uint64) error {
	if _, newer := y.terms(); applied < newer && y.stuck() != nil {
		return fmt.Errorf("%w: %w", journal.ErrBehind, errSuperseded)
	}
	ctx, stop := y.bounded(ctx)
	defer stop()
	return y.Journal.Tip(ctx, applied)
}

func (y *yielding) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if y.stuck() == nil {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, stuckPatience, errStuckLook)
}

// terms is the index of the newest fence of this process, and of the newest that others told of; 0: none.
func (y *yielding) terms() (own, newer uint64) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.term != nil {
		own = y.term.Fence().Index
	}
	return own, y.newer
}

// superseded tells of the fence of another agent.
func (y *yielding) superseded(by uint64) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.term != nil && by > y.term.Fence().Index {
		y.newer = max(y.newer, by)
		y.term.end(errSuperseded)
	}
}

// leadPatience bounds what it takes to have another agent lead.
const leadPatience = 2 * time.Second

// yield finds out whether another agent leads by now; with ask, it asks the others in turn to take the lead if none does.
func (n *neighbours) yield(ctx context.Context, y *yielding, ask bool) {
	ctx, stop := context.WithTimeout(ctx, leadPatience)
	defer stop()
	own, _ := y.terms()
	var able []brokers.Broker
	for _, b := range n.view.Load().View().Others() {
		status, err := n.client.Status(ctx, b.Peer)
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
		if ask && n.client.TakeOver(ctx, b.Peer, own) == nil {
			y.superseded(own + 1) // it leads, by a fence that lies behind
			return
		}
	}
}
