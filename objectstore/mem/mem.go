// Package mem is the object store in memory, for tests and for trying things out.
//
// It must never differ from a real bucket in what its operations mean: it shares the acceptance suite with all drivers. It
// keeps everything until the process ends and has no bound of its own: nothing that matters may rest on it.
package mem

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/leat-stream/leat/objectstore"
)

// Store is an object store in memory. Make it with New.
type Store struct {
	mu      sync.RWMutex
	objects map[string]object // guarded by mu; the bytes of an object never change
}

type object struct {
	data     []byte
	version  objectstore.Version
	modified time.Time
}

var _ objectstore.Store = (*Store)(nil)

// New answers an empty store.
func New() *Store { return &Store{objects: make(map[string]object)} }

// Clone answers a store of its own with the same objects, at the price of a map: what an exhaustive test forks at each
// choice.
func (s *Store) Clone() *Store {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return &Store{objects: maps.Clone(s.objects)}
}

// Get implements objectstore.Store.
func (s *Store) Get(ctx context.Context, key string, r objectstore.Range) (objectstore.Object, error) {
	if err := check(ctx, key); err != nil {
		return objectstore.Object{}, fmt.Errorf("mem: get %q: %w", key, err)
	}
	s.mu.RLock()
	o, ok := s.objects[key]
	s.mu.RUnlock()
	if !ok {
		return objectstore.Object{}, fmt.Errorf("mem: get %q: %w", key, objectstore.ErrNotFound)
	}
	offset, length, err := r.In(int64(len(o.data)))
	if err != nil {
		return objectstore.Object{}, fmt.Errorf("mem: get %q: %w", key, err)
	}
	return objectstore.Object{
		Reader:  &reader{ctx: ctx, rest: bytes.NewReader(o.data[offset : offset+length])},
		Size:    int64(len(o.data)),
		Version: o.version,
	}, nil
}

// reader ends with the context that opened it, as a connection would.
type reader struct {
	ctx  context.Context
	rest *bytes.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.rest.Read(p)
}

func (r *reader) Close() error { return nil }

// Put implements objectstore.Store. A version is a hash of the content, as an ETag is.
func (s *Store) Put(ctx context.Context, key string, body objectstore.Body, c objectstore.Condition) (
	objectstore.Version, error,
) {
	if err := check(ctx, key); err != nil {
		return "", fmt.Errorf("mem: put %q: %w: %w", key, objectstore.ErrNotApplied, err)
	}
	data := slices.Concat(body.Parts()...) // a copy: the caller may change its bytes afterwards
	sum := sha256.Sum256(data)
	o := object{data: data, version: objectstore.Version(hex.EncodeToString(sum[:16])), modified: time.Now()}

	s.mu.Lock()
	defer s.mu.Unlock()
	old, exists := s.objects[key]
	want, conditional := c.Match()
	if c.Absent() && exists || conditional && (!exists || old.version != want) {
		return "", fmt.Errorf("mem: put %q: %w", key, objectstore.ErrLost)
	}
	s.objects[key] = o
	return o.version, nil
}

// Delete implements objectstore.Store.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := check(ctx, key); err != nil {
			return fmt.Errorf("mem: delete %q: %w: %w", key, objectstore.ErrNotApplied, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		delete(s.objects, key)
	}
	return nil
}

// List implements objectstore.Store: what was there when the loop began, in order.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objectstore.Info, error] {
	return func(yield func(objectstore.Info, error) bool) {
		s.mu.RLock()
		var found []objectstore.Info
		for key, o := range s.objects {
			if strings.HasPrefix(key, prefix) && key > after {
				found = append(found, objectstore.Info{Key: key, Size: int64(len(o.data)), Modified: o.modified})
			}
		}
		s.mu.RUnlock()
		slices.SortFunc(found, func(a, b objectstore.Info) int { return strings.Compare(a.Key, b.Key) })
		for _, info := range found {
			if ctx.Err() != nil {
				break
			}
			if !yield(info, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(objectstore.Info{}, fmt.Errorf("mem: list %q: %w", prefix, err))
		}
	}
}

func check(ctx context.Context, key string) error {
	if err := objectstore.CheckKey(key); err != nil {
		return err
	}
	return ctx.Err()
}
