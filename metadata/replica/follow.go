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

// follower is what the owner needs while it follows.
type follower struct {
	r      *owner
	feed   *feed
	found  chan tip      // what came of asking for a fresh index; one is asked for at a time
	asked  []*waiter     // for whom it is asked; nil: it is not
	await  []awaited     // readers whose index is known and not applied yet
	next   time.Time     // when the next look at the others is due, while the leader is suspected
	looked time.Time     // when the journal was last read for want of anybody to ask
	why    suspicion     // against the leader
	since  time.Time     // it is suspected since then; from silent on, since it is so
	hold   time.Duration // no election so soon after since
	probed time.Time     // when the usual way was last looked at, while another is used
	behind uint64        // newest index that upstream counts on being read from the journal
	retry  time.Time     // when it is read again, after it could not be
}

// tip is an index that nothing was committed beyond when it was asked for.
type tip struct {
	index  uint64
	behind bool // the journal has more than is applied here
	err    error
}

// awaited is readers who are served once index is applied.
type awaited struct {
	index   uint64
	waiters []*waiter
}

// follow is the owner's loop while another replica leads, or nobody. It returns when this one should stand for election; with
// the wish, if somebody asked it to take over.
func (r *owner) follow(ctx context.Context) (*takeover, error) {
	ctx, stop := context.WithCancel(ctx)
	f := &follower{r: r, feed: newFeed(r), found: make(chan tip, 1)}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { f.feed.run(ctx) })
	defer f.leave()
	tick := time.NewTicker(r.cfg.Beat / 4)
	defer tick.Stop()
	f.ask(ctx, &wg)
	for {
		var err error
		stand := false
		select {
		case <-ctx.Done():
			return nil, nil
		case err = <-r.snap.Lost(): // a snapshot from when it led found the head missing
		case p := <-f.feed.pushes:
			err = f.pushed(ctx, p)
		case c := <-r.in.calls:
			c.fail(errElsewhere)
		case <-r.snap.Notes(): // from when it led
		case w := <-r.in.fresh:
			r.pending = append(r.pending, w)
			f.ask(ctx, &wg)
		case t := <-f.found:
			err = f.foundTip(ctx, t)
			f.ask(ctx, &wg)
		case t := <-r.in.takeovers:
			if t.term == r.at.Load().term {
				return t, nil
			}
			t.answer(false)
		case <-f.feed.trouble:
			if time.Since(f.since) < time.Second { // whoever was asked may have known less a moment ago
				f.next = time.Time{}
			}
			stand, err = f.watch(ctx)
		case <-tick.C:
			f.probe(ctx, &wg)
			if stand, err = f.watch(ctx); err == nil && !stand {
				err = f.fillGap(ctx)
			}
		}
		if err = f.mend(ctx, err); err != nil || stand {
			return nil, err
		}
	}
}

// mend deals with what can be dealt with: a state that differs from the leader's is thrown away, once; a journal that cannot be
// read now is read again later. Everything else ends the replica.
func (f *follower) mend(ctx context.Context, err error) error {
	r := f.r
	err = r.renew(ctx, err)
	switch {
	case err == nil || ctx.Err() != nil:
		return nil
	case fatal(err):
		return err
	}
	f.next = time.Now().Add(r.cfg.Beat)
	return nil
}

// renew throws a state that differs from the leader's away, once at any place, and begins anew from the snapshot. Other errors it
// answers as they are.
func (r *owner) renew(ctx context.Context, err error) error {
	if !errors.Is(err, state.ErrDiverged) || r.reloaded == r.applied.Load() || ctx.Err() != nil {
		return err
	}
	r.log.Error("this agent's metadata differ from the leader's; beginning anew from the snapshot", "error", err)
	r.metrics.diverged.Inc()
	r.reloaded = r.applied.Load()
	r.snap.Drop() // what differs must not be published
	return r.reload(ctx)
}

// fatal tells the errors that waiting does not mend.
func fatal(err error) bool {
	for _, e := range []error{
		journal.ErrNoHead, journal.ErrMismatch, journal.ErrFormat, journal.ErrCorrupt, state.ErrDiverged, state.ErrCorrupt, state.ErrLevel,
		state.ErrUnknownCommand, state.ErrIndex,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// leave keeps the readers that were not answered for the next role.
func (f *follower) leave() {
	r := f.r
	r.pending = append(r.pending, f.asked...)
	for _, a := range f.await {
		r.pending = append(r.pending, a.waiters...)
	}
}

// pushed applies an entry from upstream, if it is the next. A gap is read from the journal: either is only what was committed.
func (f *follower) pushed(ctx context.Context, p Push) error {
	r := f.r
	next := r.applied.Load() + 1
	r.metrics.heard(p.Applied)
	switch {
	case p.Missing && p.Applied >= next:
		f.behind = max(f.behind, p.Applied)
		return f.fillGap(ctx)
	case p.Entry != nil && p.Entry.Index > next:
		f.behind = max(f.behind, p.Entry.Index)
		return f.fillGap(ctx)
	case p.Entry != nil && p.Entry.Index == next:
		err := r.take(*p.Entry)
		f.serve()
		return err
	}
	return nil
}

// fillGap reads what upstream does not send, and will not send again, until that succeeds.
func (f *follower) fillGap(ctx context.Context) error {
	r := f.r
	if f.behind <= r.applied.Load() || time.Now().Before(f.retry) {
		return nil
	}
	err := r.bounded(ctx, r.catchUp)
	if err != nil {
		f.retry = time.Now().Add(r.cfg.Beat)
	}
	f.serve()
	return err
}

// bounded gives what reads the journal some time: the owner has others to serve meanwhile, who need no journal.
func (r *owner) bounded(ctx context.Context, read func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, journalPatience, errTipPatience)
	defer cancel()
	r.trouble.Journal.Begin(time.Now(), "applied", r.applied.Load())
	err := read(ctx)
	if err != nil {
		r.trouble.Journal.Fail(err)
		return err
	}
	r.trouble.Journal.End()
	return nil
}

// journalPatience bounds how long a follower, or a candidate, works on the journal in one go.
const journalPatience = 10 * time.Second

// ask finds an index for the readers who wait for proof of freshness. Those who come while it is asked are asked for next:
// their proof must begin after they came (rule R1).
func (f *follower) ask(ctx context.Context, wg *sync.WaitGroup) {
	r := f.r
	if f.asked != nil {
		return
	}
	waiters := dropGone(r.in.gather(r.pending))
	r.pending = nil
	if len(waiters) == 0 {
		return
	}
	f.asked = waiters
	wg.Go(func() { f.found <- asker{r.Replica}.findTip(ctx) })
}

// findTip asks the leader, and if that says nothing the journal itself.
func (r asker) findTip(ctx context.Context) tip {
	ctx, cancel := context.WithTimeoutCause(ctx, tipPatience, errTipPatience)
	defer cancel()
	if p := r.at.Load(); !p.leading {
		asking, stop := context.WithTimeout(ctx, tipPatience/2)
		defer stop()
		defer context.AfterFunc(p.ctx, stop)()
		for address, way := range r.ways(p) {
			doubt := r.doubt(asking, p, address, stop)
			index, err := r.net.peers.Tip(asking, address, way)
			doubt()
			if err == nil {
				return tip{index: index}
			}
		}
	}
	applied := r.applied.Load()
	switch err := r.journal.Tip(ctx, applied); {
	case err == nil:
		return tip{index: applied}
	case errors.Is(err, journal.ErrBehind), errors.Is(err, journal.ErrTrimmed):
		return tip{behind: true}
	default:
		return tip{err: fmt.Errorf("%w: %w", metadata.ErrUnavailable, err)}
	}
}

// foundTip answers those for whom it was asked, now or once the index is applied.
func (f *follower) foundTip(ctx context.Context, t tip) error {
	r := f.r
	waiters := f.asked
	f.asked = nil
	switch {
	case fatal(t.err):
		release(waiters, 0, t.err)
		return t.err
	case t.err != nil:
		release(waiters, 0, t.err)
		return nil
	case t.behind: // what is read now has everything that was committed when they asked
		err := r.bounded(ctx, r.catchUp)
		if err != nil && !fatal(err) {
			release(waiters, 0, fmt.Errorf("%w: %w", metadata.ErrUnavailable, err))
			f.serve()
			return nil
		}
		release(waiters, r.applied.Load(), err)
		f.serve()
		return err
	}
	f.await = append(f.await, awaited{t.index, waiters})
	f.serve()
	return nil
}

// serve releases the readers whose index is applied by now.
func (f *follower) serve() {
	applied := f.r.applied.Load()
	kept := f.await[:0]
	for _, a := range f.await {
		if a.index <= applied {
			release(a.waiters, a.index, nil)
			continue
		}
		if a.waiters = dropGone(a.waiters); len(a.waiters) > 0 {
			kept = append(kept, a)
		}
	}
	clear(f.await[len(kept):])
	f.await = kept
}
