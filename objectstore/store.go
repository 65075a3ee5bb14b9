// Package objectstore is the contract between Leat and the bucket, and the one place where the bucket's names are made.
//
// A Store keeps whole immutable objects under string keys, plus very few objects that are replaced by compare-and-swap.
// It offers exactly what an S3-compatible store can do atomically: conditional PUT. It never retries, never caches and
// never interprets what it stores: those are decorators (retry, limit, meter) and callers.
//
// The package must never know who calls it (agent, cache, metadata), and nothing outside a driver imports an SDK.
package objectstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"time"
)

// Store is a bucket, or a folder of one. All methods are safe for concurrent use. Keys are slash-separated and made only
// by the functions of keys.go. Every error is wrapped with the operation and the key, and matches one of the sentinels
// below where one fits.
type Store interface {
	// Get opens the bytes of an object in range r. ErrNotFound if there is no such object; ErrRange if r, unless it is the
	// zero value, begins at or beyond its end. A range that ends beyond the end of the object is cut there. The reader fails with an error (never a silent
	// short read: io.ErrUnexpectedEOF) when the connection breaks. Idempotent: may be retried freely.
	Get(ctx context.Context, key string, r Range) (Object, error)

	// Put stores body under key if condition c holds, atomically: no reader ever sees half an object. It answers the
	// version of what it stored. ErrLost means that the condition did not hold: nothing was written by THIS attempt, and
	// somebody else's (or an earlier, timed-out attempt of one's own) object may be there: read, then decide. An error that
	// matches ErrLost never matches ErrNotApplied.
	// An error that matches ErrNotApplied certainly wrote nothing, now or later. Every other error is ambiguous: the object may
	// exist now or appear later. Who retries: only a caller that knows what an earlier attempt of its own would mean.
	Put(ctx context.Context, key string, body Body, c Condition) (Version, error)

	// Delete removes objects, in as few requests as the store allows. A key that does not exist is not an error.
	// Deletes may land late. Never used on a key that may be created again, except where journal rule J5 allows it.
	Delete(ctx context.Context, keys ...string) error

	// List yields the objects whose key starts with prefix and is greater than after, as far as the store keeps order. Callers
	// must not rely on order, nor on seeing objects that were created or deleted meanwhile. A failed listing yields the
	// error last. Breaking off the loop stops the listing.
	List(ctx context.Context, prefix, after string) iter.Seq2[Info, error]
}

// Object is an opened object. The caller closes Reader.
type Object struct {
	Reader  io.ReadCloser
	Size    int64   // bytes of the whole object, whatever range was asked for
	Version Version // of the object that the bytes belong to
}

// Info describes one listed object.
type Info struct {
	Key      string
	Size     int64 // bytes
	Modified time.Time
}

// Version names one content of one key, for ReplaceIf. It is opaque (an ETag on S3).
type Version string

// Range is a byte range of an object. The zero value is the whole object.
type Range struct {
	Offset int64 // first byte, ≥ 0
	Length int64 // bytes; 0 means up to the end
}

// In answers the first byte and the number of bytes of r in an object of size bytes, or ErrRange. It is the one
// definition of what a range means; like S3, it refuses a range of an empty object unless it is the zero value.
func (r Range) In(size int64) (offset, length int64, err error) {
	if r == (Range{}) {
		return 0, size, nil
	}
	if err := r.Check(); err != nil {
		return 0, 0, err
	}
	if r.Offset >= size {
		return 0, 0, fmt.Errorf("%w: offset %d of %d bytes", ErrRange, r.Offset, size)
	}
	length = size - r.Offset
	if r.Length > 0 {
		length = min(length, r.Length)
	}
	return r.Offset, length, nil
}

// Check refuses a range with negative numbers, or one that ends beyond the largest offset, with ErrRange.
func (r Range) Check() error {
	if r.Offset < 0 || r.Length < 0 || r.Offset > math.MaxInt64-r.Length {
		return fmt.Errorf("%w: offset %d, length %d", ErrRange, r.Offset, r.Length)
	}
	return nil
}

// Condition says when a Put may happen. The zero value is unconditional; Leat uses it only for probes.
type Condition struct {
	absent bool
	match  Version
}

// IfAbsent: only if no object has that key (If-None-Match: *).
func IfAbsent() Condition { return Condition{absent: true} }

// IfVersion: only if the object still has version v (If-Match). A missing object is ErrLost.
func IfVersion(v Version) Condition { return Condition{match: v} }

// Absent reports whether the condition is IfAbsent.
func (c Condition) Absent() bool { return c.absent }

// Match answers the version that must be there, and whether the condition is IfVersion.
func (c Condition) Match() (Version, bool) { return c.match, c.match != "" }

// The errors of a Store.
var (
	ErrNotFound   = errors.New("object not found")
	ErrLost       = errors.New("condition not met: another writer was first")
	ErrRange      = errors.New("range outside of object")
	ErrNotApplied = errors.New("certainly not applied")

	// ErrDenied: the credentials are wrong or do not allow this. Retrying does not help, until they rotate.
	ErrDenied = errors.New("access denied")
	// ErrNoBucket: the bucket itself does not exist.
	ErrNoBucket = errors.New("no such bucket")
	// ErrClockSkew: the store refused the request because this machine's clock is wrong.
	ErrClockSkew = errors.New("clock differs too much from the store's")
	// ErrThrottled: the store asks to slow down (503, 429). Retry later.
	ErrThrottled = errors.New("throttled by the store")
	// ErrUnsupported: the store lacks conditional writes.
	ErrUnsupported = errors.New("store does not support conditional writes")
)
