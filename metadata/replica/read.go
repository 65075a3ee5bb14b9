package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// tipPatience bounds one proof of freshness, so that commands which arrive meanwhile are not held up by a bucket that
// does not answer: they wait for the same bucket anyway. It decides how soon a reader gets an error, never what is true.
const tipPatience = 5 * time.Second

var errTipPatience = errors.New("the journal did not answer in time")

// waiter is one reader who wants proof of freshness.
type waiter struct {
	ctx   context.Context
	index uint64 // proven: nothing was committed beyond it when the reader asked
	err   error
	done  chan struct{} // closed once index or err is set
}

// release tells the waiters that index is fresh enough for them, or why none is known.
func release(waiters []*waiter, index uint64, err error) {
	for _, w := range waiters {
		w.index, w.err = index, err
		close(w.done)
	}
}

// dropGone leaves out the waiters whose callers have given up.
func dropGone(waiters []*waiter) []*waiter {
	kept := waiters[:0]
	for _, w := range waiters {
		if w.ctx.Err() == nil {
			kept = append(kept, w)
		}
	}
	return kept
}

// errElsewhere: this replica did not do it, for sure; whoever leads may.
var errElsewhere = errors.New("another replica leads")

// elsewherePause is how long a call waits, while nobody who leads is reached, before it looks again.
const elsewherePause = 100 * time.Millisecond

// Do implements metadata.Service. While nobody leads, it waits.
func (r *Replica) Do(ctx context.Context, commands ...state.Command) ([]state.Result, error) {
	if len(commands) == 0 {
		return nil, nil
	}
	for {
		p := r.at.Load()
		var results []state.Result
		var err error
		if p.leading {
			results, _, err = r.doHere(ctx, commands)
		} else {
			results, err = asker{r}.propose(ctx, p, commands)
		}
		if !errors.Is(err, errElsewhere) {
			return results, err
		}
		timer := time.NewTimer(elsewherePause)
		select {
		case <-timer.C:
		case <-p.ctx.Done():
		case <-r.dead:
		case <-ctx.Done():
		}
		timer.Stop()
		select {
		case <-r.dead:
			return nil, r.stopped()
		default:
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w", metadata.ErrNotApplied, context.Cause(ctx))
		}
	}
}

// doHere has the owner commit the commands, as the leader, and answers the index of the entry that holds them.
func (r *Replica) doHere(ctx context.Context, commands []state.Command) ([]state.Result, uint64, error) {
	if ctx.Err() != nil { // select would choose at random
		return nil, 0, fmt.Errorf("%w: %w", metadata.ErrNotApplied, context.Cause(ctx))
	}
	c := &call{commands: commands, done: make(chan struct{})}
	select {
	case r.in.calls <- c:
	case <-r.dead:
		return nil, 0, r.stopped()
	case <-ctx.Done():
		return nil, 0, fmt.Errorf("%w: %w", metadata.ErrNotApplied, context.Cause(ctx))
	}
	select {
	case <-c.done:
		return c.results, c.index, c.err
	case <-r.dead:
		select {
		case <-c.done:
			return c.results, c.index, c.err
		default:
			return nil, 0, r.stopped()
		}
	case <-ctx.Done():
		return nil, 0, fmt.Errorf("%w: %w", metadata.ErrUnknown, context.Cause(ctx))
	}
}

// reach waits until index is applied here.
func (r *Replica) reach(ctx context.Context, index uint64) error {
	if index <= r.applied.Load() {
		return nil
	}
	if err := r.hub.Wait(ctx, index); errors.Is(err, metadata.ErrStopped) {
		return r.stopped()
	} else if err != nil {
		return err
	}
	return nil
}

// Ask implements metadata.Service.
func (r *Replica) Ask(ctx context.Context, f metadata.Freshness, read func(state.Reader)) error {
	index := f.Index()
	if f.IsFresh() {
		var err error
		if index, err = r.proveFresh(ctx); err != nil {
			return err
		}
	}
	for {
		if err := r.reach(ctx, index); err != nil {
			return err
		}
		select {
		case <-r.dead:
			return r.stopped()
		default:
		}
		if r.look(index, read) {
			return nil
		}
	}
}

// look lets read look at the state, unless index is not applied to it: one that differed from the leader's has just been
// thrown away, and the new one begins earlier.
func (r *Replica) look(index uint64, read func(state.Reader)) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	reader := r.st.Reader()
	if reader.Index() < index {
		return false
	}
	read(reader)
	return true
}

// proveFresh answers an index that nothing was committed beyond at a moment after the call began (rule R1).
func (r *Replica) proveFresh(ctx context.Context) (uint64, error) {
	w := &waiter{ctx: ctx, done: make(chan struct{})}
	select {
	case r.in.fresh <- w:
	case <-r.dead:
		return 0, r.stopped()
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: %w", metadata.ErrUnavailable, context.Cause(ctx))
	}
	select {
	case <-w.done:
		return w.index, w.err
	case <-r.dead:
		return 0, r.stopped()
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: %w", metadata.ErrUnavailable, context.Cause(ctx))
	}
}

// Applied is the index of the last entry that is applied here.
func (r *Replica) Applied() uint64 { return r.applied.Load() }

// Waiting is how many calls wait to be served: of Do, and of Ask for a fresh state.
func (r *Replica) Waiting() int { return len(r.in.calls) + len(r.in.fresh) }
