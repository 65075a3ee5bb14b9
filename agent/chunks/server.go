package chunks

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/leat-stream/leat/cache"
	"github.com/leat-stream/leat/objectstore"
)

// Cache is what a Server reads through.
type Cache interface {
	// ReadOrigin is cache.Cache.ReadOrigin: what is missing comes from the bucket, never from a peer.
	ReadOrigin(ctx context.Context, key string, size, off, n int64, class cache.Class) ([][]byte, error)
}

// backfillShare is the part of Config.ServeBytes that reads of old data have: one in so many.
const backfillShare = 4

// waitersPerSlot is how many reads may wait for each that is served.
const waitersPerSlot = 4

// Server answers what the caches of peers miss. It is safe for concurrent use; its bounds are its own, so that peers take
// nothing from this agent's readers but the disk's and the network's time. All fields are set by NewServer.
//
// A read counts against the slots of its class until it is done, and with its length against the class's room until it is sent: what an
// answer is made of may have left the cache long before a peer that reads slowly has taken it. It counts with its length, since caches miss
// whole chunks; of one that is not, the rest of the chunks at its ends, and of each stream that was sent what gRPC still has of it (less
// than 1 MiB), come on top. A peer that takes nothing keeps no room for longer than its calls last, 10 s at most by the
// peers' own bound; others that find none meanwhile ask the bucket, as they do when this agent is slow.
type Server struct {
	cfg     Config
	keys    objectstore.Keys
	cache   Cache
	gates   [2]gate // by class
	metrics *served
}

// gate bounds reads of one class: as many are read as there are slots, of as many bytes as there is room. Those that find none of either
// wait in their order, waitersPerSlot for each slot; the next is refused.
type gate struct {
	slots   chan struct{}
	room    *semaphore.Weighted // bytes; never less in all than Config.RegionBytes, so that every read fits
	waiting atomic.Int64
}

func newGate(slots int, bytes int64) gate {
	return gate{slots: make(chan struct{}, slots), room: semaphore.NewWeighted(bytes)}
}

// NewServer makes a Server over the agent's cache. registerer may be nil.
func NewServer(cfg Config, keys objectstore.Keys, c Cache, registerer prometheus.Registerer) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, keys: keys, cache: c}
	backfill := cfg.ServeBytes / backfillShare
	s.gates[cache.Tail] = newGate(cfg.ServeTail, cfg.ServeBytes-backfill)
	s.gates[cache.Backfill] = newGate(cfg.ServeBackfill, backfill)
	var err error
	if s.metrics, err = newServed(registerer); err != nil {
		return nil, fmt.Errorf("chunks: register metrics: %w", err)
	}
	return s, nil
}

// Serve sends the n bytes of a data object of size bytes from off on to a peer, as slices in order that must not be changed; what
// send keeps of them once it has returned is not counted. Errors: ErrRefused for what no peer should ask for, ErrBusy, ctx's, those of cache.Cache.Read, and
// send's. None of the arguments is trusted.
func (s *Server) Serve(ctx context.Context, key string, size, off, n int64, class cache.Class, send func([][]byte) error) error {
	if _, err := s.keys.ParseData(key); err != nil {
		return fmt.Errorf("serve a peer: %w: %w", ErrRefused, err)
	}
	if n < 0 || n > s.cfg.RegionBytes || int(class) >= len(s.gates) {
		return fmt.Errorf("serve a peer %d bytes of %s, class %d: %w", n, key, class, ErrRefused)
	}
	g := &s.gates[class]
	if err := g.enter(ctx, n); err != nil {
		s.metrics.refused[class].Inc()
		return fmt.Errorf("serve a peer %s: %w", key, err)
	}
	defer g.room.Release(n)
	parts, err := s.cache.ReadOrigin(ctx, key, size, off, n, class)
	<-g.slots
	if err != nil {
		return fmt.Errorf("serve a peer: %w", err)
	}
	s.metrics.reads[class].Inc()
	s.metrics.bytes[class].Add(float64(n))
	return send(parts)
}

// enter takes a slot, and room for n bytes.
func (g *gate) enter(ctx context.Context, n int64) error {
	if g.room.TryAcquire(n) {
		select {
		case g.slots <- struct{}{}:
			return nil
		default:
			g.room.Release(n)
		}
	}
	defer g.waiting.Add(-1)
	if g.waiting.Add(1) > int64(waitersPerSlot*cap(g.slots)) {
		return ErrBusy
	}
	if err := g.room.Acquire(ctx, n); err != nil {
		return err
	}
	select {
	case g.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		g.room.Release(n)
		return ctx.Err()
	}
}
