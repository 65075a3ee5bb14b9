package cache

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// span says what a slice of chunks is: those of object key, size bytes long, from chunk first on.
type span struct {
	key   string
	size  int64
	first int64
}

// call is one missing chunk that is being fetched; whoever else misses it waits for the same call. chunk and err are
// written once, before done is closed.
type call struct {
	id     chunkID
	length int64 // bytes the chunk must have
	run    *run
	chunk  *chunk
	err    error
	done   chan struct{}
}

// run is a goroutine that fetches adjacent chunks of one object, all in the same aligned stretch of MaxGetBytes.
//
// waiters and the closing of urgent and origin are guarded by flights.mu; stale is set once, by Drop; the rest does not
// change.
type run struct {
	ctx     context.Context
	cancel  context.CancelFunc
	calls   []*call
	size    int64         // of the object, as its first reader believes
	waiters int           // reads that wait for calls, once per call; at 0 the run is given up
	urgent  chan struct{} // closed when a tail read waits
	origin  chan struct{} // closed when a read for another cache waits
	stale   atomic.Bool   // what it brings must not be kept
}

// class tells how the run is treated now: a back-fill run that a tail read waits for becomes a tail run.
func (r *run) class() Class {
	if closed(r.urgent) {
		return Tail
	}
	return Backfill
}

// closed reports whether a channel that nothing is ever sent to is closed.
func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// flights are the chunks being fetched. Its bound is that of the readers: each call has a reader that waits.
//
// mu guards calls, closed, and what run says.
type flights struct {
	mu      sync.Mutex
	calls   map[chunkID]*call
	closed  bool
	running sync.WaitGroup // one per run
}

func newFlights() *flights { return &flights{calls: map[chunkID]*call{}} }

// fill completes the chunks that are nil, waiting for flights of others where there are any.
func (c *Cache) fill(ctx context.Context, s span, chunks []*chunk, by reader) error {
	calls, err := c.join(s, chunks, by)
	if err != nil {
		return err
	}
	defer c.flights.leave(calls)
	for i, call := range calls {
		if call == nil {
			continue
		}
		select {
		case <-call.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if call.err != nil {
			return call.err
		}
		if want := chunkLength(s.size, call.id.index, c.cfg.ChunkBytes); call.length != want {
			return fmt.Errorf("chunk %d has %d bytes for one reader and %d for another: %w", call.id.index, call.length, want, ErrShort)
		}
		chunks[i] = call.chunk
	}
	return nil
}

// join answers a call for every chunk that is nil, its own or another reader's, and starts the runs of its own ones. A
// flight that ended since the caller looked has left its chunk in a window: it is looked for again under the lock, so
// that no chunk is fetched twice. The caller leaves the calls.
func (c *Cache) join(s span, chunks []*chunk, by reader) ([]*call, error) {
	f := c.flights
	calls := make([]*call, len(chunks))
	var runs []*run
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, ErrClosed
	}
	var open *run // the run that ends at the chunk before
	stretch := c.cfg.MaxGetBytes / c.cfg.ChunkBytes
	for i := range chunks {
		id := chunkID{s.key, s.first + int64(i)}
		length := chunkLength(s.size, id.index, c.cfg.ChunkBytes)
		if chunks[i] != nil {
			open = nil
			continue
		}
		if other := f.calls[id]; other != nil {
			other.run.wait(by)
			calls[i], open = other, nil
			c.metrics.joined[by.class].Inc()
			continue
		}
		if found := c.inWindow(id, length); found != nil {
			chunks[i], open = found, nil
			c.metrics.hits[tierWindow][by.class].Inc()
			continue
		}
		if open == nil || id.index%stretch == 0 {
			open = c.newRun(s.size)
			runs = append(runs, open)
		}
		calls[i] = &call{id: id, length: length, run: open, done: make(chan struct{})}
		open.calls = append(open.calls, calls[i])
		open.wait(by)
		f.calls[id] = calls[i]
	}
	for _, r := range runs {
		f.running.Add(1)
		go func() {
			defer f.running.Done()
			defer r.cancel()
			c.fetch(r)
		}()
	}
	return calls, nil
}

func (c *Cache) newRun(size int64) *run {
	r := &run{size: size, urgent: make(chan struct{}), origin: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(c.ctx)
	return r
}

// wait counts a reader in; a tail reader makes the run a tail run, and one for another cache sends it to the origin. Under
// flights.mu.
func (r *run) wait(by reader) {
	r.waiters++
	if by.class == Tail && !closed(r.urgent) {
		close(r.urgent)
	}
	if by.origin && !closed(r.origin) {
		close(r.origin)
	}
}

// leave takes a reader out. A run that nobody waits for is cancelled, and its calls are forgotten at once, so that the next
// reader begins a new one.
func (f *flights) leave(calls []*call) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, left := range calls {
		if left == nil {
			continue
		}
		if left.run.waiters--; left.run.waiters > 0 {
			continue
		}
		left.run.cancel()
		for _, given := range left.run.calls {
			f.remove(given)
		}
	}
}

// remove forgets a call, unless another one has its place. Under mu.
func (f *flights) remove(c *call) {
	if f.calls[c.id] == c {
		delete(f.calls, c.id)
	}
}

// forget makes the flights of an object leave no trace: later readers begin new ones.
func (f *flights) forget(key string, last int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := int64(0); i <= last; i++ {
		if c := f.calls[chunkID{key, i}]; c != nil {
			c.run.stale.Store(true)
			f.remove(c)
		}
	}
}

// close refuses new flights, ends those under way and waits for them.
func (f *flights) close(cancel context.CancelFunc) {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	cancel()
	f.running.Wait()
}

// deliver ends a call with a chunk, which goes into the window first: between window and flights no reader can miss it.
func (c *Cache) deliver(call *call, found *chunk) {
	c.admission.Lock()
	if !c.closed && !call.run.stale.Load() {
		class := call.run.class()
		if w := c.windows[class]; w.get(call.id) == nil {
			c.admit(newUnit(found), class)
		}
	}
	c.admission.Unlock()
	call.chunk = found
	c.end(call)
}

// fail ends calls with an error, which is not kept.
func (c *Cache) fail(calls []*call, err error) {
	if c.ctx.Err() != nil {
		err = ErrClosed
	}
	for _, call := range calls {
		call.err = err
		c.end(call)
	}
}

func (c *Cache) end(call *call) {
	c.flights.mu.Lock()
	c.flights.remove(call)
	c.flights.mu.Unlock()
	close(call.done)
}
