package chunks

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
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"github.com/leat-stream/leat/cache"
	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/mem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	chunkBytes  = 1 << 10
	regionBytes = 4 << 10
	objectBytes = 37<<10 + 5 // ten regions, the last one short
)

var keys = func() objectstore.Keys {
	k, err := objectstore.NewKeys("test")
	if err != nil {
		panic(err)
	}
	return k
}()

// objectKey names the object of a session.
func objectKey(session byte, number uint64) string {
	return keys.Data(objectstore.Segment{Owner: [16]byte{session}, Number: number, Attempt: 1})
}

// contents are the objects made up so far, by name.
var contents sync.Map

// content is what the object of that name holds.
func content(key string) []byte {
	if data, ok := contents.Load(key); ok {
		return data.([]byte)
	}
	h := fnv.New64a()
	h.Write([]byte(key))
	r := rand.New(rand.NewPCG(h.Sum64(), 1))
	data := make([]byte, objectBytes)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	contents.Store(key, data)
	return data
}

// cluster is agents in one process over one bucket, which counts. The fields before mu are set before the agents are used.
type cluster struct {
	t       testing.TB
	store   *mem.Store
	cfg     Config
	cached  cache.Config
	agents  map[string]*agent
	delay   time.Duration                                                             // of every GET
	away    func(m cache.Miss) error                                                  // makes GETs fail
	network func(ctx context.Context, to string, m cache.Miss) (io.ReadCloser, error) // in place of the agents' servers, unless it answers nil, nil

	mu    sync.Mutex
	got   map[string]int64 // bytes read from the bucket, by zone and key
	gets  int
	open  int      // bodies of the bucket that are not closed
	asked []string // "from>to", calls of peers
}

// agent is one of them.
type agent struct {
	name    string
	zone    string
	session byte
	c       *cluster
	cache   *cache.Cache
	reader  *Reader
	server  *Server
	reg     *prometheus.Registry

	mu   sync.Mutex
	view view // who it believes to be alive, guarded by mu
}

// view is the names of live agents and what they think of regions; owner, if set, overrides rendezvous hashing.
type view struct {
	live  []*agent
	owner func(key string, region int64) string
}

func newCluster(t testing.TB, change ...func(*cluster)) *cluster {
	c := &cluster{t: t, store: mem.New(), cfg: Default(), cached: cache.Default(), agents: map[string]*agent{}, got: map[string]int64{}}
	c.cfg.RegionBytes = regionBytes
	c.cached.ChunkBytes, c.cached.MaxGetBytes, c.cached.MemoryBytes = chunkBytes, regionBytes, 64<<20
	for _, f := range change {
		f(c)
	}
	t.Cleanup(func() {
		if c.open != 0 {
			t.Errorf("%d bodies of the bucket were not closed", c.open)
		}
	})
	return c
}

// add starts agents of a zone. Everyone of the zone sees them.
func (c *cluster) add(zone string, names ...string) {
	c.t.Helper()
	for _, name := range names {
		a := &agent{name: name, zone: zone, session: byte(len(c.agents) + 1), c: c, reg: prometheus.NewRegistry()}
		log := slog.New(slog.NewTextHandler(c.t.Output(), nil))
		must := func(err error) {
			c.t.Helper()
			if err != nil {
				c.t.Fatal(err)
			}
		}
		var err error
		a.reader, err = New(c.cfg, Deps{Keys: keys, Owners: a, Peer: a, Bucket: a.bucket, Log: log, Register: a.reg})
		must(err)
		a.cache, err = cache.Open(c.cached, a.reader.Source, log, a.reg)
		must(err)
		c.t.Cleanup(func() { _ = a.cache.Close() })
		a.server, err = NewServer(c.cfg, keys, a.cache, a.reg)
		must(err)
		c.agents[name] = a
	}
	c.alive()
}

// alive makes everyone see all agents of their zone but those named.
func (c *cluster) alive(but ...string) {
	for _, a := range c.agents {
		var v view
		for _, b := range c.agents {
			gone := false
			for _, name := range but {
				gone = gone || name == b.name
			}
			if b.zone == a.zone && !gone {
				v.live = append(v.live, b)
			}
		}
		a.see(v)
	}
}

func (a *agent) see(v view) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.view = v
}

func (a *agent) seen() view {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.view
}

// Writer implements Owners.
func (a *agent) Writer(session [16]byte) (string, bool, bool) {
	for _, b := range a.seen().live {
		if session == [16]byte{b.session} {
			return b.name, a == b, true
		}
	}
	return "", false, false
}

// ChunkOwner implements Owners.
func (a *agent) ChunkOwner(key string, region int64) (string, bool, bool) {
	v := a.seen()
	if v.owner != nil {
		name := v.owner(key, region)
		return name, name == a.name, name != ""
	}
	var best *agent
	var most uint64
	for _, b := range v.live {
		h := fnv.New64a()
		fmt.Fprint(h, b.name, key, region)
		if w := h.Sum64() * 0x9e3779b97f4a7c15; best == nil || w > most {
			best, most = b, w
		}
	}
	if best == nil {
		return "", false, false
	}
	return best.name, best == a, true
}

// unhurried is longer than any test takes.
const unhurried = time.Hour

var errGone = errors.New("connection refused")

// Chunk implements Peer.
func (a *agent) Chunk(ctx context.Context, address, key string, size, off, n int64, class cache.Class) (io.ReadCloser, error) {
	a.c.mu.Lock()
	a.c.asked = append(a.c.asked, a.name+">"+address)
	a.c.mu.Unlock()
	if a.c.network != nil {
		if r, err := a.c.network(ctx, address, cache.Miss{Key: key, Size: size, Off: off, N: n, Class: class}); r != nil || err != nil {
			return r, err
		}
	}
	to := a.c.agents[address]
	if to == nil {
		return nil, errGone
	}
	parts, err := serve(ctx, to.server, key, size, off, n, class)
	if err != nil {
		return nil, err
	}
	return body(parts...), nil
}

// serve answers what a peer is sent.
func serve(ctx context.Context, s *Server, key string, size, off, n int64, class cache.Class) (parts [][]byte, err error) {
	err = s.Serve(ctx, key, size, off, n, class, func(p [][]byte) error {
		parts = p
		return nil
	})
	return parts, err
}

func body(parts ...[]byte) io.ReadCloser {
	var readers []io.Reader
	for _, p := range parts {
		readers = append(readers, bytes.NewReader(p))
	}
	return io.NopCloser(io.MultiReader(readers...))
}

// hung is a body that gives nothing more until its request is cancelled.
type hung struct{ ctx context.Context }

func (h hung) Read([]byte) (int, error) {
	<-h.ctx.Done()
	return 0, h.ctx.Err()
}

// bucket is the agent's way to the bucket.
func (a *agent) bucket(ctx context.Context, m cache.Miss) (io.ReadCloser, error) {
	c := a.c
	if c.away != nil {
		if err := c.away(m); err != nil {
			return nil, err
		}
	}
	timer := time.NewTimer(c.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c.mu.Lock()
	c.gets++
	c.got[a.zone+" "+m.Key] += m.N
	c.mu.Unlock()
	o, err := c.store.Get(ctx, m.Key, objectstore.Range{Offset: m.Off, Length: m.N})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.open++
	c.mu.Unlock()
	return &closer{ReadCloser: o.Reader, end: func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.open--
	}}, nil
}

// put stores objects.
func (c *cluster) put(keys ...string) {
	c.t.Helper()
	for _, key := range keys {
		if _, err := c.store.Put(context.Background(), key, objectstore.NewBody(content(key)), objectstore.IfAbsent()); err != nil {
			c.t.Fatal(err)
		}
	}
}

// total answers GETs and bytes so far, and forgets them.
func (c *cluster) total() (gets int, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.got {
		bytes += n
	}
	gets = c.gets
	c.gets, c.got = 0, map[string]int64{}
	return gets, bytes
}

// calls answers the calls of peers so far, and forgets them.
func (c *cluster) calls() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	asked := c.asked
	c.asked = nil
	return asked
}

// read reads through the agent's cache and compares.
func (a *agent) read(key string, off, n int64, class cache.Class) {
	a.c.t.Helper()
	parts, err := a.cache.Read(context.Background(), key, objectBytes, off, n, class)
	if err != nil {
		a.c.t.Errorf("%s reads %s %d+%d: %v", a.name, key, off, n, err)
		return
	}
	if !bytes.Equal(bytes.Join(parts, nil), content(key)[off:off+n]) {
		a.c.t.Errorf("%s reads %s %d+%d: wrong bytes", a.name, key, off, n)
	}
}

// bubble runs a test in virtual time, in which nothing is slow but what is made so.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// took measures virtual time.
func took(f func()) time.Duration {
	begun := time.Now()
	f()
	return time.Since(begun)
}

func counted(t testing.TB, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}
