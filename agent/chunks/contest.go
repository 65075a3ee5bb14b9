package chunks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/leat-stream/leat/cache"
	"github.com/leat-stream/leat/objectstore"
)

// contest is one read that a peer is asked for, and the bucket too when the peer fails, gives no byte for too long, or may
// not be waited for any more. The first complete answer of the peer or the first opened object of the bucket wins; the other
// is cancelled.
//
// The goroutine in decide owns the fields that newContest does not set; those that it sets do not change, but that answered
// becomes nil. Neither answered nor opened has a buffer: once over is closed, whoever still has something to hand in
// disposes of it.
type contest struct {
	r    *Reader
	miss cache.Miss
	peer string
	from from // writer or owner

	peerCtx, bucketCtx       context.Context
	cancelPeer, cancelBucket context.CancelFunc
	running                  sync.WaitGroup

	moved    chan struct{} // has one item after the peer gave bytes
	answered chan answer   // nil once the peer has failed
	opened   chan opening  // nil before the bucket is asked and once it has failed
	over     chan struct{} // closed when it is decided

	hedged bool   // the bucket was asked
	reason reason // why
}

// answer is what came from the peer: all of it, or an error.
type answer struct {
	pieces *pieces
	err    error
}

// opening is what came from the bucket.
type opening struct {
	body io.ReadCloser
	err  error
}

func newContest(ctx context.Context, r *Reader, m cache.Miss, peer string, from from) *contest {
	c := &contest{r: r, miss: m, peer: peer, from: from, moved: make(chan struct{}, 1), answered: make(chan answer), over: make(chan struct{})}
	c.peerCtx, c.cancelPeer = context.WithTimeout(ctx, r.cfg.PeerTimeout)
	c.bucketCtx, c.cancelBucket = context.WithCancel(ctx)
	return c
}

// decide answers the winner's bytes, or the bucket's error if both failed, or ctx's.
func (c *contest) decide(ctx context.Context) (io.ReadCloser, error) {
	body, err := c.follow(ctx)
	close(c.over)
	if err != nil {
		c.end()
		return nil, err
	}
	return &closer{ReadCloser: body, end: c.end}, nil
}

// end stops both and waits for them.
func (c *contest) end() {
	c.cancelPeer()
	c.cancelBucket()
	c.running.Wait()
}

func (c *contest) follow(ctx context.Context) (io.ReadCloser, error) {
	patience := c.r.patience(c.miss.Class)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	answered := c.answered
	c.running.Go(func() { c.askPeer(answered) })
	origin := c.miss.Origin
	var away error // of the bucket, while the peer may still answer
	for {
		select {
		case <-c.moved:
			timer.Reset(patience)
		case <-timer.C:
			if away != nil {
				return nil, away
			}
			c.hedge(slow)
		case <-origin:
			origin = nil
			c.hedge(wanted)
		case a := <-c.answered:
			if a.err == nil {
				return c.peerWon(a.pieces), nil
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			c.answered = nil
			c.peerFailed(a.err)
			if away != nil {
				return nil, away
			}
		case o := <-c.opened:
			if o.err == nil {
				return c.bucketWon(o.body), nil
			}
			if c.answered == nil || ctx.Err() != nil || errors.Is(o.err, objectstore.ErrNotFound) {
				return nil, o.err
			}
			away, c.opened = o.err, nil // the peer may have it: it gets another while
			timer.Reset(patience)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// hedge asks the bucket, once.
func (c *contest) hedge(why reason) {
	if c.hedged {
		return
	}
	c.hedged, c.reason = true, why
	opened := make(chan opening)
	c.opened = opened
	c.r.metrics.fallbacks[why].Inc()
	c.running.Go(func() { c.askBucket(opened) })
}

func (c *contest) peerWon(p *pieces) io.ReadCloser {
	c.cancelBucket()
	c.r.avoided.answered(c.peer)
	if c.hedged {
		c.r.metrics.hedges[fromOwner].Inc()
	}
	c.r.metrics.reads[c.from].Inc()
	c.r.metrics.bytes[c.from].Add(float64(c.miss.N))
	return p
}

// peerFailed notes the failure and asks the bucket. A peer that is only busy, or that did not find the object, has not failed
// as a peer; whether the object is gone, the bucket says.
func (c *contest) peerFailed(err error) {
	why := failed
	switch {
	case errors.Is(err, ErrBusy):
		why = busy
	case errors.Is(err, objectstore.ErrNotFound):
		why = missing
	case errors.Is(err, ErrLength):
		why = length
		fallthrough
	default:
		c.r.avoided.failed(c.peer)
	}
	c.r.deps.Log.Debug("a peer did not give a chunk", "peer", c.peer, "key", c.miss.Key, "error", err)
	c.hedge(why)
}

func (c *contest) bucketWon(body io.ReadCloser) io.ReadCloser {
	c.cancelPeer()
	if c.answered != nil {
		c.r.metrics.hedges[fromBucket].Inc()
		if c.reason == slow {
			c.r.avoided.slow(c.peer)
		}
	}
	return body
}

// askPeer gets the whole answer of the peer. It is taken as a whole, or not at all.
func (c *contest) askPeer(answered chan<- answer) {
	p, err := c.fromPeer()
	select {
	case answered <- answer{p, err}:
	case <-c.over:
	}
}

func (c *contest) fromPeer() (*pieces, error) {
	m := c.miss
	body, err := c.r.deps.Peer.Chunk(c.peerCtx, c.peer, m.Key, m.Size, m.Off, m.N, m.Class)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }() // everything that counts was read
	p, err := receive(watched{body, c.moved}, m.N)
	if err != nil {
		return nil, fmt.Errorf("%s, bytes %d to %d: %w", m.Key, m.Off, m.Off+m.N, err)
	}
	return p, nil
}

func (c *contest) askBucket(opened chan<- opening) {
	body, err := c.r.bucket(c.bucketCtx, c.miss)
	select {
	case opened <- opening{body, err}:
	case <-c.over:
		if err == nil {
			_ = body.Close() // nobody reads it
		}
	}
}
