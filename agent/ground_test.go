package agent

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/mem"
)

// moody fails the first PUTs.
type moody struct {
	objectstore.Store
	fail  error
	times int64
	puts  atomic.Int64
}

func (m *moody) Put(ctx context.Context, key string, body objectstore.Body, c objectstore.Condition) (objectstore.Version, error) {
	if m.puts.Add(1) <= m.times {
		return "", m.fail
	}
	return m.Store.Put(ctx, key, body, c)
}

func TestBucketThatFailsForAMomentIsProbedAgain(t *testing.T) {
	keys, err := objectstore.NewKeys("c")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		fail  error
		times int64
		good  bool
		puts  int64 // that failed
	}{
		{"throttled", fmt.Errorf("put: %w: %w", objectstore.ErrThrottled, objectstore.ErrNotApplied), probes - 1, true, probes - 1},
		{"broken connections", errors.New("connection reset"), probes - 1, true, probes - 1},
		{"for too long", objectstore.ErrThrottled, 1000, false, probes},
		{"nobody there", fmt.Errorf("dial: %w", objectstore.ErrNotApplied), 1000, false, 1},
		{"denied", objectstore.ErrDenied, 1000, false, 1},
		{"no bucket", objectstore.ErrNoBucket, 1000, false, 1},
		{"a wrong clock", objectstore.ErrClockSkew, 1000, false, 1},
		{"no conditions", objectstore.ErrUnsupported, 1000, false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &moody{Store: mem.New(), fail: c.fail, times: c.times}
				err := probe(t.Context(), m, keys)
				if (err == nil) != c.good || (err != nil && !errors.Is(err, c.fail)) || min(m.puts.Load(), m.times) != c.puts {
					t.Errorf("%v after %d PUTs", err, m.puts.Load())
				}
			})
		})
	}
}

func TestProbingEndsWithItsContext(t *testing.T) {
	keys, err := objectstore.NewKeys("c")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m := &moody{Store: mem.New(), fail: objectstore.ErrThrottled, times: 1000}
	if err := probe(ctx, m, keys); err == nil || m.puts.Load() != 1 {
		t.Errorf("%v after %d PUTs", err, m.puts.Load())
	}
}
