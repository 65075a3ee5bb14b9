package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// gates bound the GETs under way for readers of this agent, by class.
type gates struct {
	slots [classes]chan struct{}
	pace  *pace // of back-fill
}

func newGates(cfg Config) gates {
	return gates{
		slots: [classes]chan struct{}{Tail: make(chan struct{}, cfg.TailGets), Backfill: make(chan struct{}, cfg.BackfillGets)},
		pace:  &pace{rate: cfg.BackfillBytesPerSecond},
	}
}

// enter waits for the right to GET n bytes and answers how to give it back.
func (g *gates) enter(r *run, n int64) (leave func(), err error) {
	leave, class, err := g.slot(r)
	if err != nil || class == Tail {
		return leave, err
	}
	if err := g.pace.wait(r.ctx, n, r.urgent); err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

// slot waits for a slot of the run's class. A back-fill run that becomes urgent while it waits goes over to the tail's gate. A
// run that another cache waits for needs no slot: all of them may be held by flights that wait for that very cache.
func (g *gates) slot(r *run) (leave func(), class Class, err error) {
	for {
		class = r.class()
		if closed(r.origin) {
			return func() {}, class, nil
		}
		urgent := r.urgent
		if class == Tail {
			urgent = nil
		}
		select {
		case g.slots[class] <- struct{}{}:
			return func() { <-g.slots[class] }, class, nil
		case <-urgent:
		case <-r.origin:
		case <-r.ctx.Done():
			return nil, class, r.ctx.Err()
		}
	}
}

// fetch completes the calls of a run: from disk what is there, the rest with one GET for each stretch of adjacent chunks.
func (c *Cache) fetch(r *run) {
	missing := r.calls
	if c.disk != nil {
		missing = c.fetchStored(r)
	}
	for len(missing) > 0 {
		n := 1
		for n < len(missing) && missing[n].id.index == missing[n-1].id.index+1 {
			n++
		}
		c.metrics.misses[r.class()].Add(float64(n))
		if done, err := c.get(r, missing[:n]); err != nil {
			c.fail(missing[done:], err)
			return
		}
		missing = missing[n:]
	}
}

// fetchStored completes what the disk has and answers the rest.
func (c *Cache) fetchStored(r *run) []*call {
	missing := make([]*call, 0, len(r.calls))
	found := c.disk.read(r.ctx, r.calls)
	for i, call := range r.calls {
		if found == nil || found[i] == nil {
			missing = append(missing, call)
			continue
		}
		c.metrics.hits[tierDisk][r.class()].Inc()
		c.deliver(call, found[i])
	}
	return missing
}

// get completes calls of adjacent chunks with one GET, each as soon as its bytes are there, and answers how many.
func (c *Cache) get(r *run, calls []*call) (done int, err error) {
	key, off := calls[0].id.key, calls[0].id.index*c.cfg.ChunkBytes
	var n int64
	for _, call := range calls {
		n += call.length
	}
	leave, err := c.gets.enter(r, n)
	if err != nil {
		return 0, err
	}
	defer leave()
	class := r.class()
	c.metrics.inFlight.Inc()
	defer c.metrics.inFlight.Dec()
	c.metrics.gets[class].Inc()
	done, err = c.receive(r.ctx, calls, Miss{Key: key, Size: r.size, Off: off, N: n, Class: class, Origin: r.origin})
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			c.metrics.getErrors[class].Inc()
		}
		return done, fmt.Errorf("get %s, bytes %d to %d: %w", key, off, off+n, err)
	}
	c.metrics.getBytes[class].Add(float64(n))
	return done, nil
}

// receive reads the bytes of calls straight into the arrays that the chunks keep.
func (c *Cache) receive(ctx context.Context, calls []*call, m Miss) (done int, err error) {
	body, err := c.source(ctx, m)
	if err != nil {
		return 0, err
	}
	defer func() { _ = body.Close() }() // everything that counts was read, or an error is on its way
	for i, call := range calls {
		data := make([]byte, call.length)
		if _, err := io.ReadFull(body, data); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = fmt.Errorf("ended early: %w: %w", ErrShort, err)
			}
			return i, err
		}
		if i == len(calls)-1 {
			if err := ended(body); err != nil {
				return i, err
			}
		}
		c.deliver(call, newChunk(call.id, data))
	}
	return len(calls), nil
}

// ended checks that nothing follows: a source that ignored the range has answered other bytes than those asked for.
func ended(body io.Reader) error {
	var one [1]byte
	switch n, err := io.ReadFull(body, one[:]); {
	case n > 0:
		return fmt.Errorf("more bytes than asked for: %w", ErrShort)
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}
