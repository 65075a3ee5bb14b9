package fake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/leat-stream/leat/objectstore"
)

// Op is a method of the Store; the zero value in a Rule fits any.
type Op string

// The methods.
const (
	Get    Op = "get"
	Put    Op = "put"
	Delete Op = "delete"
	List   Op = "list"
)

// Fault is what happens to one request.
type Fault int

// The faults. A paired fault is a Put that fails once with Lose and once with LoseAnswer: the caller cannot tell them apart.
const (
	// None performs the request.
	None Fault = iota
	// Refuse answers an error that matches ErrNotApplied; nothing happens, now or later.
	Refuse
	// Lose answers an ambiguous error; the request is lost on its way and nothing happens.
	Lose
	// LoseAnswer performs the request, and answers an ambiguous error.
	LoseAnswer
	// Late answers an ambiguous error; the request is parked, and happens each time the test calls Land.
	Late
	// Block parks the request before it has happened, and the caller with it, until Release: then it is performed and
	// answered as if nothing had been. If the caller's context ends first, it gets that error, and the request stays parked.
	Block
	// BlockAnswer performs the request and parks its answer until Release, or until the caller's context ends.
	BlockAnswer
	// Cut performs a Get or a List, whose bytes or names then break off in the middle with io.ErrUnexpectedEOF.
	Cut
)

// Request is one recorded call.
type Request struct {
	Number    int // counts from 0 over the life of the Store
	Op        Op
	Keys      []string // one; for Delete all of them; for List the prefix
	After     string   // of a List
	Range     objectstore.Range
	Condition objectstore.Condition
	Body      []byte // of a Put; must not be changed
	Fault     Fault  // what was done to it
	Err       error  // what it was answered, once it was
}

// Key is the first key, or the prefix of a List.
func (r Request) Key() string { return r.Keys[0] }

// String prints a request on one line, without its body: a sequence of them is what a test of cost compares.
//
//	put c/journal/00000000000000000001 if-absent
//	get c/head
//	get c/data/… 4096+512
//	delete c/journal/… c/journal/…
//	list c/data/ after c/data/…
func (r Request) String() string {
	line := string(r.Op) + " " + strings.Join(r.Keys, " ")
	if r.After != "" {
		line += " after " + r.After
	}
	if r.Range != (objectstore.Range{}) {
		line += fmt.Sprintf(" %d+%d", r.Range.Offset, r.Range.Length)
	}
	if r.Condition.Absent() {
		line += " if-absent"
	} else if _, ok := r.Condition.Match(); ok {
		line += " if-version"
	}
	return line
}

// Rule says what happens to some requests.
type Rule struct {
	Op    Op     // zero: any
	Key   string // pattern that one of the request's keys fits, "*" standing for any run of characters; "": any
	Skip  int    // so many that fit are let pass first
	Count int    // so many after them get the fault; 0 means 1, negative means all
	Fault Fault
	Err   error // what the failure of Refuse, Lose, LoseAnswer or Late also matches, for example objectstore.ErrThrottled

	seen int // requests that fit so far; guarded by the Store's mu
}

// decides reports whether the rule's fault is for this request, and counts it if it fits.
func (r *Rule) decides(q Request) bool {
	if r.Op != "" && r.Op != q.Op {
		return false
	}
	if r.Key != "" && !slices.ContainsFunc(q.Keys, func(key string) bool { return fits(r.Key, key) }) {
		return false
	}
	n := r.seen - r.Skip
	r.seen++
	return n >= 0 && (r.Count < 0 || n < max(1, r.Count))
}

// fits matches a key with a pattern, in which "*" stands for any run of characters, also none and also slashes.
func fits(pattern, key string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == key
	}
	key, ok := strings.CutPrefix(key, first)
	if !ok {
		return false
	}
	for {
		middle, after, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(key, rest)
		}
		at := strings.Index(key, middle)
		if at < 0 {
			return false
		}
		key, rest = key[at+len(middle):], after
	}
}

// Parked is a request that has been sent but whose effect or answer is still on its way.
type Parked struct {
	Request Request

	store    *Store
	land     func() error
	released chan struct{} // closed by Release
}

// Land performs the request now, under its own condition, and answers what the store said (which no caller hears). It may
// be called again: a repeated packet.
func (p *Parked) Land() error { return p.land() }

// Release lets a request parked by Block or BlockAnswer go on, and takes it out of Pending. It is to be called once.
func (p *Parked) Release() {
	p.Drop()
	close(p.released)
}

// Drop takes the request out of Pending: it is lost for good.
func (p *Parked) Drop() {
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	p.store.pending = slices.DeleteFunc(p.store.pending, func(q *Parked) bool { return p == q })
}

// perform takes a request through the rules of the bucket, its fault and its record. Do is the request's effect on the objects.
func perform[T any](ctx context.Context, s *Store, r Request, do func(context.Context) (T, error)) (T, Fault, error) {
	r, cause, err := s.arrive(r)
	var result T
	if err == nil {
		result, err = through(ctx, s, r, cause, do)
	}
	r.Err = err
	s.mu.Lock()
	s.note(r)
	after := s.after
	s.mu.Unlock()
	if after != nil {
		after(r)
	}
	if err != nil {
		var none T
		return none, r.Fault, err
	}
	return result, r.Fault, nil
}

// arrive records a request, checks it against the rules of the bucket, and decides its fault.
func (s *Store) arrive(r Request) (decided Request, cause error, err error) {
	s.mu.Lock()
	r.Number = s.arrived
	s.arrived++
	s.requests = append(s.requests, r)
	if err := s.forbidden(r); err != nil {
		s.violations = append(s.violations, err)
		s.mu.Unlock()
		return r, nil, err
	}
	if r.Op == Put {
		s.asked[r.Key()] = true
	}
	hook := s.hook
	for _, rule := range s.rules {
		if rule.decides(r) {
			r.Fault, cause, hook = rule.Fault, rule.Err, nil
			break
		}
	}
	s.mu.Unlock()
	if hook != nil {
		r.Fault = hook(r)
	}
	return r, cause, nil
}

// note renews the record of a request, unless it was forgotten meanwhile. The caller holds mu.
func (s *Store) note(r Request) {
	for i := len(s.requests) - 1; i >= 0; i-- {
		if s.requests[i].Number == r.Number {
			s.requests[i] = r
			return
		}
	}
}

// through has a request's fault happen to it.
func through[T any](
	ctx context.Context, s *Store, r Request, cause error, do func(context.Context) (T, error),
) (result T, err error) {
	fail := func(also error) error {
		return fmt.Errorf("fake: %s: %w", r, errors.Join(also, cause, ErrInjected))
	}
	switch r.Fault {
	case Refuse:
		return result, fail(objectstore.ErrNotApplied)
	case Lose:
		return result, fail(nil)
	case LoseAnswer:
		_, _ = do(context.Background()) // whatever the answer is, nobody hears it
		return result, fail(nil)
	case Late:
		park(s, r, do)
		return result, fail(nil)
	case Block:
		if err := park(s, r, do).wait(ctx); err != nil {
			return result, err
		}
		return do(ctx)
	case BlockAnswer:
		done, err := do(ctx)
		if err := park(s, r, do).wait(ctx); err != nil {
			return result, err
		}
		return done, err
	}
	return do(ctx)
}

func park[T any](s *Store, r Request, do func(context.Context) (T, error)) *Parked {
	p := &Parked{Request: r, store: s, released: make(chan struct{}), land: func() error {
		_, err := do(context.Background())
		return err
	}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, p)
	return p
}

func (p *Parked) wait(ctx context.Context) error {
	select {
	case <-p.released:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("fake: %s: %w", p.Request, ctx.Err())
	}
}
