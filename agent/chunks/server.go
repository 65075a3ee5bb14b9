package chunks

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/cache"
	"github.com/leat-stream/leat/objectstore"
)

// Cache is what a Server reads through.
type Cache interface {
	// ReadOrigin is cache.Cache.ReadOrigin: what is missing comes from the bucket, never from a peer.
	ReadOrigin(ctx context.Context, key string, size, off, n int64, class cache.Class) ([][]byte, error)
}

// waitersPerSlot is how many reads may wait for each that is served.
const waitersPerSlot = 4

// Server answers what the caches of peers miss. It is safe for concurrent use; its bounds are its own, so that peers take
// nothing from this agent's readers but the disk's and the network's time. All fields are set by NewServer.
type Server struct {
	cfg     Config
	keys    objectstore.Keys
	cache   Cache
	gates   [2]gate // by class
	metrics *served
}

// gate bounds reads of one class: cap(slots) are served, waitersPerSlot times as many wait, the next is refused.
type gate struct {
	slots   chan struct{}
	waiting atomic.Int64
}

// NewServer makes a Server over the agent's cache. registerer may be nil.
func NewServer(cfg Config, keys objectstore.Keys, c Cache, registerer prometheus.Registerer) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, keys: keys, cache: c}
	s.gates[cache.Tail].slots = make(chan struct{}, cfg.ServeTail)
	s.gates[cache.Backfill].slots = make(chan struct{}, cfg.ServeBackfill)
	var err error
	if s.metrics, err = newServed(registerer); err != nil {
		return nil, fmt.Errorf("chunks: register metrics: %w", err)
	}
	return s, nil
}

// Serve answers the n bytes of a data object of size bytes from off on, for a peer, as slices in order that must not be
// changed. Errors: ErrRefused for what no peer should ask for, ErrBusy, ctx's, and those of cache.Cache.Read. None of
// the arguments is trusted.
func (s *Server) Serve(ctx context.Context, key string, size, off, n int64, class cache.Class) ([][]byte, error) {
	if _, err := s.keys.ParseData(key); err != nil {
		return nil, fmt.Errorf("serve a peer: %w: %w", ErrRefused, err)
	}
	if n < 0 || n > s.cfg.RegionBytes || int(class) >= len(s.gates) {
		return nil, fmt.Errorf("serve a peer %d bytes of %s, class %d: %w", n, key, class, ErrRefused)
	}
	g := &s.gates[class]
	if err := g.enter(ctx); err != nil {
		s.metrics.refused[class].Inc()
		return nil, fmt.Errorf("serve a peer %s: %w", key, err)
	}
	defer g.leave()
	parts, err := s.cache.ReadOrigin(ctx, key, size, off, n, class)
	if err != nil {
		return nil, fmt.Errorf("serve a peer: %w", err)
	}
	s.metrics.reads[class].Inc()
	s.metrics.bytes[class].Add(float64(n))
	return parts, nil
}

func (g *gate) enter(ctx context.Context) error {
	select {
	case g.slots <- struct{}{}:
		return nil
	default:
	}
	defer g.waiting.Add(-1)
	if g.waiting.Add(1) > int64(waitersPerSlot*cap(g.slots)) {
		return ErrBusy
	}
	select {
	case g.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) leave() { <-g.slots }
