// Package cache keeps aligned chunks of immutable objects near: what was just written or read in memory, what is used
// often in ristretto, what fell out of memory on disk. One miss is one GET, however many ask.
//
//	Read ──► window (strong FIFO) ──► ristretto ──► single-flight ──► disk (bbolt) ──► Source (ranged GET)
//	           ▲ Put: just written      ▲ fell out of the window        ▲ likewise
//	           ▲ a chunk just read
//
// Tail reads (the end of the log) and back-fill reads (old data) are kept apart: back-fill has GETs, a pace and a small
// window of its own; what it reads is never put where it could push out the tail, neither in memory nor on disk.
//
// The source may itself ask the cache of another agent. What is read on behalf of one (ReadOrigin) never waits for another.
//
// The package must never be asked for truth: it may forget anything at any moment, except that Put is served for as
// long as the window has room. It must never hold objects that can change, never answer bytes other than the source's
// (checksums of the content are its consumer's business), never know the agent, and never fail a read because its disk did.
package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// The errors of a Cache. What a Source answers is passed on wrapped, with the object's name.
var (
	// ErrRange: the bytes asked for are not inside an object of the size given.
	ErrRange = errors.New("range outside of object")
	// ErrShort: the source answered fewer or more bytes than were asked for: the object is not what the caller thinks.
	ErrShort = errors.New("object has other bytes than expected")
	// ErrClosed: the cache is closed.
	ErrClosed = errors.New("cache closed")
	// ErrInUse: another process has the folder of the disk tier.
	ErrInUse = errors.New("cache folder is in use by another process")
)

// Source opens what was missed; exactly those bytes, or an error. It retries what is worth a retry and ends when ctx does.
// The cache closes the reader.
type Source func(ctx context.Context, m Miss) (io.ReadCloser, error)

// Miss is what a Source is asked for: N bytes of an object from Off on.
type Miss struct {
	Key    string
	Size   int64 // of the whole object, in bytes, as the first reader believes
	Off, N int64 // bytes; whole chunks of one stretch (Config.MaxGetBytes), the object's last one may be shorter
	Class  Class // of the most urgent reader
	// Origin is closed once the cache of another agent waits for these bytes (ReadOrigin): from then on the source may no
	// longer wait for any other cache, or two could wait for each other. Nil: never.
	Origin <-chan struct{}
}

// Class tells why bytes are read.
type Class uint8

// The classes of reads.
const (
	// Tail reads follow the end of the log. They come first.
	Tail Class = iota
	// Backfill reads old data: paced, few at a time, and not at the tail's expense.
	Backfill
	classes
)

// Cache is safe for concurrent use.
//
// admission serialises everything that puts chunks into a tier or takes them out, so that a chunk on its way from one tier
// to the next is not missed by Drop; it guards closed. Lock order: admission or flights.mu, then window.mu; never
// admission and flights.mu together. All other fields are set by Open and don't change.
type Cache struct {
	cfg     Config
	source  Source
	metrics *metrics
	ctx     context.Context // ends when the cache closes; GETs run under it, not under a reader's
	cancel  context.CancelFunc

	windows [classes]*window
	memory  *memory
	disk    *disk // nil without a disk tier
	flights *flights
	gets    gates

	admission sync.Mutex
	closed    bool
}

// Open starts a cache of what source reads. It fails on a bad configuration, on a folder it can't use and with ErrInUse; a
// damaged disk tier is deleted and begun anew. registerer may be nil.
func Open(cfg Config, source Source, log *slog.Logger, registerer prometheus.Registerer) (*Cache, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m := newMetrics()
	c := &Cache{cfg: cfg, source: source, metrics: m, flights: newFlights(), gets: newGates(cfg)}
	c.windows[Tail] = newWindow(cfg.MemoryBytes / 4)
	c.windows[Backfill] = newWindow(cfg.MemoryBytes / 8)
	sixteenth := cfg.MemoryBytes / 16
	rest := cfg.MemoryBytes - cfg.MemoryBytes/4 - cfg.MemoryBytes/8 - sixteenth
	if cfg.Dir != "" {
		rest -= sixteenth
	}
	var err error
	if c.memory, err = newMemory(rest, sixteenth, cfg.ChunkBytes, m.evictions[tierMemory].Inc); err != nil {
		return nil, err
	}
	if cfg.Dir != "" {
		if c.disk, err = openDisk(cfg, sixteenth, log, m); err != nil {
			c.memory.close()
			return nil, err
		}
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if err := m.register(registerer, c); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("cache: register metrics: %w", err)
	}
	return c, nil
}

// Read answers the n bytes of object key from off on, as slices in order that must not be changed and stay valid for as
// long as they are referred to. size is that of the whole object, in bytes. It fetches what is missing, adjacent chunks with
// one GET; the caller bounds n by its own byte budget. Errors: ErrRange, ErrShort, ErrClosed, ctx's, the source's; each
// with the object's name; none is remembered.
func (c *Cache) Read(ctx context.Context, key string, size, off, n int64, class Class) ([][]byte, error) {
	return c.read(ctx, key, size, off, n, reader{class: class})
}

// ReadOrigin is Read on behalf of another agent's cache: what is missing comes from the origin, whatever the source would
// ask otherwise, even if a flight for a reader of this agent is under way (Miss.Origin). It waits for no slot among the
// GETs of this agent's readers, whose flights may be waiting for that other agent: the caller bounds how many run at once.
func (c *Cache) ReadOrigin(ctx context.Context, key string, size, off, n int64, class Class) ([][]byte, error) {
	return c.read(ctx, key, size, off, n, reader{class: class, origin: true})
}

// reader says for whom bytes are read.
type reader struct {
	class  Class
	origin bool // for another cache
}

func (c *Cache) read(ctx context.Context, key string, size, off, n int64, by reader) ([][]byte, error) {
	class := by.class
	if off < 0 || n < 0 || off > size || n > size-off || class >= classes {
		return nil, fmt.Errorf("cache: read %s: %d bytes at %d of %d: %w", key, n, off, size, ErrRange)
	}
	if n == 0 {
		return nil, nil
	}
	first, last := off/c.cfg.ChunkBytes, (off+n-1)/c.cfg.ChunkBytes
	var few [8]*chunk // keeps a usual hit from allocating more than its answer
	chunks := few[:0]
	missing := false
	for i := first; i <= last; i++ {
		found := c.lookup(chunkID{key, i}, chunkLength(size, i, c.cfg.ChunkBytes), class)
		chunks = append(chunks, found)
		missing = missing || found == nil
	}
	if missing {
		if err := c.fill(ctx, span{key, size, first}, chunks, by); err != nil {
			return nil, fmt.Errorf("cache: read %s: %w", key, err)
		}
	}
	c.metrics.readBytes[class].Add(float64(n))
	parts := make([][]byte, 0, len(chunks))
	for i, chunk := range chunks {
		begin := (first + int64(i)) * c.cfg.ChunkBytes
		parts = chunk.appendTo(parts, max(off-begin, 0), min(off+n-begin, chunk.size))
	}
	return parts, nil
}

// lookup answers a chunk from memory, or nil. A chunk of another length is a miss: then the source decides who is wrong.
func (c *Cache) lookup(id chunkID, length int64, class Class) *chunk {
	if found := c.inWindow(id, length); found != nil {
		if class == Tail {
			c.memory.touch(id)
		}
		c.metrics.hits[tierWindow][class].Inc()
		return found
	}
	if found := c.memory.get(id); found != nil && found.size == length {
		c.metrics.hits[tierMemory][class].Inc()
		return found
	}
	return nil
}

// inWindow answers a chunk from either window, or nil.
func (c *Cache) inWindow(id chunkID, length int64) *chunk {
	for _, w := range c.windows {
		if found := w.get(id); found != nil && found.size == length {
			return found
		}
	}
	return nil
}

// Put takes in an object that was just stored, by reference: the parts must never change, and the arrays behind them
// should hold little else, since all of them stays in memory. Reads of it need no GET until a quarter of the memory budget
// was written or read after it. An object larger than that quarter goes to the lower tiers at once.
func (c *Cache) Put(key string, parts [][]byte) {
	u := newUnit(split(key, parts, c.cfg.ChunkBytes)...)
	c.admission.Lock()
	defer c.admission.Unlock()
	if !c.closed && len(u.chunks) > 0 {
		c.admit(u, Tail)
	}
}

// admit puts a unit into its class's window, moving on what is in its way. The oldest unit leaves the window after the
// lower tiers were offered its chunks. Under admission.
func (c *Cache) admit(u *unit, class Class) {
	w := c.windows[class]
	if u.bytes > w.limit {
		c.moveOn(u, class)
		return
	}
	for old := w.oldest(u.bytes); old != nil; old = w.oldest(u.bytes) {
		c.moveOn(old, class)
		w.removeOldest()
		c.metrics.evictions[tierWindow].Add(float64(len(old.chunks)))
	}
	w.add(u)
}

// moveOn offers what leaves a window to ristretto and the disk. Back-fill is not offered: it would push out the tail.
func (c *Cache) moveOn(u *unit, class Class) {
	if class == Backfill {
		return
	}
	for _, part := range u.chunks {
		whole := part.compact()
		c.memory.add(whole)
		if c.disk != nil && !whole.stored {
			c.disk.offer(whole)
		}
	}
}

// Drop forgets an object of size bytes: a deleted one, or one whose bytes proved to be damaged, so that the next Read asks
// the source. Reads that began before may still be answered from what they found.
func (c *Cache) Drop(key string, size int64) {
	last := (size - 1) / c.cfg.ChunkBytes
	if size <= 0 {
		return
	}
	c.flights.forget(key, last)
	if stored := c.dropHeld(key, last); stored != nil {
		stored()
	}
}

// dropHeld forgets what is in memory and queues the rest; what it answers waits for the disk, outside of the lock.
func (c *Cache) dropHeld(key string, last int64) (wait func()) {
	c.admission.Lock()
	defer c.admission.Unlock()
	if c.closed {
		return nil
	}
	c.memory.settle()
	for i := int64(0); i <= last; i++ {
		id := chunkID{key, i}
		for _, w := range c.windows {
			w.drop(id)
		}
		c.memory.drop(id)
	}
	if c.disk == nil {
		return nil
	}
	return c.disk.drop(key, last)
}

// Close ends GETs under way, whose readers get ErrClosed, and waits for the cache's goroutines. It may be called again.
func (c *Cache) Close() error {
	c.flights.close(c.cancel)
	c.admission.Lock()
	defer c.admission.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	c.metrics.unregister()
	c.memory.close()
	if c.disk != nil {
		return c.disk.close()
	}
	return nil
}
