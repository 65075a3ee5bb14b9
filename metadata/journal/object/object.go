// Package object is the journal that needs nothing but a bucket: entry i is the object journal/<i>, created once with
// If-None-Match, and head is the only object that is ever replaced.
//
// Put-if-absent alone does not fence: a trimmed slot looks empty again, a PUT may land a week late, an answer may be lost.
// The rules J1–J6 of metadata/DESIGN.md make it safe; FORMAT.md repeats them beside the bytes, and each place below says
// which rule it keeps. The package must never let a LIST drive a reader, let a clock decide, or take a missing head for an
// empty journal.
package object

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/objectstore"
)

// Journal is the journal of one cluster as one process has it open. It implements journal.Journal.
//
// mu guards term and tips; everything else is fixed by Open.
type Journal struct {
	store   objectstore.Store
	keys    objectstore.Keys
	cluster [16]byte

	prefetch int                                          // slots that Read asks for at once, at most
	run      int                                          // entries that Read validates at once, at most
	newTerm  func() journal.TermID                        // a fresh unique id (J4)
	pause    func(ctx context.Context, attempt int) error // waits before another attempt; fails when ctx has ended

	mu   sync.Mutex
	term *term             // the newest that this process won
	tips map[uint64]*tipAt // by applied index, while anybody asks
}

var _ journal.Journal = (*Journal)(nil)

// Option changes how a Journal, or Images, wait between attempts.
type Option func(pause *func(ctx context.Context, attempt int) error)

// Jitter has the waits between attempts drawn by draw, from [0, bound), instead of at random: for a simulation, which draws from
// its seed.
func Jitter(draw func(bound time.Duration) time.Duration) Option {
	return func(pause *func(context.Context, int) error) {
		*pause = func(ctx context.Context, attempt int) error { return pauseFor(ctx, attempt, draw) }
	}
}

// Open opens the journal of a cluster whose head is there. journal.ErrNoHead if it is not (J6): whoever starts a new cluster
// calls Create first. journal.ErrMismatch if another journal driver holds the truth of this bucket.
func Open(ctx context.Context, store objectstore.Store, keys objectstore.Keys, options ...Option) (*Journal, error) {
	j := &Journal{
		store: store, keys: keys, prefetch: maxPrefetch, run: runEntries, newTerm: randomTerm, pause: pause, tips: make(map[uint64]*tipAt),
	}
	for _, change := range options {
		change(&j.pause)
	}
	h, _, err := j.readHead(ctx)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	if h.Driver != journal.DriverObject {
		return nil, fmt.Errorf("open journal: %w: the truth of this bucket is in a %s journal; start with --journal %s",
			journal.ErrMismatch, h.Driver, h.Driver.URL())
	}
	j.cluster = h.Cluster
	return j, nil
}

// Head implements journal.Journal.
func (j *Journal) Head(ctx context.Context) (journal.Head, error) {
	h, _, err := j.readHead(ctx)
	return h, err
}

// readHead answers head and its version. A missing head is journal.ErrNoHead, never a boundary of 0 (J6).
func (j *Journal) readHead(ctx context.Context) (h journal.Head, v objectstore.Version, err error) {
	err = j.persist(ctx, func() error {
		h, v, err = getHead(ctx, j.store, j.keys)
		return err
	})
	if err != nil {
		return h, v, err
	}
	if j.cluster != [16]byte{} && h.Cluster != j.cluster {
		return h, v, fmt.Errorf("%w: head is now of cluster %x, it was %x", journal.ErrMismatch, h.Cluster, j.cluster)
	}
	return h, v, nil
}

// getHead reads head once.
func getHead(ctx context.Context, s objectstore.Store, keys objectstore.Keys) (journal.Head, objectstore.Version, error) {
	b, v, err := get(ctx, s, keys.Head(), journal.HeadSize, nil)
	switch {
	case errors.Is(err, objectstore.ErrNotFound):
		return journal.Head{}, "", fmt.Errorf("%w (%w)", journal.ErrNoHead, err)
	case err != nil:
		return journal.Head{}, "", fmt.Errorf("read head: %w", err)
	}
	h, err := journal.DecodeHead(b)
	return h, v, err
}

// get reads an object whole. One that is larger than limit is corrupt, and is not read. One that is larger than aheadBytes is
// read once turn is closed; nil: it is.
func get(ctx context.Context, s objectstore.Store, key string, limit int64, turn <-chan struct{}) ([]byte, objectstore.Version, error) {
	o, err := s.Get(ctx, key, objectstore.Range{})
	if err != nil {
		return nil, "", err
	}
	defer o.Reader.Close()
	if o.Size < 0 || o.Size > limit {
		return nil, "", fmt.Errorf("%w: %s has %d bytes, at most %d are allowed", journal.ErrCorrupt, key, o.Size, limit)
	}
	if turn != nil && o.Size > aheadBytes {
		select {
		case <-turn:
		case <-ctx.Done():
			return nil, "", context.Cause(ctx)
		}
	}
	b := make([]byte, o.Size)
	if _, err := io.ReadFull(o.Reader, b); err != nil {
		return nil, "", fmt.Errorf("read %s: %w", key, err)
	}
	return b, o.Version, nil
}

// persist repeats a read, which is harmless, until it gets an answer or ctx ends.
func (j *Journal) persist(ctx context.Context, read func() error) error {
	for attempt := 0; ; attempt++ {
		err := read()
		if err == nil || final(err) {
			return err
		}
		if j.pause(ctx, attempt) != nil {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// final tells that asking again would not help: what was asked for was answered, or needs a human.
func final(err error) bool {
	for _, e := range []error{
		objectstore.ErrNotFound, objectstore.ErrDenied, objectstore.ErrNoBucket, objectstore.ErrClockSkew,
		objectstore.ErrUnsupported, journal.ErrNoHead, journal.ErrFormat, journal.ErrCorrupt, journal.ErrMismatch,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// The back-off between two attempts: it doubles from the first to the last of these, with jitter.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = time.Second
)

func pause(ctx context.Context, attempt int) error {
	return pauseFor(ctx, attempt, mathrand.N[time.Duration])
}

func pauseFor(ctx context.Context, attempt int, draw func(bound time.Duration) time.Duration) error {
	d := min(lastPause, firstPause<<min(attempt, 10))
	timer := time.NewTimer(d/2 + draw(d/2))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

func randomTerm() (id journal.TermID) {
	rand.Read(id[:])
	return id
}
