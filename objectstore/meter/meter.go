// Package meter counts what goes to an object store and comes from it: requests as a bucket bills them, bytes, failures and
// time, by operation. Requests are money, so tests assert them.
//
// Put it directly around a driver, below retry and limit, so that it sees each attempt and no waiting. It must never
// change a request or an answer.
package meter

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync/atomic"
	"time"

	"github.com/leat-stream/leat/objectstore"
)

// page is how many keys one DeleteObjects request takes, and how many objects one ListObjectsV2 request answers.
const page = 1000

// Operation is a kind of request.
type Operation int

// The operations.
const (
	Get Operation = iota
	Put
	Delete
	List
	operations
)

// String is the operation's name in metrics.
func (o Operation) String() string { return [...]string{"get", "put", "delete", "list"}[o] }

// Count is what one operation amounts to.
type Count struct {
	Requests int64 // as S3 counts them: one per thousand keys of a Delete, and per thousand objects of a List
	Failures int64 // calls and reads that failed in whatever way, a lost condition included
	Bytes    int64 // of bodies: sent by Put, whether it succeeded or not; read from Get
}

// Counts are the sums since the Store was made, by operation.
type Counts struct{ Get, Put, Delete, List Count }

// Sub answers what happened between an earlier snapshot and c.
func (c Counts) Sub(earlier Counts) Counts {
	return Counts{
		Get: c.Get.sub(earlier.Get), Put: c.Put.sub(earlier.Put),
		Delete: c.Delete.sub(earlier.Delete), List: c.List.sub(earlier.List),
	}
}

func (c Count) sub(earlier Count) Count {
	return Count{c.Requests - earlier.Requests, c.Failures - earlier.Failures, c.Bytes - earlier.Bytes}
}

// Requests is the number of all requests.
func (c Counts) Requests() int64 {
	return c.Get.Requests + c.Put.Requests + c.Delete.Requests + c.List.Requests
}

// Store counts the requests to another. Make it with New. It is a prometheus.Collector, see metrics.go.
type Store struct {
	inner  objectstore.Store
	counts [operations]struct{ requests, failures, bytes atomic.Int64 }
	metrics
}

var _ objectstore.Store = (*Store)(nil)

// New decorates inner.
func New(inner objectstore.Store) *Store { return &Store{inner: inner, metrics: newMetrics()} }

// Snapshot answers the sums so far.
func (s *Store) Snapshot() Counts {
	of := func(o Operation) Count {
		c := &s.counts[o]
		return Count{Requests: c.requests.Load(), Failures: c.failures.Load(), Bytes: c.bytes.Load()}
	}
	return Counts{Get: of(Get), Put: of(Put), Delete: of(Delete), List: of(List)}
}

// count records one call that began at start, and its outcome.
func (s *Store) count(o Operation, requests int, start time.Time, err error) {
	s.counts[o].requests.Add(int64(requests))
	if err != nil {
		s.counts[o].failures.Add(1)
	}
	s.requests.WithLabelValues(o.String(), outcome(err)).Add(float64(requests))
	s.seconds.WithLabelValues(o.String()).Observe(time.Since(start).Seconds())
}

func (s *Store) addBytes(o Operation, n int64) {
	s.counts[o].bytes.Add(n)
	s.bytes.WithLabelValues(o.String()).Add(float64(n))
}

// outcome names an error for a metric's label; there are as many names as lines here.
func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, objectstore.ErrNotFound):
		return "not_found"
	case errors.Is(err, objectstore.ErrLost):
		return "lost"
	case errors.Is(err, objectstore.ErrThrottled):
		return "throttled"
	case errors.Is(err, objectstore.ErrDenied), errors.Is(err, objectstore.ErrClockSkew):
		return "denied"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	return "error"
}

// Get implements objectstore.Store. Its time is that until the first byte could be read.
func (s *Store) Get(ctx context.Context, key string, r objectstore.Range) (objectstore.Object, error) {
	start := time.Now()
	o, err := s.inner.Get(ctx, key, r)
	s.count(Get, 1, start, err)
	if err == nil {
		o.Reader = &reader{ReadCloser: o.Reader, store: s}
	}
	return o, err
}

// reader counts the bytes of a Get, and its failure to be read.
type reader struct {
	io.ReadCloser
	store *Store
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if n > 0 {
		r.store.addBytes(Get, int64(n))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		r.store.counts[Get].failures.Add(1)
		r.store.broken.Inc()
	}
	return n, err
}

// Put implements objectstore.Store.
func (s *Store) Put(ctx context.Context, key string, body objectstore.Body, c objectstore.Condition) (
	objectstore.Version, error,
) {
	start := time.Now()
	v, err := s.inner.Put(ctx, key, body, c)
	s.count(Put, 1, start, err)
	s.addBytes(Put, body.Size())
	return v, err
}

// Delete implements objectstore.Store.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	start := time.Now()
	err := s.inner.Delete(ctx, keys...)
	s.count(Delete, (len(keys)+page-1)/page, start, err)
	return err
}

// List implements objectstore.Store. Its time is that of the whole loop, the caller's part included.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objectstore.Info, error] {
	return func(yield func(objectstore.Info, error) bool) {
		start, n := time.Now(), 0
		var failure error
		defer func() { s.count(List, 1+max(0, n-1)/page, start, failure) }()
		for info, err := range s.inner.List(ctx, prefix, after) {
			if err != nil {
				failure = err
			} else {
				n++
			}
			if !yield(info, err) {
				return
			}
		}
	}
}
