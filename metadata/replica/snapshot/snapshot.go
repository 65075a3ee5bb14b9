// Package snapshot writes images of the metadata state, publishes them, trims the journal by them, sweeps what no image will
// ever name again, and loads the newest one.
//
// It must never publish a manifest before everything that it names is stored, and never decide what is garbage by a clock.
package snapshot

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/state"
)

// Images keeps the shards and manifests of snapshots. All methods are idempotent and safe for concurrent use.
type Images interface {
	// PutShard stores a shard under a fresh id; index is that of the image which first needs it.
	PutShard(ctx context.Context, index uint64, id [16]byte, body []byte) error
	// GetShard reads a shard.
	GetShard(ctx context.Context, index uint64, id [16]byte) ([]byte, error)
	// PutManifest stores the manifest of the image at index under a fresh id, once its shards are stored.
	PutManifest(ctx context.Context, index uint64, id [16]byte, body []byte) error
	// GetManifest reads a manifest.
	GetManifest(ctx context.Context, index uint64, id [16]byte) ([]byte, error)
	// Sweep deletes the shards and manifests that garbage picks, as far as it sees them.
	Sweep(ctx context.Context, garbage func(index uint64, manifest bool, id [16]byte) bool) error
}

// Limits say how much journal there is between two snapshots.
type Limits struct {
	Bytes   int64
	Entries int64 // each costs the next start a request
}

// Writer writes images, publishes them, trims the journal and sweeps what no image will ever name again. The owner of the state
// calls Grow, Begin, Resume, Take and Drop; everything else happens in Run.
//
// What may be swept, and why no clock is needed: a snapshot is published only if head still names the manifest that it builds on
// (Trim.Base), and head's snapshot only grows. So a published manifest names shards of the head before it, and shards
// written for its own, larger index. A shard or manifest whose index is not above head's snapshot, and which head's manifest
// does not name, can therefore never be named by a head to come.
type Writer struct {
	journal journal.Journal
	images  Images
	log     *slog.Logger
	metrics *metrics
	limit   Limits

	wanted chan struct{}       // asks the owner for an image
	jobs   chan job            // holds at most one image
	notes  chan state.NoteTrim // for the owner to commit; holds at most one
	lost   chan error          // holds at most one

	bytes, entries int64 // since the last image; touched by the owner only

	base *manifest // newest that is known to be published; touched by Run only

	dropped atomic.Uint64 // how often images were dropped
}

// job is one image to be written.
type job struct {
	dropped uint64 // as of when it was taken
	image   *state.Image
	trimmed uint64
	fence   func(index uint64) bool
}

// New makes a writer, which does nothing before Run. reg may be nil.
func New(j journal.Journal, images Images, limit Limits, log *slog.Logger, reg prometheus.Registerer) *Writer {
	return &Writer{
		journal: j, images: images, log: log, metrics: newMetrics(reg), limit: limit,
		wanted: make(chan struct{}, 1), jobs: make(chan job, 1), notes: make(chan state.NoteTrim, 1), lost: make(chan error, 1),
	}
}

// Loaded notes that the replica begins from the snapshot at index.
func (s *Writer) Loaded(index uint64) { s.metrics.snapIndex.Set(float64(index)) }

// Wanted tells the owner that an image is wanted: it calls Take.
func (s *Writer) Wanted() <-chan struct{} { return s.wanted }

// Notes are for the owner to commit if it leads. They may get lost: then the next trim deletes once more.
func (s *Writer) Notes() <-chan state.NoteTrim { return s.notes }

// Lost tells the owner that head is missing or another cluster's (J6): the replica must stop.
func (s *Writer) Lost() <-chan error { return s.lost }

// Grow counts an applied entry of n bytes, and asks for an image when there are enough and this replica leads.
func (s *Writer) Grow(n int64, leading bool) {
	s.bytes += n
	s.entries++
	if !leading || s.bytes < s.limit.Bytes && s.entries < s.limit.Entries {
		return
	}
	s.Begin()
	select {
	case s.wanted <- struct{}{}:
	default:
	}
}

// Begin counts anew: an image was taken, here or by whoever leads.
func (s *Writer) Begin() { s.bytes, s.entries = 0, 0 }

// Resume begins a leadership: what was wanted in an earlier one is not any more.
func (s *Writer) Resume() {
	select {
	case <-s.wanted:
	default:
	}
}

// Take hands over an image, unless the last one is still worked on. trimmed is how far the state knows the journal to be
// deleted, and fence tells which of its entries are fences; it is called from Run.
func (s *Writer) Take(image *state.Image, trimmed uint64, fence func(index uint64) bool) {
	select {
	case s.jobs <- job{dropped: s.dropped.Load(), image: image, trimmed: trimmed, fence: fence}:
	default:
	}
}

// Drop has no image published that was taken before, unless its publication is under way: the state that they are of differs from
// the leader's.
func (s *Writer) Drop() { s.dropped.Add(1) }

// Run works until ctx ends, or head is found missing. A snapshot that fails for another reason costs nothing but a longer
// journal: the next one tries again.
func (s *Writer) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case j := <-s.jobs:
			began := time.Now()
			outcome, err := s.snapshot(ctx, j)
			if ctx.Err() != nil {
				return
			}
			if errors.Is(err, journal.ErrNoHead) || errors.Is(err, journal.ErrMismatch) {
				s.lost <- err
				return
			}
			if err != nil {
				outcome = "failed"
				s.log.Warn("snapshot of the metadata failed; the next one will try again", "index", j.image.Header().Index, "error", err)
			}
			s.metrics.snapshots.WithLabelValues(outcome).Inc()
			s.log.Debug("snapshot", "outcome", outcome, "index", j.image.Header().Index, "took", time.Since(began))
		}
	}
}

// snapshot writes what is new, publishes, trims and sweeps.
func (s *Writer) snapshot(ctx context.Context, j job) (outcome string, err error) {
	head, err := s.journal.Head(ctx)
	if err != nil {
		return "", err
	}
	if s.base == nil || s.base.id != head.Manifest {
		if s.base, err = readManifest(ctx, s.images, head); err != nil {
			return "", err
		}
	}
	m, err := s.write(ctx, head.Cluster, j.image)
	if err != nil {
		return "", err
	}
	t := journal.Trim{Snapshot: m.header.Index, Manifest: m.id, Boundary: 1, From: j.trimmed + 1, Keep: j.fence}
	if s.base != nil { // the boundary stays one snapshot behind, for those who are just reading
		t.Base, t.Boundary = s.base.id, s.base.header.Index+1
	}
	if s.dropped.Load() != j.dropped {
		return "dropped", nil
	}
	if err := s.journal.Trim(ctx, t); err != nil {
		return "", err
	}
	if head, err = s.journal.Head(ctx); err != nil {
		return "", err
	}
	if head.Manifest != m.id {
		return "superseded", nil
	}
	s.base = m
	s.metrics.snapIndex.Set(float64(m.header.Index))
	s.note(ctx, t.Boundary-1)
	return "published", s.sweep(ctx)
}

// write stores the shards that the base does not have, and then the manifest.
func (s *Writer) write(ctx context.Context, cluster [16]byte, image *state.Image) (*manifest, error) {
	m := &manifest{cluster: cluster, header: image.Header(), id: newID()}
	known := s.base.byShard()
	for info, encode := range image.Shards() {
		place, ok := known[info]
		if !ok {
			body := encode()
			place = placed{index: m.header.Index, id: newID(), size: uint32(len(body)), crc: crc32.Checksum(body, castagnoli)}
			if err := s.images.PutShard(ctx, place.index, place.id, body); err != nil {
				return nil, err
			}
		}
		m.places = append(m.places, place)
	}
	return m, s.images.PutManifest(ctx, m.header.Index, m.id, m.encode())
}

// note has the state remember how far the journal is deleted. It may get lost: then the next trim deletes once more.
func (s *Writer) note(ctx context.Context, through uint64) {
	if through == 0 {
		return
	}
	select {
	case s.notes <- state.NoteTrim{Through: through}:
	case <-ctx.Done():
	}
}

// sweep deletes what no head to come can name: see the comment of Writer.
func (s *Writer) sweep(ctx context.Context) error {
	named := map[[16]byte]bool{s.base.id: true}
	for _, p := range s.base.places {
		named[p.id] = true
	}
	newest := s.base.header.Index
	return s.images.Sweep(ctx, func(index uint64, _ bool, id [16]byte) bool { return index <= newest && !named[id] })
}

// readManifest reads the manifest that head names; nil if there is none.
func readManifest(ctx context.Context, images Images, head journal.Head) (*manifest, error) {
	if head.Snapshot == 0 {
		return nil, nil
	}
	b, err := images.GetManifest(ctx, head.Snapshot, head.Manifest)
	if err != nil {
		return nil, err
	}
	m, err := decodeManifest(b)
	if err != nil {
		return nil, err
	}
	if m.cluster != head.Cluster || m.header.Index != head.Snapshot {
		return nil, fmt.Errorf("%w: manifest of snapshot %d is of cluster %x, index %d", state.ErrCorrupt, head.Snapshot, m.cluster, m.header.Index)
	}
	m.id = head.Manifest
	return m, nil
}

// Load restores the newest snapshot, or answers an empty state. One that is swept while it is read has been replaced: head
// then names the next.
func Load(ctx context.Context, j journal.Journal, images Images) (*state.State, error) {
	var last journal.Head
	for {
		head, err := j.Head(ctx)
		if err != nil {
			return nil, err
		}
		st, err := restore(ctx, images, head)
		if err == nil {
			return st, nil
		}
		if head == last || ctx.Err() != nil {
			return nil, fmt.Errorf("load snapshot %d: %w", head.Snapshot, err)
		}
		last = head
	}
}

func restore(ctx context.Context, images Images, head journal.Head) (*state.State, error) {
	m, err := readManifest(ctx, images, head)
	if err != nil {
		return nil, err
	}
	if m == nil {
		return state.New(), nil
	}
	st, err := state.Restore(m.header, m.shards(ctx, images, head))
	if err == nil && st.Reader().Index() != head.Snapshot {
		err = errors.New("snapshot has another index than its manifest")
	}
	return st, err
}

func newID() (id [16]byte) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}
