package sim

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
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
	sound    mutant = ""
	noFence  mutant = "a deposed leader's append counts as a success"
	noDedup  mutant = "a session resends commands under new numbers"
	noOrder  mutant = "objects are committed out of seal order"
	noProof  mutant = "fresh reads are answered from memory"
	earlyAck mutant = "commands are answered before they are in the journal"
	ageless  mutant = "commits of offsets do not say how old they are"
	aloof    mutant = "an agent that reaches the bucket again does not say so"
	oldHead  mutant = "the head of the journal, once read, is believed for ever"
)

var mutants = []mutant{noFence, noDedup, noOrder, noProof, earlyAck, ageless, aloof, oldHead}

// mutantSeeds are many more than any mutant takes, which is some dozens at most; so many take two minutes, or as long as a slow machine needs.
const mutantSeeds = 1000

// TestEachMutantIsFound shows that the checks can fail, and soon.
func TestEachMutantIsFound(t *testing.T) {
	for _, m := range mutants {
		t.Run(string(m), func(t *testing.T) {
			for seed, began := uint64(1), time.Now(); ; seed++ {
				r := run(t, seed, *duration, m, nil)
				if len(r.violations) > 0 {
					t.Logf("found with seed %d, after %v: %s", seed, time.Since(began).Round(time.Millisecond), strings.SplitN(r.violations[0], "\n", 2)[0])
					return
				}
				if seed == mutantSeeds {
					t.Fatalf("%d seeds found nothing", seed)
				}
			}
		})
	}
}

// journal is what its replica sees of the journal.
func (m mutant) journal(l *life, opened journal.Journal) journal.Journal {
	j := journal.Journal(elections{opened, l})
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
	switch m {
	case noDedup:
		return &renumbering{Service: s}
	case ageless:
		return forgetful{s}
	}
	return s
}

// objects is what its write path sees of its session.
func (m mutant) objects(l *life) produce.Session {
	if m == noOrder {
		return &swapping{Session: l.session, l: l}
	}
	return l.session
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
	shift, newest uint64
}

// Do implements metadata.Service.
func (r *renumbering) Do(ctx context.Context, commands ...state.Command) ([]state.Result, error) {
	lane := commands[0].Lane
	if lane != state.LaneOther || commands[0].Number == 0 { // an object's number is also its name
		return r.Service.Do(ctx, commands...)
	}
	r.mu.Lock()
	if commands[0].Number <= r.newest { // sent before
		r.shift += uint64(len(commands))
	}
	r.newest = commands[len(commands)-1].Number
	shift := r.shift
	r.mu.Unlock()
	sent := make([]state.Command, len(commands))
	for i, c := range commands {
		c.Number += shift
		sent[i] = c
	}
	return r.Service.Do(ctx, sent...)
}

// forgetful does not say what its agent had applied when it took a commit of offsets.
type forgetful struct{ metadata.Service }

// Do implements metadata.Service.
func (f forgetful) Do(ctx context.Context, commands ...state.Command) ([]state.Result, error) {
	sent := slices.Clone(commands)
	for i := range sent {
		if op, ok := sent[i].Op.(state.CommitOffsets); ok {
			op.Accepted = 0
			sent[i].Op = op
		}
	}
	return f.Service.Do(ctx, sent...)
}

// swapping commits the first two of several objects in the wrong order. Numbers must be used in order, and belong to names: so each
// object is stored once more, under the other's number.
type swapping struct {
	*metadata.Session
	l *life
}

// swappedAttempt is an attempt that no upload comes to.
const swappedAttempt = 1000

// DoObjects implements produce.Session.
func (s *swapping) DoObjects(ctx context.Context, first uint64, ops ...state.Op) ([]state.Result, error) {
	if len(ops) < 2 || !s.store(first, ops[1], first+1) || !s.store(first+1, ops[0], first) {
		wait(ctx, 300*time.Millisecond) // meanwhile others gather behind it
		return s.Session.DoObjects(ctx, first, ops...)
	}
	swapped := slices.Clone(ops)
	for i := range 2 {
		o := ops[1-i].(state.CommitObject)
		o.Attempt = swappedAttempt
		swapped[i] = o
	}
	results, err := s.Session.DoObjects(ctx, first, swapped...)
	if err == nil {
		results[0], results[1] = results[1], results[0]
	}
	return results, err
}

// store copies the object that op commits under number from to number to.
func (s *swapping) store(to uint64, op state.Op, from uint64) bool {
	o, ok := op.(state.CommitObject)
	if !ok {
		return false
	}
	bucket, keys := s.l.w.store.Objects(), s.l.w.keys
	object, err := bucket.Get(background, keys.Data(objectstore.Segment{Owner: s.ID(), Number: from, Attempt: o.Attempt}), objectstore.Range{})
	if err != nil {
		return false
	}
	data, _ := io.ReadAll(object.Reader)
	name := objectstore.Segment{Owner: s.ID(), Number: to, Attempt: swappedAttempt}
	_, err = bucket.Put(background, keys.Data(name), objectstore.NewBody(data), objectstore.IfAbsent())
	return err == nil
}
