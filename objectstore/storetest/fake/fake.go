// Package fake is the object store for tests that ask "what if": it keeps objects as mem does, fails exactly the requests a
// script says, in exactly the way it says, records every request in order, and refuses whatever Leat must never ask of a
// bucket.
//
// It is deterministic: nothing in it sleeps, draws lots or starts a goroutine; a request that is to land late does so when the test
// calls Land. It must never forgive: a request against the rules of objectstore/keys.go fails, and stays in Violations.
//
//	store := fake.New(keys)
//	store.Script(fake.Rule{Op: fake.Put, Key: "*/journal/*", Skip: 2, Fault: fake.LoseAnswer})
//	… run the code …
//	store.Requests()              // what was asked, in order
//	store.Pending()[0].Land()     // a PUT that lands a week late, as often as one likes
package fake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"

	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/mem"
)

// ErrInjected is what a scripted failure matches, besides what its Rule says.
var ErrInjected = errors.New("injected fault")

// ErrForbidden is what a request against the rules of the bucket matches.
var ErrForbidden = errors.New("forbidden request")

// Store is the fake. Make it with New. It is safe for concurrent use, as any Store is.
type Store struct {
	objects *mem.Store
	keys    objectstore.Keys

	mu         sync.Mutex // guards all below; never held while a request waits or a hook runs
	arrived    int        // requests ever
	requests   []Request
	rules      []*Rule
	hook       func(Request) Fault
	after      func(Request)
	pending    []*Parked
	asked      map[string]bool // keys that exist from the start, or that a Put ever named
	violations []error
}

var _ objectstore.Store = (*Store)(nil)

// New answers an empty, strict store for one cluster's keys.
func New(keys objectstore.Keys) *Store { return Resume(keys, mem.New()) }

// Resume answers a strict store over existing objects, which count as created by it: for a test that forks
// (mem.Store.Clone) or that restarts on what an earlier part left.
func Resume(keys objectstore.Keys, objects *mem.Store) *Store {
	s := &Store{objects: objects, keys: keys, asked: make(map[string]bool)}
	for info := range objects.List(context.Background(), "", "") {
		s.asked[info.Key] = true
	}
	return s
}

// Objects is the bucket itself: what is done there is neither recorded, nor failed, nor checked.
func (s *Store) Objects() *mem.Store { return s.objects }

// Script adds rules; the first that fits and is not used up decides a request's fault, and those behind it do not see the
// request. So rules without Skip happen one after the other.
func (s *Store) Script(rules ...Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rules {
		s.rules = append(s.rules, &r)
	}
}

// ClearScript removes all rules.
func (s *Store) ClearScript() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = nil
}

// OnRequest has f decide the fault of each request that no rule decides; nil is no hook. F runs in the goroutine of the
// caller, before the request has any effect, and may block there: a test that owns all interleavings schedules with it.
func (s *Store) OnRequest(f func(Request) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = f
}

// OnAnswer has f run in the goroutine of the caller when a request is about to be answered, with Err set; nil is no hook.
// It may block.
func (s *Store) OnAnswer(f func(Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.after = f
}

// Requests answers a copy of all requests so far, in the order in which they arrived.
func (s *Store) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// ResetRequests forgets the requests so far.
func (s *Store) ResetRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// Violations answers what was refused by the rules of the bucket; a test asserts that there is nothing.
func (s *Store) Violations() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

// Pending answers the requests that are parked: by Late, or by Block until released. A request stays after it
// landed, since a repeated one may land again.
func (s *Store) Pending() []*Parked {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.pending)
}

// Get implements objectstore.Store. For it Lose and LoseAnswer are the same; see also Cut.
func (s *Store) Get(ctx context.Context, key string, r objectstore.Range) (objectstore.Object, error) {
	o, fault, err := perform(ctx, s, Request{Op: Get, Keys: []string{key}, Range: r},
		func(ctx context.Context) (objectstore.Object, error) { return s.objects.Get(ctx, key, r) })
	if err != nil {
		return objectstore.Object{}, err
	}
	if fault == Cut {
		_, length, _ := r.In(o.Size) // the Get has found it to fit
		o.Reader = &cutReader{ReadCloser: o.Reader, left: length / 2}
	}
	return o, nil
}

// Put implements objectstore.Store.
func (s *Store) Put(ctx context.Context, key string, body objectstore.Body, c objectstore.Condition) (
	objectstore.Version, error,
) {
	data := slices.Concat(body.Parts()...) // as it was when asked: it may land when the caller has reused its bytes
	version, _, err := perform(ctx, s, Request{Op: Put, Keys: []string{key}, Condition: c, Body: data},
		func(ctx context.Context) (objectstore.Version, error) {
			return s.objects.Put(ctx, key, objectstore.NewBody(data), c)
		})
	return version, err
}

// Delete implements objectstore.Store: one request, however many keys; none for no keys.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	keys = slices.Clone(keys)
	_, _, err := perform(ctx, s, Request{Op: Delete, Keys: keys}, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.objects.Delete(ctx, keys...)
	})
	return err
}

// List implements objectstore.Store: one request per loop over it.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objectstore.Info, error] {
	return func(yield func(objectstore.Info, error) bool) {
		found, fault, err := perform(ctx, s, Request{Op: List, Keys: []string{prefix}, After: after},
			func(ctx context.Context) (found []objectstore.Info, err error) {
				for info, err := range s.objects.List(ctx, prefix, after) {
					if err != nil {
						return nil, err
					}
					found = append(found, info)
				}
				return found, nil
			})
		if fault == Cut && err == nil {
			found = found[:len(found)/2]
			err = fmt.Errorf("fake: list %q: %w: %w", prefix, io.ErrUnexpectedEOF, ErrInjected)
		}
		for _, info := range found {
			if !yield(info, nil) {
				return
			}
		}
		if err != nil {
			yield(objectstore.Info{}, err)
		}
	}
}

// cutReader breaks off in the middle, as a connection does.
type cutReader struct {
	io.ReadCloser
	left int64
}

func (r *cutReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, fmt.Errorf("fake: %w: %w", io.ErrUnexpectedEOF, ErrInjected)
	}
	n, err := r.ReadCloser.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	return n, err
}
