// Package proof tells a coordinator how fresh its view of the metadata is, so that it answers members only while its claims are
// confirmed (rule R11).
//
// Whatever it says rests on what the metadata proved; clocks only measure how long ago that was. The package must never count
// a look that did not succeed, and must cost nothing while nobody needs a proof.
package proof

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// Lifetime is how long a proof is good for, as a multiple of how often it is renewed.
const Lifetime = 2

const (
	patience = time.Second            // so long a request waits for a proof
	pause    = 250 * time.Millisecond // follows a look that failed, however many ask for the next
)

// ErrNone: there is no proof, and it does not come soon.
var ErrNone = errors.New("claims could not be confirmed")

// Door is what a coordinator needs of the metadata; a metadata.Session is one.
type Door interface {
	// ID is the session that claims are made by.
	ID() state.UUID
	// Do commits ops in the order of the calls, and answers once they are applied here. An error means that the outcome is
	// unknown, unless it is metadata.ErrNotApplied; an op of a later call is never decided before one of an earlier.
	Do(ctx context.Context, ops ...state.Op) ([]state.Result, error)
	// Ask looks at one state that is as fresh as f demands.
	Ask(ctx context.Context, f metadata.Freshness, read func(state.Reader)) error
}

// Proof is the door to the metadata, and it knows how fresh what is seen through it is: all that was committed before the time
// "at" is applied here. A claim that stands in such a state stood then. Whatever succeeds in committing or in looking freshly moves
// at forward; if nothing does for a while although a proof is needed, Run looks.
//
// Door and every never change; mu guards what is below it.
type Proof struct {
	Door
	every time.Duration
	kick  chan struct{} // a look is wanted now; holds one

	mu      sync.Mutex
	at      time.Time
	deaf    time.Duration // see Look
	renewed chan struct{} // closed when at moves; nil while nobody waits
}

// New makes a proof that is renewed that often.
func New(d Door, every time.Duration) *Proof {
	return &Proof{Door: d, every: every, kick: make(chan struct{}, 1)}
}

// Do is that of the door. What it committed is a proof.
func (p *Proof) Do(ctx context.Context, ops ...state.Op) ([]state.Result, error) {
	began := time.Now()
	results, err := p.Door.Do(ctx, ops...)
	if err == nil {
		p.note(began)
	}
	return results, err
}

// Ask is that of the door. A fresh look is a proof.
func (p *Proof) Ask(ctx context.Context, f metadata.Freshness, read func(state.Reader)) error {
	began := time.Now()
	err := p.Door.Ask(ctx, f, read)
	if err == nil && f.IsFresh() {
		p.note(began)
	}
	return err
}

func (p *Proof) note(began time.Time) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !began.After(p.at) {
		return
	}
	if gap := now.Sub(p.at); gap > Lifetime*p.every && !p.at.IsZero() {
		p.deaf += gap
	}
	p.at = began
	if p.renewed != nil {
		close(p.renewed)
		p.renewed = nil
	}
}

// Look answers whether there is a proof, and for how long in all there was none until now: a time in which members got no
// answer.
func (p *Proof) Look(now time.Time) (good bool, deaf time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.at.IsZero() && now.Sub(p.at) <= Lifetime*p.every, p.deaf
}

// Await waits for a proof, but not for long: then the error is ErrNone, or why ctx ended.
func (p *Proof) Await(ctx context.Context) error {
	if good, _ := p.Look(time.Now()); good {
		return nil
	}
	p.mu.Lock()
	if p.renewed == nil {
		p.renewed = make(chan struct{})
	}
	renewed := p.renewed
	p.mu.Unlock()
	p.Kick()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-renewed:
		return nil
	case <-timer.C:
		return ErrNone
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Kick says that a proof is needed from now on: Run looks at once if the last is old.
func (p *Proof) Kick() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// Run renews the proof while it is needed, until ctx ends. It asks for one look at a time.
func (p *Proof) Run(ctx context.Context, needed func() bool) {
	timer := time.NewTimer(p.every)
	defer timer.Stop()
	for {
		kicked := false
		select {
		case <-ctx.Done():
			return
		case <-p.kick:
			kicked = true
		case <-timer.C:
		}
		p.mu.Lock()
		age := time.Since(p.at)
		p.mu.Unlock()
		if age < p.every {
			timer.Reset(p.every - age)
			continue
		}
		if !kicked && !needed() {
			timer.Reset(p.every)
			continue
		}
		looking, cancel := context.WithTimeout(ctx, p.every)
		err := p.Ask(looking, metadata.Fresh(), func(state.Reader) {})
		cancel()
		if err == nil {
			timer.Reset(p.every)
			continue
		}
		select { // who kicks meanwhile is served by the next look
		case <-ctx.Done():
		case <-time.After(pause):
		}
		timer.Reset(0)
	}
}
