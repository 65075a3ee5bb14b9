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
	ctx  context.Context
	err  error
	done chan struct{} // closed once err is set
}

func (r *Replica) release(waiters []*waiter, err error) {
	for _, w := range waiters {
		w.err = err
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

// Do implements metadata.Service.
func (r *Replica) Do(ctx context.Context, commands ...state.Command) ([]state.Result, error) {
	if len(commands) == 0 {
		return nil, nil
	}
	c := &call{commands: commands, done: make(chan struct{})}
	select {
	case r.calls <- c:
	case <-r.dead:
		return nil, r.stopped()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", metadata.ErrNotApplied, context.Cause(ctx))
	}
	select {
	case <-c.done:
		return c.results, nil
	case <-r.dead:
		select {
		case <-c.done:
			return c.results, nil
		default:
			return nil, r.stopped()
		}
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", metadata.ErrUnknown, context.Cause(ctx))
	}
}

// Ask implements metadata.Service.
func (r *Replica) Ask(ctx context.Context, f metadata.Freshness, read func(state.Reader)) error {
	switch {
	case f.IsFresh():
		if err := r.proveFresh(ctx); err != nil {
			return err
		}
	case f.Index() > r.applied.Load():
		if err := r.hub.wait(ctx, f.Index()); errors.Is(err, metadata.ErrStopped) {
			return r.stopped()
		} else if err != nil {
			return err
		}
	}
	select {
	case <-r.dead:
		return r.stopped()
	default:
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	read(r.st.Reader())
	return nil
}

func (r *Replica) proveFresh(ctx context.Context) error {
	w := &waiter{ctx: ctx, done: make(chan struct{})}
	select {
	case r.fresh <- w:
	case <-r.dead:
		return r.stopped()
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", metadata.ErrUnavailable, context.Cause(ctx))
	}
	select {
	case <-w.done:
		return w.err
	case <-r.dead:
		return r.stopped()
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", metadata.ErrUnavailable, context.Cause(ctx))
	}
}

// Waiting is how many calls wait to be served: of Do, and of Ask for a fresh state.
func (r *Replica) Waiting() int { return len(r.calls) + len(r.fresh) }
