package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/agent/api"
	"github.com/leat-stream/leat/agent/brokers"
	"github.com/leat-stream/leat/agent/chunks"
	"github.com/leat-stream/leat/agent/fetch"
	"github.com/leat-stream/leat/agent/group"
	"github.com/leat-stream/leat/agent/produce"
	"github.com/leat-stream/leat/agent/topics"
	"github.com/leat-stream/leat/agent/yielding"
	"github.com/leat-stream/leat/cache"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/journal/object"
	"github.com/leat-stream/leat/metadata/replica"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/health"
	"github.com/leat-stream/leat/objectstore/retry"
)

// host is a place where an agent runs, one life after another. Its fields belong to the scheduler's goroutine, but life's.
type host struct {
	w      *world
	name   string // also its address
	index  int
	paused time.Time // until then
	lives  int
	life   *life // nil: nothing runs here
}

// held is for how long the host's steps do not happen.
func (h *host) held() time.Duration { return max(time.Until(h.paused), 0) }

// life is one process of an agent: the real parts, put together as package agent does, over this package's bucket and network.
type life struct {
	*host
	name    string // of this life, in the trace
	id      state.UUID
	log     *slog.Logger
	metrics *prometheus.Registry

	ctx       context.Context // ends with the process
	kill      context.CancelFunc
	drain     chan struct{}  // closed: it was told to stop
	parts     sync.WaitGroup // every goroutine of the process
	dead      atomic.Bool
	peersUp   atomic.Bool // it answers other agents
	clientsUp atomic.Bool

	health     *health.Store
	head       []byte // what the mutant oldHead believes; owned by steps
	yielding   *yielding.Journal
	leaving    chan struct{}     // closed: aside is to end
	asideEnded chan struct{}     // closed: it has
	keep       objectstore.Store // what the parts see of the bucket
	retrying   objectstore.Store
	replica    *replica.Replica
	door       metadata.Service // the replica, or a mutant of it
	session    *metadata.Session
	view       atomic.Pointer[brokers.Brokers]
	store      *chunkStore
	chunks     *chunks.Server
	producer   *produce.Producer
	groups     *group.Coordinator
	waiters    *fetch.Waiters
	api        *api.Server
	from       uint64
}

// begin starts a process at h. Called by steps.
func (h *host) begin() {
	h.lives++
	l := &life{host: h, name: fmt.Sprintf("%s.%d", h.name, h.lives), drain: make(chan struct{}), leaving: make(chan struct{}), asideEnded: make(chan struct{})}
	seed := fnv.New128a()
	_, _ = fmt.Fprintf(seed, "%d %s", h.w.seed, l.name)
	copy(l.id[:], seed.Sum(nil))
	l.id[0] = byte(h.index)<<4 | byte(h.lives) // legible in names of objects
	l.log, l.metrics = h.w.logger(l.name), prometheus.NewRegistry()
	l.ctx, l.kill = context.WithCancel(context.Background())
	h.life = l
	h.w.lives = append(h.w.lives, l)
	l.parts.Go(func() { h.w.ended(l, l.live()) })
}

// crash ends the process between any two steps. Called by steps.
func (h *host) crash() {
	if l := h.life; l != nil {
		l.dead.Store(true)
		l.kill()
		h.life = nil
	}
}

// ended is called by a process that ends by itself: it begins anew, as agent.Live or whoever supervises it has it.
func (w *world) ended(l *life, err error) {
	after := time.Second + time.Duration(l.index)*1013*time.Nanosecond
	w.s.submit(&step{who: l.name, what: fmt.Sprintf("ends: %v", reason(err)), decide: func(*rand.Rand) time.Duration { return 0 }, run: func() time.Duration {
		if l.host.life != l || l.dead.Load() {
			return 0
		}
		l.host.crash()
		if err != nil && !errors.Is(err, metadata.ErrSessionClosed) && !errors.Is(err, errOpening) {
			w.violate("%s stopped by itself: %v", l.name, err)
		}
		w.restart(l.host, after)
		return 0
	}})
}

// reason is the innermost error that says nothing random.
func reason(err error) string {
	switch {
	case err == nil:
		return "drained"
	case errors.Is(err, metadata.ErrSessionClosed):
		return "session closed"
	case errors.Is(err, errOpening):
		return "could not open"
	}
	return err.Error()
}

func (w *world) restart(h *host, after time.Duration) {
	w.s.submit(&step{who: h.name, what: "starts", decide: func(*rand.Rand) time.Duration { return after }, run: func() time.Duration {
		if h.life == nil && !w.stopped {
			h.begin()
		}
		return 0
	}})
}

var errOpening = errors.New("agent could not be opened")

// live is agent.Open and agent.Run.
func (l *life) live() error {
	if err := l.open(); err != nil {
		if l.ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("%w: %w", errOpening, err)
	}
	base, cancel := context.WithCancelCause(l.ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel(nil)
	part := func(name string, run func(context.Context) error) {
		running.Go(func() {
			if err := run(base); err != nil && base.Err() == nil {
				if !errors.Is(err, metadata.ErrSessionClosed) {
					err = fmt.Errorf("%s: %w", name, err)
				}
				cancel(err)
			}
		})
	}
	part("metadata", l.replica.Run)
	l.peersUp.Store(true)
	if err := l.session.Open(base); err != nil {
		if base.Err() != nil {
			err = context.Cause(base)
		}
		return fmt.Errorf("%w: %w", errOpening, err)
	}
	part("session", l.session.Run)
	part("membership", l.closed)
	part("brokers", l.view.Load().Run)
	part("produce", l.producer.Run)
	part("groups", l.groups.Run)
	part("bucket", func(ctx context.Context) error { l.health.Run(ctx); return nil })
	part("aside", l.aside)
	part("vigil", l.vigil)
	part("fetch", func(ctx context.Context) error { return l.waiters.Run(ctx, l.door, l.from) })
	l.clientsUp.Store(true)
	l.w.s.note(l.name, "serves")
	select {
	case <-base.Done():
		return context.Cause(base)
	case <-l.drain:
	}
	return l.leave(base)
}

// leave is what an agent does that was told to stop.
func (l *life) leave(base context.Context) error {
	close(l.leaving)
	<-l.asideEnded
	leaving, cancel := context.WithTimeout(base, time.Second)
	_ = l.session.Leave(leaving)
	l.groups.Release()
	_ = l.replica.Resign(leaving)
	cancel()
	select {
	case <-time.After(4*time.Second + time.Duration(l.index)):
	case <-base.Done():
		return context.Cause(base)
	}
	l.clientsUp.Store(false)
	l.waiters.Release()
	draining, cancel := context.WithTimeout(base, 4*time.Second)
	defer cancel()
	_ = l.producer.Drain(draining)
	closing, cancel := context.WithTimeout(base, time.Second)
	defer cancel()
	_ = l.session.Close(closing)
	return nil
}

// closed is agent.closed.
func (l *life) closed(ctx context.Context) error {
	for change, err := range l.door.Watch(ctx, l.from) {
		if err != nil || ctx.Err() != nil {
			return err
		}
		if change.Kind != state.ChangeSession && change.Kind != state.ChangeAll {
			continue
		}
		over := false
		if err := l.door.Ask(ctx, metadata.Local(), func(r state.Reader) {
			s, ok := r.Session(l.id)
			over = (!ok || s.Closed) && !l.session.Closing()
		}); err != nil {
			return err
		}
		if over {
			return metadata.ErrSessionClosed
		}
	}
	return nil
}

// vigil is agent's.
func (l *life) vigil(ctx context.Context) error {
	tick := time.NewTicker(10*time.Second + time.Duration(l.index)*1021*time.Nanosecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if l.replica.Leading() {
			_ = l.door.Ask(ctx, metadata.Fresh(), func(state.Reader) {})
		}
	}
}

// open puts the parts together, as agent.Open.
func (l *life) open() error {
	w := l.w
	rng := rand.New(rand.NewPCG(w.seed, uint64(l.index)<<32|uint64(l.lives)))
	jitter := func(bound time.Duration) time.Duration {
		l.w.draws.Lock()
		defer l.w.draws.Unlock()
		return time.Duration(rng.Int64N(int64(max(bound, 1))))
	}
	l.heed()
	again := retry.Default()
	again.Jitter = jitter
	l.retrying = retry.New(l.keep, again)
	if err := object.Create(l.ctx, l.keep, w.keys); err != nil {
		return err
	}
	opened, err := object.Open(l.ctx, l.keep, w.keys, object.Jitter(jitter))
	if err != nil {
		return err
	}
	head, err := opened.Head(l.ctx)
	if err != nil {
		return err
	}
	l.yielding = yielding.New(w.mutant.journal(l, opened), l.health.Stuck)
	cfg := w.replicaConfig(l)
	if l.replica, err = replica.Open(l.ctx, cfg, l.yielding, object.NewImages(l.retrying, w.keys, object.Jitter(jitter)), wires{w, l}, l.log, l.metrics); err != nil {
		return err
	}
	l.door = w.mutant.service(l.replica)
	l.session = metadata.NewSession(l.door, metadata.Identity{
		Session: l.id, NodeID: -1, Agent: l.host.name, Address: l.host.name + ":9092", Peer: l.host.name, Zone: w.zone(l.host),
		Listeners: []state.Listener{{Name: listener, Address: l.host.name + ":9092"}},
	}, time.Now)
	return l.assemble(head, jitter)
}

const listener = "default"

func (w *world) replicaConfig(l *life) replica.Config {
	cfg := replica.Default()
	cfg.Leader = state.LeaderInfo{Session: l.id, Agent: l.host.name, Address: l.host.name}
	cfg.Zone = w.zone(l.host)
	cfg.SnapshotAfter, cfg.CheckEvery = w.cfg.snapshotAfter, 4
	odd := time.Duration(l.index*2+1) * 1009 // no two timers go off at the same moment, whose order nobody could foretell
	cfg.Beat = w.cfg.beat + odd
	cfg.Patience, cfg.SessionPatience = 6*w.cfg.beat+3*odd, 16*w.cfg.beat+7*odd
	return cfg
}

// assemble is agent.assemble.
func (l *life) assemble(head journal.Head, jitter func(time.Duration) time.Duration) error {
	w, ctx := l.w, l.ctx
	if err := l.door.Ask(ctx, metadata.Local(), func(r state.Reader) { l.from = r.Index() }); err != nil {
		return err
	}
	known, err := brokers.New(ctx, l.door, l.id, time.Now)
	if err != nil {
		return err
	}
	l.view.Store(known)
	catalog, err := topics.New(topics.Default(), l.session)
	if err != nil {
		return err
	}
	reader, err := chunks.New(chunks.Default(), chunks.Deps{Keys: w.keys, Owners: owners{l}, Peer: wires{w, l}, Bucket: l.fromBucket, Log: l.log, Register: l.metrics})
	if err != nil {
		return err
	}
	l.store = &chunkStore{l: l, source: reader.Source, objects: map[string][]byte{}}
	if l.chunks, err = chunks.NewServer(chunks.Default(), w.keys, l.store, l.metrics); err != nil {
		return err
	}
	producing := produce.Default()
	producing.Jitter, producing.FlushInterval = jitter, w.cfg.flush+time.Duration(l.index)*1031
	if l.producer, err = produce.New(producing, produce.Deps{
		Session: w.mutant.objects(l), Store: l.keep, Keys: w.keys, Cluster: head.Cluster, Recent: l.store, Log: l.log, Register: l.metrics,
	}); err != nil {
		return err
	}
	l.waiters = fetch.NewWaiters()
	fetcher, err := fetch.New(fetch.Default(), fetch.Deps{Metadata: l.door, Chunks: l.store, Keys: w.keys, Waiters: l.waiters, Log: l.log, Register: l.metrics})
	if err != nil {
		return err
	}
	groups := group.Default()
	groups.InitialRebalanceDelay = 500 * time.Millisecond
	l.groups = group.New(groups, group.Deps{
		Door: l.session, Applied: l.replica.Applied, Watch: l.door.Watch, Changed: known.Changed, Log: l.log, Register: l.metrics,
		Mine: func(id string) bool {
			b, ok := known.View().Coordinator(id)
			return ok && b.Session == l.id
		},
	})
	l.api = api.New(api.Deps{
		Session: l.session, Catalog: catalog, Producer: l.producer, Fetcher: fetcher, Sessions: fetch.NewSessions(10, time.Now),
		Coordinator: l.groups, Log: l.log, Cluster: head.Cluster, Zone: w.zone(l.host), Brokers: known, Forward: wires{w, l},
		Advertise: func(string) string { return l.host.name + ":9092" },
		Shared:    func(string) bool { return w.cfg.shared },
	})
	return nil
}

// fromBucket is agent's ground.source.
func (l *life) fromBucket(ctx context.Context, m cache.Miss) (io.ReadCloser, error) {
	o, err := l.retrying.Get(ctx, m.Key, objectstore.Range{Offset: m.Off, Length: m.N})
	return o.Reader, err
}

// owners is agent's neighbours, for chunks.
type owners struct{ l *life }

// Writer implements chunks.Owners.
func (o owners) Writer(session [16]byte) (address string, self, ok bool) {
	for _, b := range o.l.view.Load().View().All() {
		if b.Session == session && b.Zone == o.l.w.zone(o.l.host) {
			return b.Peer, b.Session == o.l.id, true
		}
	}
	return "", false, false
}

// ChunkOwner implements chunks.Owners.
func (o owners) ChunkOwner(key string, region int64) (address string, self, ok bool) {
	b, ok := o.l.view.Load().View().ChunkOwner(key, region, o.l.w.zone(o.l.host))
	return b.Peer, ok && b.Session == o.l.id, ok
}

// chunkStore stands for the cache, whose memory tier keeps by chance: it keeps everything, object by object, until the process ends.
type chunkStore struct {
	l      *life
	source cache.Source

	mu      sync.Mutex
	objects map[string][]byte
}

// Put implements produce.Recent.
func (c *chunkStore) Put(key string, parts [][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.objects[key] = bytes.Join(parts, nil)
}

// Read implements fetch.Chunks.
func (c *chunkStore) Read(ctx context.Context, key string, size, off, n int64, class cache.Class) ([][]byte, error) {
	return c.read(ctx, c.source, key, size, off, n, class)
}

// ReadOrigin implements chunks.Cache.
func (c *chunkStore) ReadOrigin(ctx context.Context, key string, size, off, n int64, class cache.Class) ([][]byte, error) {
	return c.read(ctx, c.l.fromBucket, key, size, off, n, class)
}

func (c *chunkStore) read(ctx context.Context, source cache.Source, key string, size, off, n int64, class cache.Class) ([][]byte, error) {
	c.mu.Lock()
	data, ok := c.objects[key]
	c.mu.Unlock()
	if !ok {
		body, err := source(ctx, cache.Miss{Key: key, Size: size, Off: 0, N: size, Class: class})
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", key, err)
		}
		data, err = io.ReadAll(body)
		_ = body.Close()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", key, err)
		}
		if int64(len(data)) != size {
			return nil, fmt.Errorf("read %s: %d bytes instead of %d: %w", key, len(data), size, cache.ErrShort)
		}
		c.Put(key, [][]byte{data})
	}
	if off+n > int64(len(data)) {
		return nil, fmt.Errorf("read %s: %w", key, cache.ErrShort)
	}
	return [][]byte{data[off : off+n]}, nil
}

// elections counts them.
type elections struct {
	journal.Journal
	l *life
}

// Lead implements journal.Journal.
func (e elections) Lead(ctx context.Context, after uint64, body []byte) (journal.Term, error) {
	t, err := e.Journal.Lead(ctx, after, body)
	if err == nil {
		what := fmt.Sprintf("leads since %d", t.Fence().Index)
		e.l.w.s.submit(&step{who: e.l.name, what: what, decide: func(*rand.Rand) time.Duration { return 0 }, run: func() time.Duration {
			e.l.w.count("election")
			return 0
		}})
	}
	return t, err
}
