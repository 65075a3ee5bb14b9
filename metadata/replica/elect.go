package replica

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/replica/election"
	"github.com/leat-stream/leat/metadata/state"
)

const (
	maxSurvey  = 64              // peers that are asked before an election
	standPause = time.Second     // after a candidacy that could not be carried out
	probeEvery = 5 * time.Second // looks for the usual way to the leader, while another is used
	handovers  = 20              // attempts at a fence behind a leader that asked for one and still appends
)

// watch decides whether it is time to stand. Called by the owner now and then, and at once when a stream failed.
func (f *follower) watch(ctx context.Context) (stand bool, err error) {
	r, now := f.r, time.Now()
	p := r.at.Load()
	why := r.suspects(p, now)
	if why == trusted {
		f.since, f.why, r.contested = time.Time{}, trusted, false
		r.trouble.Leaderless.End()
		if f.behind <= r.applied.Load() {
			r.trouble.Journal.End() // nothing needs it now
		}
		return false, nil
	}
	f.suspect(p, now, why)
	if now.Before(f.next) {
		return false, nil
	}
	f.next = now.Add(min(max(now.Sub(f.since)/8, f.why.pause()), 2*r.cfg.Beat)) // a bucket that is away keeps everybody asking for long
	v := f.survey(ctx, p)
	switch {
	case v.better != "": // somebody has seen a newer fence: it is in the journal
		f.feed.use(p, v.better)
		return false, r.bounded(ctx, r.catchUp)
	case v.hearing != "":
		f.feed.use(p, v.hearing)
		return false, nil
	}
	wait := max(time.Duration(v.ahead)*election.Pause, f.hold)
	if r.isolated = v.isolated; r.isolated && why > lost {
		wait = max(wait, r.cfg.SessionPatience+2*r.cfg.Patience)
		if err := f.lookAround(ctx, p); err != nil {
			return false, err
		}
	}
	now = time.Now()
	return why > lost && r.at.Load() == p && !now.Before(f.since.Add(wait)) && !now.Before(r.rest), nil
}

// suspect notes since when the leader is suspected, and why.
func (f *follower) suspect(p *position, now time.Time, why suspicion) {
	r := f.r
	if f.why == trusted {
		f.next = now
		r.log.Debug("the metadata leader is not heard of; asking the other agents", "leader", p.leader.Agent, "address", p.leader.Address, "since", p.term)
	}
	if why > lost {
		since := now
		if why == silent {
			age, _ := r.net.leader.Silence(p.term, now)
			since = now.Add(-age)
		}
		r.trouble.Leaderless.Begin(since, "agent", p.leader.Agent, "address", p.leader.Address, "term", p.term)
	}
	if f.why == trusted || f.why == lost && why > lost {
		f.since = now
		f.hold = election.Backoff(r.fences, now)
	}
	f.why = why
}

// probe looks now and then, while this agent does not follow whom its zone follows, or cannot reach the leader, whether it could again.
func (f *follower) probe(ctx context.Context, wg *sync.WaitGroup) {
	r, now := f.r, time.Now()
	p := r.at.Load()
	usual, up, blocked := f.feed.usual(p), r.net.leader.Upstream(), r.net.leader.Blocked()
	if len(usual) == 0 || up == usual[0] && !blocked || up == "" {
		f.probed = now
		return
	}
	if now.Before(f.probed.Add(probeEvery)) {
		return
	}
	f.probed = now
	wg.Go(func() {
		if blocked {
			if s, err := r.net.peers.Status(ctx, p.leader.Address); err == nil && s.Session == p.leader.Session {
				r.net.leader.SetBlocked(p.term, false)
			}
		}
		if up == usual[0] {
			return
		}
		s, err := r.net.peers.Status(ctx, usual[0])
		if err == nil && s.Term == p.term && s.Heard >= 0 && s.Heard <= r.cfg.Patience/2 && !r.behind(s.Session) {
			f.feed.back(p)
		}
	})
}

// behind tells whether an agent hears of the leader through this one: it follows this one, or one that does.
func (r *Replica) behind(session state.UUID) bool {
	return time.Since(r.net.alive.Last(session)) <= r.cfg.Patience
}

// lookAround reads the journal now and then for an agent that reaches hardly anybody: it may find another leader there, or agents
// that it does not know yet; or see that the leader, though not heard, appends: then it waits anew.
func (f *follower) lookAround(ctx context.Context, p *position) error {
	r := f.r
	if now := time.Now(); now.Before(f.looked.Add(r.cfg.Patience / 2)) {
		return nil
	}
	before := r.applied.Load()
	err := r.bounded(ctx, r.catchUp)
	f.looked = time.Now()
	f.serve()
	if r.at.Load() == p && r.applied.Load() != before {
		f.since = f.looked
	}
	return err
}

// view is what the others said.
type view struct {
	ahead    int    // of those who answer, how many would stand before this agent
	better   string // one that knows of a newer term; "": nobody
	hearing  string // one that hears the leader of this term, and not through this agent; "": nobody
	isolated bool   // most of the others say nothing at all: it may be this agent that is cut off
}

// suspicion is what there is against the leader, the less first.
type suspicion int

const (
	trusted suspicion = iota
	lost              // word of it stopped coming by the way it came, or is late: there may be another way
	silent            // nothing was heard of it for Config.Patience
	gone              // it has ended, or there never was one
)

// suspects tells whether the leader seems to be gone.
func (r *owner) suspects(p *position, now time.Time) suspicion {
	if p.term == 0 || p.leader.Session == r.cfg.Leader.Session || p.leader.Address == r.cfg.Leader.Address {
		return gone // nobody ever led; or this process did, and lost it; or one that had this process's address did
	}
	since, over := r.net.leader.Silence(p.term, now)
	switch {
	case over || r.over(p.leader.Session):
		return gone
	case since > r.cfg.Patience:
		return silent
	case r.net.leader.Lost(p.term), since > r.cfg.Patience/2:
		return lost
	}
	return trusted
}

// pause is how long a survey is waited for at least, after the one before.
func (s suspicion) pause() time.Duration {
	if s == lost {
		return election.Pause
	}
	return election.Pause / 2
}

// survey asks the others.
func (f *follower) survey(ctx context.Context, p *position) (v view) {
	r := f.r
	limit := r.cfg.Patience
	if since, _ := r.net.leader.Silence(p.term, time.Now()); f.why < gone && !r.net.leader.Lost(p.term) {
		limit = min(limit, since-3*r.cfg.Beat/2) // who last heard of it about when this agent did has lost it, too
	}
	peers := slices.DeleteFunc(r.openSessions(), func(s state.Session) bool {
		return s.Peer == "" || s.Peer == r.cfg.Leader.Address
	})
	slices.SortFunc(peers, func(a, b state.Session) int {
		return cmp.Compare(election.Rank(p.term, a.ID), election.Rank(p.term, b.ID))
	})
	peers = peers[:min(len(peers), maxSurvey)]
	answers := make([]Status, len(peers))
	var mute atomic.Int32
	var wg sync.WaitGroup
	for i, s := range peers {
		wg.Go(func() {
			status, err := r.net.peers.Status(ctx, s.Peer)
			switch {
			case err == nil && status.Session == s.ID:
				answers[i] = status
			case err != nil && !errors.Is(err, ErrRefused) && !errors.Is(err, metadata.ErrUnavailable): // who starts, or ends, is reached
				mute.Add(1)
				f.feed.avoid(s.Peer)
			}
		})
	}
	wg.Wait()
	own := election.Rank(p.term, r.cfg.Leader.Session)
	if f.leaving() {
		v.ahead = len(peers)
	}
	v.isolated = 2*int(mute.Load()) > len(peers)
	best := limit + 1
	for i, a := range answers {
		if a.Session.IsZero() {
			continue
		}
		if a.Term > p.term {
			v.better = peers[i].Peer
		}
		if way := f.worth(p, peers[i], a, limit); way >= 0 && way < best {
			v.hearing, best = peers[i].Peer, way
		}
		if a.Session == p.leader.Session {
			r.net.leader.SetBlocked(p.term, false)
		}
		if !peers[i].Leaving && election.Rank(p.term, a.Session) < own {
			v.ahead++
		}
	}
	return v
}

// worth orders the agents that have heard the leader of p within limit, the smallest first; negative: not this one. The leader itself, if it is well,
// comes first, then those of this agent's zone who hear it well, so that entries come into a zone once.
func (f *follower) worth(p *position, s state.Session, a Status, limit time.Duration) time.Duration {
	r := f.r
	switch {
	case a.Term != p.term || a.Heard < 0 || a.Heard > limit || r.behind(s.ID):
		return -1
	case s.Zone != r.cfg.Zone || a.Heard > r.cfg.Patience/2:
		return a.Heard
	}
	return a.Heard / 8
}

// over reports whether a session was closed: it can decide nothing any more.
func (r *owner) over(session state.UUID) bool {
	return r.st.Reader().Decided(state.ObjectName{Owner: session, Number: math.MaxUint64})
}

// leaving reports whether this agent is about to end.
func (f *follower) leaving() bool {
	s, ok := f.r.st.Reader().Session(f.r.cfg.Leader.Session)
	return ok && s.Leaving
}

// candidate is the owner's part while it tries to take the lead.
type candidate struct{ *owner }

// stand tries to take the lead: it reads on to the end of the journal and puts a fence there. If somebody else was quicker, or a
// leader that nobody hears is seen to append, this one follows again. asked: the leader itself asked for it.
func (r candidate) stand(ctx context.Context, asked bool) error {
	return r.gaveUp(ctx, r.bounded(ctx, func(ctx context.Context) error { return r.tryToLead(ctx, asked) }))
}

func (r candidate) tryToLead(ctx context.Context, asked bool) error {
	p, before := r.at.Load(), r.applied.Load()
	if err := r.catchUp(ctx); err != nil {
		return err
	}
	if r.at.Load() != p {
		return nil // another fence, or a reload: look again
	}
	if r.applied.Load() != before && !asked && (r.isolated || !r.contested && r.suspects(p, time.Now()) < gone) {
		// The leader appends, though it is not heard. If this agent hears nobody, that is its own trouble. Otherwise the leader is
		// given time to be heard; if it still is not then, it is deposed: commands of those who do not reach it wait. Of one that is
		// gone these are the last entries.
		r.contested = true
		r.rest = time.Now().Add(r.cfg.Patience)
		return nil
	}
	if r.over(r.cfg.Leader.Session) {
		r.rest = time.Now().Add(standPause)
		return nil // this agent counts as dead, and is about to find out
	}
	err := r.fence(ctx)
	for tries := 1; asked && errors.Is(err, journal.ErrBehind) && tries < handovers; tries++ { // the leader still has commands on their way
		if err = r.catchUp(ctx); err == nil && r.at.Load() == p {
			err = r.fence(ctx)
		}
	}
	switch {
	case errors.Is(err, journal.ErrBehind), errors.Is(err, journal.ErrTrimmed), err == nil && !r.at.Load().leading:
		return nil
	case err != nil:
		return err
	}
	r.log.Info("leads the metadata", "since", r.at.Load().term)
	return nil
}

// gaveUp ends a candidacy that failed: fatal errors end the replica, the others are tried again.
func (r candidate) gaveUp(ctx context.Context, err error) error {
	err = r.renew(ctx, err)
	if err == nil || fatal(err) || ctx.Err() != nil {
		return err
	}
	r.trouble.Leaderless.Fail(err)
	r.rest = time.Now().Add(standPause)
	return nil
}

// fence puts a fence behind what is applied, and leads from there.
func (r candidate) fence(ctx context.Context) error {
	info := r.cfg.Leader
	info.Time = r.cfg.Clock().UnixMilli()
	term, err := r.journal.Lead(ctx, r.applied.Load(), state.EncodeLeader(info))
	if err != nil {
		return err
	}
	if err := r.take(term.Fence()); err != nil {
		return err
	}
	r.term = term
	r.locate(true)
	r.trouble.Leaderless.End()
	return nil
}

// insist is for a replica without peers: it takes the lead, again and again while others are quicker.
func (r candidate) insist(ctx context.Context) error {
	for {
		err := r.catchUp(ctx)
		if err == nil {
			err = r.fence(ctx)
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, journal.ErrBehind):
		case errors.Is(err, journal.ErrTrimmed):
			err = r.reload(ctx)
			if err == nil {
				continue
			}
			fallthrough
		default:
			return fmt.Errorf("take the lead of the journal: %w", err)
		}
	}
}
