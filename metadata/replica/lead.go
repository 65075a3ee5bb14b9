package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/state"
)

// leader is the owner's part while it leads. All of it belongs to the owner.
type leader struct {
	*owner
	sinceCheck uint64 // entries since the last one that carried a hash
}

// errDeposed: another leader's fence or entry was found in the journal: this replica leads no more.
var errDeposed = errors.New("another agent took the lead of the journal")

// deposed is errDeposed for one without peers, to whom it is the end.
func (r *Replica) deposed(format string, args ...any) error {
	detail := fmt.Errorf(format, args...)
	if r.net.peers == nil {
		return fmt.Errorf("%w (%w)", metadata.ErrFenced, detail)
	}
	return fmt.Errorf("%w (%w)", errDeposed, detail)
}

// run is the owner's loop while this replica leads. Each round takes everybody who waits at its beginning: the commands
// become one entry, and the append, begun after the fresh readers asked, is their proof too (rule R1). A round with fresh
// readers only proves the tip instead. At most one append is outstanding, and none while a tip is proven.
func (r *leader) run(ctx context.Context) error {
	keeping, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { office{r.Replica}.keeper().Run(keeping) })
	defer wg.Wait() // after stop: its commands are answered then, or given up
	defer stop()
	r.snap.Resume()
	for {
		var calls []*call
		waiters := r.pending
		r.pending = nil
		if len(waiters) == 0 {
			select {
			case <-ctx.Done():
				return nil
			case err := <-r.snap.Lost():
				return err
			case <-r.snap.Wanted():
				r.mu.Lock()
				image, trimmed := r.st.Image(), r.st.Reader().TrimmedThrough()
				r.mu.Unlock()
				r.snap.Take(image, trimmed, r.fencesOf(r.st))
				continue
			case t := <-r.in.takeovers:
				t.answer(true) // it leads already
				continue
			case note := <-r.snap.Notes():
				calls = append(calls, &call{commands: []state.Command{{Op: note}}, done: make(chan struct{})})
			case c := <-r.in.calls:
				calls = append(calls, c)
			case w := <-r.in.fresh:
				waiters = append(waiters, w)
			}
		}
		if err := r.round(ctx, r.gather(calls), r.in.gather(waiters)); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// round serves those who waited at its beginning.
func (r *leader) round(ctx context.Context, calls []*call, waiters []*waiter) error {
	if len(calls) == 0 {
		return r.proveTip(ctx, waiters)
	}
	if err := r.commit(ctx, calls); err != nil {
		r.pending = waiters
		return err
	}
	release(waiters, r.applied.Load(), nil)
	return nil
}

// gather adds the calls that are waiting already, up to the bounds of an entry.
func (r *leader) gather(calls []*call) []*call {
	count := 0
	for _, c := range calls {
		count += len(c.commands)
	}
	for count < r.cfg.EntryCommands {
		select {
		case c := <-r.in.calls:
			calls = append(calls, c)
			count += len(c.commands)
		default:
			return calls
		}
	}
	return calls
}

// commit appends the calls' commands, in order, as few entries as the size bound allows, and answers them. After an error,
// those that were certainly not committed are told so; the rest learn that the outcome is unknown.
func (r *leader) commit(ctx context.Context, calls []*call) error {
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
			for _, c := range calls[taken:] {
				c.fail(errElsewhere)
			}
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
func (r *leader) append(ctx context.Context, entry state.Entry, calls []*call) error {
	body := state.EncodeEntry(entry)
	began := time.Now()
	r.in.appending.Store(max(int64(began.Sub(r.in.base)), 1))
	r.trouble.Journal.Begin(began, "append", entry.Index, "commands", len(entry.Commands))
	appended, err := r.term.Append(ctx, body)
	if err == nil || errors.Is(err, journal.ErrFenced) {
		r.trouble.Journal.End()
	} else {
		r.trouble.Journal.Stop() // the error says what is wrong
	}
	r.in.appending.Store(0)
	if errors.Is(err, journal.ErrTooLarge) && len(calls) > 1 {
		return r.appendEach(ctx, calls)
	}
	if err != nil {
		return r.appendFailed(entry.Index, calls, err)
	}
	r.metrics.append.Observe(time.Since(began).Seconds())
	if appended.Index != entry.Index {
		return fmt.Errorf("appended entry %d landed as %d", entry.Index, appended.Index)
	}
	results, changes, err := r.apply(entry)
	if err != nil {
		return err
	}
	r.metrics.commands.Add(float64(len(entry.Commands)))
	r.made(appended, changes)
	for _, c := range calls {
		n := len(c.commands)
		c.index, c.results, results = entry.Index, results[:n:n], results[n:]
		close(c.done)
	}
	return nil
}

// appendEach appends an entry for each call. Together they were too large for one, of which nothing was sent: none but a call
// that is too large alone may fail for that.
func (r *leader) appendEach(ctx context.Context, calls []*call) error {
	for i, c := range calls {
		if err := r.append(ctx, state.Entry{Index: r.applied.Load() + 1, Commands: c.commands}, []*call{c}); err != nil {
			for _, c := range calls[i+1:] {
				c.fail(errElsewhere)
			}
			return err
		}
	}
	return nil
}

// appendFailed tells the calls what is known: fenced means that nothing of the entry was or will be committed (J1). The term is over
// then, and also if the outcome is unknown; nothing but that happened if the entry was too large.
func (r *leader) appendFailed(index uint64, calls []*call, err error) error {
	verdict, over := error(metadata.ErrUnknown), true
	switch {
	case errors.Is(err, journal.ErrFenced):
		verdict, err = errElsewhere, r.deposed("its fence or entry took journal index %d", index)
	case errors.Is(err, journal.ErrTooLarge):
		verdict, over = fmt.Errorf("%w: %w: %w", metadata.ErrNotApplied, metadata.ErrTooLarge, err), false
		err = nil
	case r.net.peers != nil && errors.Is(err, journal.ErrUnknown) && !fatal(err): // it was trimmed meanwhile: others lead, and have led for long
		err = r.deposed("what became of journal entry %d is unknown: %w", index, err)
	default:
		err = fmt.Errorf("append journal entry %d: %w", index, err)
	}
	if r.net.peers != nil || !over {
		for _, c := range calls {
			c.fail(verdict)
		}
	}
	return err
}

// proveTip proves to the waiters that nothing was committed beyond the applied index when this began. An unreachable
// journal fails them, not the replica.
func (r *leader) proveTip(ctx context.Context, waiters []*waiter) error {
	waiters = dropGone(waiters)
	if len(waiters) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, tipPatience, errTipPatience)
	defer cancel()
	r.trouble.Journal.Begin(time.Now(), "applied", r.applied.Load())
	err := r.journal.Tip(ctx, r.applied.Load())
	if err != nil {
		r.trouble.Journal.Fail(err)
	} else {
		r.trouble.Journal.End()
	}
	switch {
	case err == nil:
		release(waiters, r.applied.Load(), nil)
		return nil
	case errors.Is(err, journal.ErrBehind), errors.Is(err, journal.ErrTrimmed):
		r.pending = waiters // whoever leads now will answer them
		return r.deposed("found beyond journal index %d", r.applied.Load())
	case errors.Is(err, journal.ErrNoHead), errors.Is(err, journal.ErrMismatch):
		release(waiters, 0, err)
		return err
	}
	release(waiters, 0, fmt.Errorf("%w: %w", metadata.ErrUnavailable, err))
	return nil
}
