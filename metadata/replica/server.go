package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// Server is what other agents' replicas ask of this one: the other side of Peers.
type Server struct{ r *Replica }

// Server answers the replica's side for its peers. It may be used as soon as the replica is open.
func (r *Replica) Server() *Server { return &Server{r} }

// Status says what the replica knows.
func (s *Server) Status() Status {
	r := s.r
	p := r.at.Load()
	return Status{Session: r.cfg.Leader.Session, Applied: r.applied.Load(), Term: p.term, Heard: r.heard(p)}
}

// Propose commits commands, or passes them on to the leader.
func (s *Server) Propose(ctx context.Context, p Proposal) (Proposed, error) {
	r := s.r
	entry, err := state.DecodeEntry(0, p.Commands)
	if err != nil {
		return Proposed{}, fmt.Errorf("%w: proposal: %w", metadata.ErrNotApplied, err)
	}
	if r.Leading() {
		results, index, err := r.doHere(ctx, entry.Commands)
		if errors.Is(err, errElsewhere) {
			err = ErrNotLeader
		}
		if err != nil {
			return Proposed{}, err
		}
		return Proposed{Index: index, Results: state.EncodeResults(results)}, nil
	}
	var done Proposed
	err = asker{r}.passOn(ctx, p.Hops, func(ctx context.Context, address string, hops int) (err error) {
		done, err = r.net.peers.Propose(ctx, address, Proposal{Hops: hops, Commands: p.Commands})
		return err
	})
	return done, err
}

// Tip answers a fresh index (rule R1).
func (s *Server) Tip(ctx context.Context, hops int) (uint64, error) {
	r := s.r
	if r.Leading() {
		return r.proveFresh(ctx)
	}
	var index uint64
	err := asker{r}.passOn(ctx, hops, func(ctx context.Context, address string, hops int) (err error) {
		index, err = r.net.peers.Tip(ctx, address, hops)
		return err
	})
	return index, err
}

// Follow streams entries to a follower until ctx ends or push fails. beats answers what the follower says, until its stream ends.
// One that this replica follows itself is refused: neither would hear anything.
func (s *Server) Follow(ctx context.Context, f Follow, beats func() (Beat, error), push func(Push) error) error {
	r := s.r
	if up := r.net.leader.Upstream(); up != "" && up == r.peerOf(f.Session) {
		return ErrNotLeader
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with the stream, which ends with this call
		defer cancel()
		for {
			b, err := beats()
			if err != nil {
				return
			}
			now := time.Now()
			for _, a := range b.Alive {
				r.net.alive.Hear(a.Session, now.Add(-max(a.Age, 0)))
			}
		}
	}()
	tick := time.NewTicker(r.cfg.Beat)
	defer tick.Stop()
	next := f.From
	for {
		news := r.net.leader.News()
		entries, missing, applied, wake := r.net.recent.From(next)
		at := r.at.Load()
		say := Push{Applied: applied, Term: at.term, Heard: r.heard(at)}
		switch {
		case missing:
			say.Missing, next = true, applied+1
			if err := push(say); err != nil {
				return err
			}
			continue
		case len(entries) == 0:
			if err := push(say); err != nil {
				return err
			}
			tick.Reset(r.cfg.Beat)
		}
		for i := range entries {
			say.Entry = &entries[i]
			if err := push(say); err != nil {
				return err
			}
			next = entries[i].Index + 1
		}
		if len(entries) > 0 {
			continue
		}
		select {
		case <-wake:
		case <-news:
		case <-at.ctx.Done():
		case <-tick.C:
		case <-r.dead:
			return r.stopped()
		case <-ctx.Done():
			return nil
		}
	}
}

// peerOf is where other agents reach a session's process; "" if that is not known.
func (r *Replica) peerOf(session state.UUID) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s, _ := r.st.Reader().Session(session)
	return s.Peer
}

// takeover is the wish that this replica lead after the fence at index term.
type takeover struct {
	term uint64
	done chan bool // holds the one answer
}

func (t *takeover) answer(leads bool) {
	if t != nil {
		t.done <- leads
	}
}

// TakeOver has this replica take the lead after the fence at index term, for a leader that is about to end.
func (s *Server) TakeOver(ctx context.Context, term uint64) error {
	r := s.r
	t := &takeover{term: term, done: make(chan bool, 1)}
	select {
	case r.in.takeovers <- t:
	case <-r.dead:
		return r.stopped()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case leads := <-t.done:
		if !leads {
			return ErrNotLeader
		}
		return nil
	case <-r.dead:
		return r.stopped()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Resign has another agent lead, if this one does and there is another: for an agent that is about to end. An error means only that
// the others will find out by themselves.
func (r *Replica) Resign(ctx context.Context) error {
	p := r.at.Load()
	if !p.leading || r.net.peers == nil {
		return nil
	}
	var last error
	for _, s := range r.openSessions() {
		if s.Peer == "" || s.Leaving {
			continue
		}
		if _, last = r.net.peers.Status(ctx, s.Peer); last != nil {
			continue
		}
		if last = r.net.peers.TakeOver(ctx, s.Peer, p.term); last == nil {
			return r.Ask(ctx, metadata.Fresh(), func(state.Reader) {}) // finds the fence, and steps down
		}
	}
	return last
}
