package sim

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/leat-stream/leat/agent/produce"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
)

// mutant breaks one rule of the product on purpose. The zero value breaks none.
type mutant string

const (
	sound        mutant = ""
	noFence      mutant = "a deposed leader's append counts as a success"
	noDedup      mutant = "a session resends commands under new numbers"
	noOrder      mutant = "objects are committed out of seal order"
	noProof      mutant = "fresh reads are answered from memory"
	earlyAck     mutant = "commands are answered before they are in the journal"
	lostAnswerOK mutant = "an upload whose answer was lost counts as stored"
)

// bucket is what an agent's parts see of the bucket.
func (m mutant) bucket(s objectstore.Store) objectstore.Store { return s }

// journal is what its replica sees of the journal.
func (m mutant) journal(l *life, j journal.Journal) journal.Journal {
	switch m {
	case noFence, earlyAck:
		return brokenTerms{j, m, l}
	case noProof:
		return brokenTip{j}
	}
	return j
}

// service is what its session sees of its replica.
func (m mutant) service(s metadata.Service) metadata.Service {
	if m == noDedup {
		return &renumbering{Service: s, shift: map[state.Lane]uint64{}, newest: map[state.Lane]uint64{}}
	}
	return s
}

// objects is what its write path sees of its session.
func (m mutant) objects(s *metadata.Session) produce.Session {
	if m == noOrder {
		return &swapping{Session: s}
	}
	return s
}

// brokenTip proves nothing.
type brokenTip struct{ journal.Journal }

// Tip implements journal.Journal.
func (brokenTip) Tip(context.Context, uint64) error { return nil }

// brokenTerms makes broken terms.
type brokenTerms struct {
	journal.Journal
	mutant mutant
	l      *life
}

// Lead implements journal.Journal.
func (j brokenTerms) Lead(ctx context.Context, after uint64, body []byte) (journal.Term, error) {
	t, err := j.Journal.Lead(ctx, after, body)
	if err != nil {
		return nil, err
	}
	b := &brokenTerm{Term: t, last: t.Fence().Index, mutant: j.mutant}
	if b.mutant == earlyAck {
		b.queue = make(chan []byte, 1024)
		j.l.parts.Go(func() {
			for {
				select {
				case body := <-b.queue:
					if _, err := t.Append(j.l.ctx, body); err != nil {
						return
					}
				case <-j.l.ctx.Done():
					return
				}
			}
		})
	}
	return b, nil
}

type brokenTerm struct {
	journal.Term
	mutant mutant
	last   uint64
	queue  chan []byte
}

// Append implements journal.Term.
func (t *brokenTerm) Append(ctx context.Context, body []byte) (journal.Entry, error) {
	e := journal.Entry{Index: t.last + 1, Kind: journal.KindCommands, Term: t.Fence().Term, Body: body}
	if t.mutant == earlyAck {
		t.queue <- body
		t.last++
		return e, nil
	}
	_, err := t.Term.Append(ctx, body)
	if err == nil || errors.Is(err, journal.ErrFenced) {
		t.last++
		return e, nil
	}
	return journal.Entry{}, err
}

// renumbering gives commands that are sent again new numbers.
type renumbering struct {
	metadata.Service
	mu            sync.Mutex
	shift, newest map[state.Lane]uint64
}

// Do implements metadata.Service.
func (r *renumbering) Do(ctx context.Context, commands ...state.Command) ([]state.Result, error) {
	lane := commands[0].Lane
	if commands[0].Number == 0 {
		return r.Service.Do(ctx, commands...)
	}
	r.mu.Lock()
	if commands[0].Number <= r.newest[lane] { // sent before
		r.shift[lane] += uint64(len(commands))
	}
	r.newest[lane] = commands[len(commands)-1].Number
	shift := r.shift[lane]
	r.mu.Unlock()
	sent := make([]state.Command, len(commands))
	for i, c := range commands {
		c.Number += shift
		sent[i] = c
	}
	return r.Service.Do(ctx, sent...)
}

// swapping commits each object behind the one that follows it, if that comes soon.
type swapping struct{ *metadata.Session }

var _ = time.Second
