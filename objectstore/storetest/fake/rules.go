package fake

import (
	"fmt"
	"strings"
)

// forbidden answers an error if a request is against the rules of the bucket:
//
//	head        created if absent, replaced if the version matches, never deleted
//	secret      created if absent, never replaced, never deleted
//	journal/    created if absent, never replaced; deleted only if once asked for
//	snapshot/   the same
//	data/       the same
//	probe/      anything
//
// and nothing else has a name. The caller holds mu.
func (s *Store) forbidden(r Request) error {
	no := func(why string) error { return fmt.Errorf("fake: %s: %w: %s", r, ErrForbidden, why) }
	cluster := strings.TrimSuffix(s.keys.Head(), "head")
	if r.Op == List {
		if !strings.HasPrefix(r.Key(), cluster) {
			return no("it lists beyond the cluster")
		}
		return nil
	}
	for _, key := range r.Keys {
		probe := strings.HasPrefix(key, cluster+"probe/")
		head := key == s.keys.Head()
		secret := key == s.keys.Secret()
		if !probe && !head && !secret && !s.immutable(key) {
			return no("keys.go knows no such name: " + key)
		}
		_, conditional := r.Condition.Match()
		switch {
		case r.Op == Put && !probe && !r.Condition.Absent() && !conditional:
			return no("an unconditional put")
		case r.Op == Put && !probe && !head && !r.Condition.Absent():
			return no("it replaces what is immutable")
		case r.Op == Delete && head:
			return no("it deletes the head")
		case r.Op == Delete && secret:
			return no("it deletes the secret")
		case r.Op == Delete && !probe && !s.asked[key]:
			return no("it deletes what was never created: " + key)
		}
	}
	return nil
}

// immutable reports whether key names an object that is created once.
func (s *Store) immutable(key string) bool {
	if _, err := s.keys.ParseJournal(key); err == nil {
		return true
	}
	if _, err := s.keys.ParseData(key); err == nil {
		return true
	}
	rest, ok := strings.CutPrefix(key, s.keys.SnapshotPrefix())
	return ok && rest != ""
}
