package objectstore_test

import (
	"context"
	"errors"
	"iter"
	"strings"
	"sync"
	"testing"

	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/mem"
	"github.com/leat-stream/leat/objectstore/storetest/fake"
)

func clusterKeys(t *testing.T) objectstore.Keys {
	t.Helper()
	keys, err := objectstore.NewKeys("c")
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestProbeAcceptsAGoodStoreAndLeavesNothing(t *testing.T) {
	s := fake.New(clusterKeys(t))
	if err := objectstore.Probe(t.Context(), s, clusterKeys(t)); err != nil {
		t.Fatal(err)
	}
	if n := len(s.Requests()); n != 17 || len(s.Violations()) != 0 {
		t.Errorf("%d requests: %v; violations %v", n, s.Requests(), s.Violations())
	}
	for info := range s.Objects().List(t.Context(), "", "") {
		t.Errorf("%s is left", info.Key)
	}
}

// twisted does wrong what its function says; other requests it passes on.
type twisted struct {
	objectstore.Store
	put func(s objectstore.Store, key string, b objectstore.Body, c objectstore.Condition) (objectstore.Version, error)
}

func (s *twisted) Put(ctx context.Context, key string, b objectstore.Body, c objectstore.Condition) (
	objectstore.Version, error,
) {
	return s.put(s.Store, key, b, c)
}

func TestProbeRefusesAStoreWithoutConditionalWrites(t *testing.T) {
	ctx := t.Context()
	none := objectstore.Condition{}
	for name, put := range map[string]func(objectstore.Store, string, objectstore.Body, objectstore.Condition) (objectstore.Version, error){
		"ignores if-absent": func(s objectstore.Store, key string, b objectstore.Body, c objectstore.Condition) (objectstore.Version, error) {
			if c.Absent() {
				c = none
			}
			return s.Put(ctx, key, b, c)
		},
		"ignores if-version": func(s objectstore.Store, key string, b objectstore.Body, c objectstore.Condition) (objectstore.Version, error) {
			if !c.Absent() {
				c = none
			}
			return s.Put(ctx, key, b, c)
		},
		"creates by if-version": func(s objectstore.Store, key string, b objectstore.Body, c objectstore.Condition) (objectstore.Version, error) {
			if _, err := s.Get(ctx, key, objectstore.Range{}); errors.Is(err, objectstore.ErrNotFound) {
				c = none
			}
			return s.Put(ctx, key, b, c)
		},
		"refuses the right version": func(s objectstore.Store, key string, b objectstore.Body, c objectstore.Condition) (objectstore.Version, error) {
			if !c.Absent() {
				return "", objectstore.ErrLost
			}
			return s.Put(ctx, key, b, c)
		},
		"answers no version": func(s objectstore.Store, key string, b objectstore.Body, c objectstore.Condition) (objectstore.Version, error) {
			_, err := s.Put(ctx, key, b, c)
			return "", err
		},
		"answers another version": func(s objectstore.Store, key string, b objectstore.Body, c objectstore.Condition) (objectstore.Version, error) {
			v, err := s.Put(ctx, key, b, c)
			return v + "-", err
		},
		"checks, then writes": racy(ctx),
	} {
		t.Run(name, func(t *testing.T) {
			s := mem.New()
			err := objectstore.Probe(ctx, &twisted{Store: s, put: put}, clusterKeys(t))
			if !errors.Is(err, objectstore.ErrUnsupported) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v", err)
			}
			for info := range s.List(ctx, "", "") {
				t.Errorf("%s is left", info.Key)
			}
		})
	}
}

// racy is a store that checks the condition for all racers before any of them writes.
func racy(ctx context.Context) func(objectstore.Store, string, objectstore.Body, objectstore.Condition) (objectstore.Version, error) {
	var all sync.WaitGroup
	all.Add(8)
	return func(s objectstore.Store, key string, b objectstore.Body, c objectstore.Condition) (objectstore.Version, error) {
		if strings.HasPrefix(string(b.Bytes()), "racer") {
			all.Done()
			all.Wait()
			c = objectstore.Condition{}
		}
		return s.Put(ctx, key, b, c)
	}
}

// deadDeletes answers deletes and does nothing.
type deadDeletes struct{ objectstore.Store }

func (deadDeletes) Delete(context.Context, ...string) error { return nil }

func TestProbeNoticesDeletesThatDoNothing(t *testing.T) {
	if err := objectstore.Probe(t.Context(), deadDeletes{mem.New()}, clusterKeys(t)); err == nil {
		t.Error("accepted")
	}
}

// denied is a store with the wrong credentials.
type denied struct{ err error }

func (d denied) Get(context.Context, string, objectstore.Range) (objectstore.Object, error) {
	return objectstore.Object{}, d.err
}

func (d denied) Put(context.Context, string, objectstore.Body, objectstore.Condition) (objectstore.Version, error) {
	return "", d.err
}

func (d denied) Delete(context.Context, ...string) error { return d.err }

func (d denied) List(context.Context, string, string) iter.Seq2[objectstore.Info, error] {
	return func(yield func(objectstore.Info, error) bool) { yield(objectstore.Info{}, d.err) }
}

func TestProbePassesOnWhatTheStoreSays(t *testing.T) {
	for _, want := range []error{objectstore.ErrDenied, objectstore.ErrNoBucket, objectstore.ErrClockSkew, context.Canceled} {
		if err := objectstore.Probe(t.Context(), denied{want}, clusterKeys(t)); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	for _, op := range []fake.Op{fake.Put, fake.Get, fake.Delete} { // each request failing, and each answer lost
		for skip := range 14 {
			for _, fault := range []fake.Fault{fake.Lose, fake.LoseAnswer} {
				s := fake.New(clusterKeys(t))
				s.Script(fake.Rule{Op: op, Skip: skip, Fault: fault})
				if err := objectstore.Probe(t.Context(), s, clusterKeys(t)); err != nil && !errors.Is(err, fake.ErrInjected) {
					t.Errorf("%s %d: %v", op, skip, err)
				}
			}
		}
	}
}
