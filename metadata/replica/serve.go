package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/state"
)

// serve is the loop of the one goroutine that owns the state. Each round takes everybody who waits at its beginning: the
// commands become one entry, and the append, begun after the fresh readers asked, is their proof too (rule R1). A round
// with fresh readers only proves the tip instead. At most one append is outstanding, and none while a tip is proven.
func (r *Replica) serve(ctx context.Context) error {
	for {
		var calls []*call
		var waiters []*waiter
		select {
		case <-ctx.Done():
			return nil
		case err := <-r.snaps.lost:
			return err
		case <-r.snaps.wanted:
			r.takeImage()
			continue
		case note := <-r.snaps.notes:
			calls = append(calls, note)
		case c := <-r.calls:
			calls = append(calls, c)
		case w := <-r.fresh:
			waiters = append(waiters, w)
		}
		calls = r.gather(calls)
		waiters = r.gatherWaiters(waiters)
		var err error
		if len(calls) > 0 {
			err = r.commit(ctx, calls)
		} else {
			err = r.proveTip(ctx, waiters)
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if len(calls) > 0 {
			r.release(waiters, nil)
		}
	}
}

// gather adds the calls that are waiting already, up to the bounds of an entry.
func (r *Replica) gather(calls []*call) []*call {
	count := 0
	for _, c := range calls {
		count += len(c.commands)
	}
	for count < r.cfg.EntryCommands {
		select {
		case c := <-r.calls:
			calls = append(calls, c)
			count += len(c.commands)
		default:
			return calls
		}
	}
	return calls
}

func (r *Replica) gatherWaiters(waiters []*waiter) []*waiter {
	for {
		select {
		case w := <-r.fresh:
			waiters = append(waiters, w)
		default:
			return waiters
		}
	}
}

// commit appends the calls' commands, in order, as few entries as the size bound allows, and answers them.
func (r *Replica) commit(ctx context.Context, calls []*call) error {
	for len(calls) > 0 {
		entry := state.Entry{Index: r.applied.Load() + 1}
		if r.sinceCheck++; r.sinceCheck >= r.cfg.CheckEvery {
			r.sinceCheck = 0
			entry.Check = state.Check{Index: r.applied.Load(), Hash: r.st.Hash()}
		}
		taken, size := 0, 0
		for _, c := range calls {
			if taken > 0 && size >= r.cfg.EntryBytes {
				break
			}
			entry.Commands = append(entry.Commands, c.commands...)
			size += roughSize(c.commands)
			taken++
		}
		if err := r.append(ctx, entry, calls[:taken]); err != nil {
			return err
		}
		calls = calls[taken:]
	}
	return nil
}

// roughSize estimates encoded bytes.
func roughSize(commands []state.Command) int {
	size := 0
	for _, c := range commands {
		size += 64 + state.SizeHint(c.Op)
	}
	return size
}

// append commits one entry, applies it and answers the calls that it carries.
func (r *Replica) append(ctx context.Context, entry state.Entry, calls []*call) error {
	body := state.EncodeEntry(entry)
	began := time.Now()
	appended, err := r.term.Append(ctx, body)
	if err != nil {
		return appendError(entry.Index, err)
	}
	r.metrics.append.Observe(time.Since(began).Seconds())
	if appended.Index != entry.Index {
		return fmt.Errorf("appended entry %d landed as %d", entry.Index, appended.Index)
	}
	results, changes, err := r.applyDecoded(entry)
	if err != nil {
		return err
	}
	r.metrics.commands.Add(float64(len(entry.Commands)))
	r.hub.publish(entry.Index, changes)
	for _, c := range calls {
		n := len(c.commands)
		c.results, results = results[:n:n], results[n:]
		close(c.done)
	}
	r.snaps.grow(int64(len(body)))
	return nil
}

func appendError(index uint64, err error) error {
	if errors.Is(err, journal.ErrFenced) {
		return fmt.Errorf("%w (its fence or entry took journal index %d)", metadata.ErrFenced, index)
	}
	return fmt.Errorf("append journal entry %d: %w", index, err)
}

// proveTip proves to the waiters that nothing was committed beyond the applied index when this began. An unreachable
// journal fails them, not the replica.
func (r *Replica) proveTip(ctx context.Context, waiters []*waiter) error {
	waiters = dropGone(waiters)
	if len(waiters) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, tipPatience, errTipPatience)
	defer cancel()
	err := r.journal.Tip(ctx, r.applied.Load())
	switch {
	case err == nil:
		r.release(waiters, nil)
		return nil
	case errors.Is(err, journal.ErrBehind), errors.Is(err, journal.ErrTrimmed):
		// Somebody else appended: this replica leads no more.
		return fmt.Errorf("%w (found beyond journal index %d)", metadata.ErrFenced, r.applied.Load())
	case errors.Is(err, journal.ErrNoHead), errors.Is(err, journal.ErrMismatch):
		return err
	}
	r.release(waiters, fmt.Errorf("%w: %w", metadata.ErrUnavailable, err))
	return nil
}
