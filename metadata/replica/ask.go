package replica

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// asker asks others, for a replica that does not lead. What it asks goes to the leader directly, or up the stream on which word of
// the leader comes: each agent on that way passes it on likewise. So there is a way as long as the leader is heard of, whoever
// reaches whom.
type asker struct{ *Replica }

// propose has the leader commit the commands, and answers once they are applied here too.
func (r asker) propose(ctx context.Context, p *position, commands []state.Command) ([]state.Result, error) {
	asking, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(p.ctx, stop)() // a leader that hangs is not waited for once there is another
	proposal := Proposal{Commands: state.EncodeEntry(state.Entry{Commands: commands})}
	for address, way := range r.ways(p) {
		proposal.Hops = way
		doubt := r.doubt(asking, p, address, stop)
		done, err := r.net.peers.Propose(asking, address, proposal)
		doubt()
		switch {
		case err == nil:
			return r.proposed(ctx, done, len(commands))
		case errors.Is(err, metadata.ErrTooLarge):
			return nil, err
		case errors.Is(err, ErrRefused), errors.Is(err, ErrNotLeader), errors.Is(err, metadata.ErrNotApplied):
			continue // the next way, or the same later
		}
		return nil, fmt.Errorf("%w: %w", metadata.ErrUnknown, err)
	}
	return nil, errElsewhere
}

func (r asker) proposed(ctx context.Context, done Proposed, n int) ([]state.Result, error) {
	results, err := state.DecodeResults(done.Results)
	if err == nil && len(results) != n {
		err = fmt.Errorf("%d results for %d commands", len(results), n)
	}
	if err == nil {
		err = r.reach(ctx, done.Index)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", metadata.ErrUnknown, err)
	}
	return results, nil
}

// passOn asks on behalf of another agent, whose question was passed on hops times. A second way is tried only where nobody was
// reached by the first: so an agent makes one call for one that it got, and at most two attempts at it.
func (r asker) passOn(ctx context.Context, hops int, ask func(ctx context.Context, address string, hops int) error) error {
	if hops >= maxHops {
		return ErrNotLeader
	}
	p := r.at.Load()
	asking, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(p.ctx, stop)()
	for address := range r.ways(p) {
		doubt := r.doubt(asking, p, address, stop)
		err := ask(asking, address, hops+1)
		doubt()
		unreached := errors.Is(err, ErrRefused) || errors.Is(err, metadata.ErrNotApplied) && !errors.Is(err, metadata.ErrTooLarge)
		if !unreached || asking.Err() != nil {
			return err
		}
	}
	return ErrNotLeader
}

// ways are the addresses to ask, the better first, each with the hops that count as taken: the leader, unless it is known to be out
// of reach, and the upstream, if that hears of the leader.
func (r asker) ways(p *position) iter.Seq2[string, int] {
	return func(yield func(string, int) bool) {
		own, direct := r.cfg.Leader, p.leader.Address
		if r.net.peers == nil || p.leading || p.leader.Session == own.Session {
			return
		}
		if direct == "" || direct == own.Address {
			direct = ""
		} else if !r.net.leader.Blocked() && !yield(direct, 0) {
			return
		}
		heard := r.net.leader.Heard(p.term, time.Now())
		if up := r.net.leader.Upstream(); up != "" && up != direct && heard >= 0 && heard <= r.cfg.Patience {
			yield(up, 1)
		}
	}
}

// doubt looks whether a peer is still there that takes long to answer, and gives it up if it says nothing: it may be cut off.
// It ends with the function that it answers.
func (r asker) doubt(ctx context.Context, p *position, address string, giveUp func()) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var timer *time.Timer
	var mu sync.Mutex // held over each look, so that timer is set before it fires
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(firstDoubt*r.cfg.Beat, func() {
		mu.Lock()
		defer mu.Unlock()
		again := r.cfg.Beat
		if !r.streams(p, address) {
			again = r.cfg.Patience
			if r.mute(ctx, p, address) {
				giveUp()
				return
			}
		}
		if ctx.Err() == nil {
			timer.Reset(again)
		}
	})
	return func() {
		cancel()
		timer.Stop()
	}
}

// firstDoubt is after how many beats a peer is doubted that does not answer.
const firstDoubt = 2

// streams tells whether the stream from a peer brought word of the leader lately. That answers for the peer, too.
func (r asker) streams(p *position, address string) bool {
	age := r.net.leader.Heard(p.term, time.Now())
	return r.net.leader.Upstream() == address && age >= 0 && age <= firstDoubt*r.cfg.Beat
}

// mute tells whether a peer says nothing at all, and notes what that means for the ways to the leader.
func (r asker) mute(ctx context.Context, p *position, address string) bool {
	if _, err := r.net.peers.Status(ctx, address); err == nil || ctx.Err() != nil {
		return false
	}
	if address == p.leader.Address {
		r.net.leader.SetBlocked(p.term, true)
	}
	if address == r.net.leader.Upstream() {
		r.net.leader.Lose(p.term)
	}
	return true
}
