package chunks

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/cache"
	"github.com/leat-stream/leat/objectstore"
)

// Deps is what a Reader stands on. Register may be nil.
type Deps struct {
	Keys     objectstore.Keys
	Owners   Owners
	Peer     Peer
	Bucket   cache.Source
	Log      *slog.Logger
	Register prometheus.Registerer
}

// Reader answers what the cache of this agent misses. It is safe for concurrent use. Goroutines belong to the read that
// started them and have ended when its reader is closed. All fields are set by New.
type Reader struct {
	cfg     Config
	deps    Deps
	avoided *avoided
	usual   *usual // of reads from the bucket
	metrics *metrics
}

// New makes a Reader, whose Source is for cache.Open.
func New(cfg Config, deps Deps) (*Reader, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r := &Reader{cfg: cfg, deps: deps, avoided: newAvoided(cfg.Avoid), usual: newUsual(cfg.MinPatience)}
	var err error
	if r.metrics, err = newMetrics(deps.Register, r); err != nil {
		return nil, fmt.Errorf("chunks: register metrics: %w", err)
	}
	return r, nil
}

// Source is a cache.Source: whoever should have the bytes is asked first, the bucket if nobody should, if that is this
// agent, or if the peer is slow or gone. Errors are those of the bucket and ctx's only.
func (r *Reader) Source(ctx context.Context, m cache.Miss) (io.ReadCloser, error) {
	peer, from := r.route(m)
	if from == fromBucket {
		return r.bucket(ctx, m)
	}
	if !r.avoided.allow(peer) {
		r.metrics.fallbacks[avoiding].Inc()
		return r.bucket(ctx, m)
	}
	return newContest(ctx, r, m, peer, from).decide(ctx)
}

// route says who is to be asked. An object belongs to its writer in each zone that has it, so that all agents of the zone
// agree whom to ask even for what the writer has forgotten; one that cannot be reached is replaced by the owner.
func (r *Reader) route(m cache.Miss) (peer string, from from) {
	segment, err := r.deps.Keys.ParseData(m.Key)
	if err != nil || isClosed(m.Origin) {
		return "", fromBucket
	}
	peer, self, ok := r.deps.Owners.Writer(segment.Owner)
	if ok && (self || !r.avoided.avoids(peer)) {
		return whose(peer, self, fromWriter)
	}
	peer, self, ok = r.deps.Owners.ChunkOwner(m.Key, m.Off/r.cfg.RegionBytes)
	return whose(peer, self || !ok, fromOwner)
}

// whose answers the peer, or the bucket if it is this agent that should have the bytes, or one without an address.
func whose(peer string, mine bool, from from) (string, from) {
	if mine || peer == "" {
		return "", fromBucket
	}
	return peer, from
}

// bucket opens bytes of the bucket. The read counts, and how long it took is noted, once all of them were read.
func (r *Reader) bucket(ctx context.Context, m cache.Miss) (io.ReadCloser, error) {
	note := r.usual.begin()
	body, err := r.deps.Bucket(ctx, m)
	if err != nil {
		return nil, err
	}
	return &metered{ReadCloser: body, left: m.N, bytes: r.metrics.bytes[fromBucket], done: func() {
		note()
		r.metrics.reads[fromBucket].Inc()
	}}, nil
}

// isClosed reports whether a channel that nothing is ever sent to is closed; a nil one is not.
func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
