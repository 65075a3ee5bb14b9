package wire

import (
	"context"
	"sync"
)

// budget bounds the memory of requests in flight over all connections. A connection that finds it used up is not read until
// there is room: its client's TCP window fills, and the client waits.
//
// Frames grow while they arrive, so a connection may have to wait for more while it holds some, and when all do, nobody
// would ever finish. Therefore one charge at a time may overdraw the limit to complete its frame, and keeps that right until
// it is released: what is held is at most the limit plus one request.
//
// Two queues, first come first served: growing (charges that hold something) goes before fresh. Each has at most one entry
// per connection.
//
// Beside it stands a reserve, in which nobody waits and nothing is overdrawn: small requests other than Produce take from it what fits, so
// that heartbeats and fetches go on while all else is held by producers whose records cannot be stored.
type budget struct {
	limit   int64
	reserve bool

	mu      sync.Mutex // guards all below
	used    int64
	over    *charge // the one that may overdraw
	growing []*claim
	fresh   []*claim
}

// charge is what one request holds. It belongs to the goroutine that has the request.
type charge struct {
	b    *budget // another one only while nothing is held
	held int64   // guarded by b.mu
}

// claim is a charge that waits for n bytes more.
type claim struct {
	c       *charge
	n       int64
	granted chan struct{}
	gone    bool // guarded by budget.mu: no longer waits
}

// newCharge makes a charge that holds nothing yet.
func (b *budget) newCharge() *charge { return &charge{b: b} }

// tryGrow takes n bytes more if that needs no wait. A charge that holds nothing does not overtake those that wait.
func (c *charge) tryGrow(n int64) bool {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	return n == 0 || c.b.tryTake(c, n)
}

// grow takes n bytes more, waiting for them until ctx ends, and answers ctx's error if it ended first.
func (c *charge) grow(ctx context.Context, n int64) error {
	b := c.b
	b.mu.Lock()
	if b.tryTake(c, n) {
		b.mu.Unlock()
		return nil
	}
	q := &claim{c: c, n: n, granted: make(chan struct{})}
	if c.held > 0 {
		b.growing = append(b.growing, q)
	} else {
		b.fresh = append(b.fresh, q)
	}
	b.mu.Unlock()
	select {
	case <-q.granted:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-q.granted: // it came at the same moment
		return nil
	default:
	}
	q.gone = true
	b.serve()
	return ctx.Err()
}

// tryTake is take for a charge that does not wait yet; b.mu is held.
func (b *budget) tryTake(c *charge, n int64) bool {
	return (c.held > 0 || len(b.fresh) == 0 && len(b.growing) == 0) && b.take(c, n)
}

// take gives n bytes to c if they fit or if c may overdraw; b.mu is held.
func (b *budget) take(c *charge, n int64) bool {
	if b.used+n > b.limit {
		if b.reserve || c.held == 0 || b.over != nil && b.over != c {
			return false
		}
		b.over = c
	}
	b.used += n
	c.held += n
	return true
}

// moveTo gives everything back and takes from other from now on; it answers what is to be taken there for what was held.
func (c *charge) moveTo(other *budget) (held int64) {
	held = c.held // which only its owner changes while it does not wait
	c.release()
	c.b = other
	return held
}

// overdrawn tells whether c is the one that has overdrawn.
func (c *charge) overdrawn() bool {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	return c.b.over == c
}

// holds tells whether c holds anything.
func (c *charge) holds() bool {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	return c.held > 0
}

// release gives everything back; it may be called twice.
func (c *charge) release() {
	b := c.b
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= c.held
	c.held = 0
	if b.over == c {
		b.over = nil
	}
	b.serve()
}

// serve grants waiting claims in order while they fit; b.mu is held. A fresh claim waits behind every growing one.
func (b *budget) serve() {
	b.growing = b.grantFrom(b.growing)
	if len(b.growing) == 0 {
		b.fresh = b.grantFrom(b.fresh)
	}
}

func (b *budget) grantFrom(queue []*claim) []*claim {
	for len(queue) > 0 {
		q := queue[0]
		if !q.gone {
			if !b.take(q.c, q.n) {
				return queue
			}
			close(q.granted)
		}
		queue[0] = nil
		queue = queue[1:]
	}
	return nil
}

// wanted tells whether somebody waits.
func (b *budget) wanted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.growing) > 0 || len(b.fresh) > 0
}

// inUse answers the bytes that are held.
func (b *budget) inUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}
