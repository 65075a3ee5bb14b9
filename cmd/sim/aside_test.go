package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

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

// yield is agent's: a leader finds out whether another agent leads by now.
func (l *life) yield(ctx context.Context, ask bool) {
	if l.replica.Leading() {
		l.yielding.Yield(ctx, wires{l.w, l}, l.view.Load().View().Others(), ask)
	}
}
