package sim

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/objectstore/health"
)

// severed is how an agent does not reach the bucket.
type severed struct {
	until  time.Time
	silent bool // nothing comes through until it is mended; else connections are refused
}

// severing is how the agent of l does not reach the bucket now, false if it does.
func (w *world) severing(l *life) (severed, bool) {
	s := w.severed[l.host.name]
	return s, s.until.After(time.Now()) && !l.dead.Load()
}

// heed has the process watch its requests to the bucket.
func (l *life) heed() {
	cfg := health.Default()
	cfg.Patience += time.Duration(l.index) * 1033
	n := byte(0)
	l.health = health.New(&bucket{l.w, l}, cfg, func() string {
		n++
		return l.w.keys.Probe([16]byte{l.id[0], n})
	}, l.metrics)
	l.keep = l.health
}

var errAside = errors.New("this agent does not reach the bucket, others do")

// aside is agent's, but that it comes back at once, and nobody's connection ends.
func (l *life) aside(ctx context.Context) error {
	defer close(l.asideEnded)
	var beside sync.WaitGroup
	defer beside.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	known, relieved, asked := l.view.Load(), false, false
	saying := make(chan struct{}, 1) // holds one while a command is under way
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		stuckChanged, viewChanged := l.health.Changed(), known.Changed()
		v, stuck := known.View(), l.health.Stuck()
		want := stuck != nil && len(v.Others()) > 0
		if now := v.Relieved() && stuck != nil; now != relieved {
			if relieved = now; now {
				l.w.s.submit(&step{who: l.name, what: "steps aside", decide: func(*rand.Rand) time.Duration { return 0 }, run: func() time.Duration {
					l.w.count("step aside")
					return 0
				}})
				l.producer.Halt(errAside)
			} else {
				l.w.s.note(l.name, "takes its share again")
				l.producer.Resume()
			}
		}
		if own, ok := v.Self(); ok && own.Aside != want && (want || l.w.mutant != aloof) {
			select {
			case saying <- struct{}{}:
				beside.Go(func() {
					_ = l.session.StepAside(ctx, !want)
					<-saying
				})
			default:
			}
		}
		if want {
			l.yield(ctx, !asked)
		}
		asked = want
		timer.Reset(time.Second + time.Duration(l.index)*1039)
		select {
		case <-stuckChanged:
		case <-viewChanged:
		case <-timer.C:
		case <-l.leaving:
			return nil
		case <-ctx.Done():
		}
	}
	return nil
}

// yielding is agent's: a leader that is cut off from the bucket lets go of its append once another one leads.
//
// mu guards term and newer.
type yielding struct {
	journal.Journal
	stuck func() error

	mu    sync.Mutex
	term  *yieldingTerm // the newest of this process
	newer uint64        // index of the newest fence of others, as far as they told
}

type yieldingTerm struct {
	journal.Term
	over context.Context
	end  context.CancelCauseFunc
}

var errSuperseded = errors.New("another agent leads")

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
	if y.term != nil {
		y.term.end(errSuperseded)
	}
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

// Tip implements journal.Journal.
func (y *yielding) Tip(ctx context.Context, applied uint64) error {
	y.mu.Lock()
	newer := y.newer
	y.mu.Unlock()
	if applied < newer && y.stuck() != nil {
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
	return context.WithTimeout(ctx, time.Second)
}

// own is the index of the newest fence of this process; 0: none.
func (y *yielding) own() uint64 {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.term == nil {
		return 0
	}
	return y.term.Fence().Index
}

// superseded tells of another agent's fence.
func (y *yielding) superseded(by uint64) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.term != nil && by > y.term.Fence().Index {
		y.newer = max(y.newer, by)
		y.term.end(errSuperseded)
	}
}

// yield is agent's: a leader finds out whether another agent leads by now; with ask, it asks the others to, one by one.
func (l *life) yield(ctx context.Context, ask bool) {
	if !l.replica.Leading() {
		return
	}
	ctx, stop := context.WithTimeout(ctx, 2*time.Second)
	defer stop()
	own, net, able := l.yielding.own(), wires{l.w, l}, []string(nil)
	for _, b := range l.view.Load().View().Others() {
		status, err := net.Status(ctx, b.Peer)
		switch {
		case err != nil:
		case status.Term > own:
			l.yielding.superseded(status.Term)
			return
		case !b.Leaving:
			able = append(able, b.Peer)
		}
	}
	for _, peer := range able {
		if ask && net.TakeOver(ctx, peer, own) == nil {
			l.yielding.superseded(own + 1)
			return
		}
	}
}
