package replica

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"time"

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

// snapshotter writes images, publishes them, trims the journal and sweeps what no image will ever name again. The replica's
// goroutine calls grow and hands over images; everything else happens in run.
//
// What may be swept, and why no clock is needed: a snapshot is published only if head still names the manifest that it builds on
// (Trim.Base), and head's snapshot only grows. So a published manifest names shards of the head before it, and shards
// written for its own, larger index. A shard or manifest whose index is not above head's snapshot, and which head's manifest
// does not name, can therefore never be named by a head to come.
type snapshotter struct {
	journal journal.Journal
	images  Images
	log     *slog.Logger
	metrics *metrics

	wanted chan struct{} // asks the replica's goroutine for an image
	jobs   chan job      // holds at most one image
	notes  chan *call    // NoteTrim commands for the replica's goroutine
	lost   chan error    // holds at most one: head is missing or another cluster's (J6), so the replica must stop

	limit Config // SnapshotBytes and SnapshotAfter between two snapshots

	bytes, entries int64 // since the last image; owned by the replica's goroutine

	base *manifest // newest that is known to be published; owned by run once it has begun
}

// job is one image to be written.
type job struct {
	image   *state.Image
	trimmed uint64
	fence   func(index uint64) bool
}

func newSnapshotter(j journal.Journal, images Images, limit Config, log *slog.Logger, m *metrics) *snapshotter {
	return &snapshotter{
		journal: j, images: images, log: log, metrics: m, limit: limit,
		wanted: make(chan struct{}, 1), jobs: make(chan job, 1), notes: make(chan *call, 1), lost: make(chan error, 1),
	}
}

// grow counts an entry of n bytes, and asks for an image when there are enough and this replica leads.
func (s *snapshotter) grow(n int64, leading bool) {
	s.bytes += n
	s.entries++
	if !leading || s.bytes < s.limit.SnapshotBytes && s.entries < s.limit.SnapshotAfter {
		return
	}
	s.begin()
	select {
	case s.wanted <- struct{}{}:
	default:
	}
}

// begin counts anew.
func (s *snapshotter) begin() { s.bytes, s.entries = 0, 0 }

// resume begins a leadership: what was wanted in an earlier one is not any more.
func (s *snapshotter) resume() {
	select {
	case <-s.wanted:
	default:
	}
}

// takeImage hands an image to the snapshotter, unless it still works on the last one.
func (r *Replica) takeImage() {
	r.mu.Lock()
	image, trimmed := r.st.Image(), r.st.Reader().TrimmedThrough()
	r.mu.Unlock()
	select {
	case r.snap.jobs <- job{image: image, trimmed: trimmed, fence: r.isFence}:
	default:
	}
}

func (r *Replica) isFence(index uint64) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.st.Reader().Fence(index)
}

// run works until ctx ends, or head is found missing. A snapshot that fails for another reason costs nothing but a longer
// journal: the next one tries again.
func (s *snapshotter) run(ctx context.Context) {
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
func (s *snapshotter) snapshot(ctx context.Context, j job) (outcome string, err error) {
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
func (s *snapshotter) write(ctx context.Context, cluster [16]byte, image *state.Image) (*manifest, error) {
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
func (s *snapshotter) note(ctx context.Context, through uint64) {
	if through == 0 {
		return
	}
	c := &call{commands: []state.Command{{Op: state.NoteTrim{Through: through}}}, done: make(chan struct{})}
	select {
	case s.notes <- c:
	case <-ctx.Done():
	}
}

// sweep deletes what no head to come can name: see the comment of snapshotter.
func (s *snapshotter) sweep(ctx context.Context) error {
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

// load restores the newest snapshot, or begins with an empty state. A snapshot that is swept while it is read has been
// replaced: head then names the next one.
func (r *Replica) load(ctx context.Context) (*manifest, error) {
	var last journal.Head
	for {
		head, err := r.journal.Head(ctx)
		if err != nil {
			return nil, err
		}
		m, st, err := r.restore(ctx, head)
		if err == nil {
			r.mu.Lock()
			r.st = st
			r.mu.Unlock()
			r.applied.Store(st.Reader().Index())
			r.metrics.snapIndex.Set(float64(head.Snapshot))
			return m, nil
		}
		if head == last || ctx.Err() != nil {
			return nil, fmt.Errorf("load snapshot %d: %w", head.Snapshot, err)
		}
		last = head
	}
}

func (r *Replica) restore(ctx context.Context, head journal.Head) (*manifest, *state.State, error) {
	m, err := readManifest(ctx, r.snap.images, head)
	if err != nil {
		return nil, nil, err
	}
	if m == nil {
		return nil, state.New(), nil
	}
	st, err := state.Restore(m.header, func(yield func([]byte, error) bool) {
		for _, p := range m.places {
			body, err := r.snap.images.GetShard(ctx, p.index, p.id)
			if err == nil && (uint32(len(body)) != p.size || crc32.Checksum(body, castagnoli) != p.crc) {
				err = fmt.Errorf("%w: shard %d-%x of snapshot %d", state.ErrCorrupt, p.index, p.id, head.Snapshot)
			}
			if !yield(body, err) || err != nil {
				return
			}
		}
	})
	if err == nil && st.Reader().Index() != head.Snapshot {
		err = errors.New("snapshot has another index than its manifest")
	}
	return m, st, err
}

func newID() (id [16]byte) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}
