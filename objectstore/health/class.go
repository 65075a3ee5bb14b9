package health

import (
	"context"
	"errors"
	"time"

	"github.com/leat-stream/leat/objectstore"
)

// class is what is known of one kind of requests.
type class struct {
	running int       // begun and not ended
	since   time.Time // requests were begun since then, and none was answered; zero: there is nothing to complain of
	failed  time.Time // when the last one failed, if none was answered since; zero: none did
}

// suspect reports whether requests have gone unanswered for so long. Failures that nobody followed up are forgotten.
func (c *class) suspect(now time.Time, patience time.Duration) bool {
	return !c.since.IsZero() && now.Sub(c.since) >= patience && (c.running > 0 || now.Sub(c.failed) < patience)
}

// relax begins to count anew.
func (c *class) relax(now time.Time) {
	c.since, c.failed = time.Time{}, time.Time{}
	if c.running > 0 {
		c.since = now
	}
}

func (s *Store) begin(c *class) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.running == 0 && (c.since.IsZero() || now.Sub(c.failed) >= 2*s.cfg.Patience) { // what failed long ago says nothing about now
		c.since, c.failed = now, time.Time{}
	}
	c.running++
}

func (s *Store) end(c *class, err error) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	c.running--
	switch verdict(err) {
	case answered:
		c.relax(now)
		if s.stuck != nil {
			s.Hint()
		}
	case failed:
		c.failed = now
	case silent:
		if c.running == 0 && c.failed.IsZero() {
			c.since = time.Time{}
		}
	}
}

// What the end of a request says about the store.
type word int

const (
	answered word = iota // it works, or has too much to do: then it refuses others, too
	failed
	silent // nothing
)

func verdict(err error) word {
	switch {
	case err == nil, errors.Is(err, objectstore.ErrNotFound), errors.Is(err, objectstore.ErrLost), errors.Is(err, objectstore.ErrRange),
		errors.Is(err, objectstore.ErrThrottled):
		return answered
	case errors.Is(err, context.Canceled), errors.Is(err, objectstore.ErrKey):
		return silent
	}
	return failed
}
