package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/wire/shape"
)

// answer finishes what is in flight, in request order, writes the answers, and returns when nothing is left. On a dead
// connection it still finishes everything, so that every request that has begun is finished exactly once.
func (c *conn) answer() {
	for {
		c.mu.Lock()
		if len(c.flight.queue) == 0 {
			c.flight.queue, c.flight.answering = nil, false
			c.mu.Unlock()
			return
		}
		e := c.flight.queue[0]
		c.mu.Unlock()

		resp, ok := c.finish(e)
		e.charge.release()
		if ok {
			c.s.metrics.count(e.header, time.Since(e.begun).Seconds(), resp)
			if c.ctx.Err() == nil {
				c.deliver(e, resp)
			}
		}
		c.held.Release(0, 0) // if it was not delivered

		c.mu.Lock()
		c.flight.queue[0] = nil
		c.flight.queue = c.flight.queue[1:]
		c.flight.active = time.Now()
		c.flight.served = c.flight.served || kmsg.Key(e.header.Key) != kmsg.ApiVersions
		if resp.Throttle > 0 {
			c.flight.muted = c.flight.active.Add(resp.Throttle)
		}
		if len(c.flight.queue) == 0 && c.flight.due(c.flight.active) {
			c.flight.rouse(c.nc)
		}
		c.mu.Unlock()
		select {
		case c.wake <- struct{}{}:
		default: // the reader has not looked since the last one, and will see this one too
		}
	}
}

// finish asks the handler for the answer; not ok if it panicked, and then the connection is dead.
func (c *conn) finish(e *entry) (resp Response, ok bool) {
	defer func() {
		if v := recover(); v != nil {
			c.panicked(e.header, v)
			c.kill(reasonPanic, errPanic)
		}
	}()
	resp = e.finish()
	return resp, true
}

// deliver does what the answer says: write, write nothing, close.
func (c *conn) deliver(e *entry, resp Response) {
	switch {
	case resp.Close:
		c.kill(reasonHandler, errors.New("closed by the handler"))
		return
	case resp.NoReply:
		return
	case resp.Body == nil && resp.Message == nil:
		c.s.log.Error("handler gave no answer", "api", shape.Name(e.header.Key), "version", e.header.Version)
		c.kill(reasonPanic, errPanic)
		return
	}
	scratch := scratches.Get().(*[]byte)
	defer func() {
		if cap(*scratch) <= maxScratch {
			scratches.Put(scratch)
		}
	}()
	bufs, size, err := c.encode(e.header, resp, scratch)
	if err != nil {
		if err != errPanic { // a panic is logged where it happened, with its stack
			c.s.log.Error("answer can't be sent", "api", shape.Name(e.header.Key), "version", e.header.Version, "error", err)
		}
		c.kill(reasonPanic, err)
		return
	}
	if size >= smallAnswer && int64(size) > c.held.Held() {
		c.held.Hold(int64(size))
	}
	begun := time.Now()
	switch err := c.send(bufs, begun); {
	case err == nil:
		c.held.Release(int64(size), time.Since(begun))
	case errors.Is(err, errSlowReader):
		c.kill(reasonSlowReader, err)
	default:
		c.kill(reasonWrite, err)
	}
}

// errSlowReader: others wait for the memory of an answer that its client takes too long to read.
var errSlowReader = errors.New("answer was not read in time")

const reasonSlowReader reason = "slow_reader"

// smallAnswer is the size in bytes below which an answer is not counted, unless it was taken memory for; a connection has one.
const smallAnswer = 16 << 10

// Answers are encoded into buffers that are used again, which is safe since send has written them when it returns. Large ones are
// left to the garbage collector, that the pool does not keep what one large answer needed.
const maxScratch = 256 << 10

var scratches = sync.Pool{New: func() any { return new([]byte) }}

// encode makes the bytes of an answer; scratch backs them.
func (c *conn) encode(h Header, resp Response, scratch *[]byte) (bufs net.Buffers, size int, err error) {
	defer func() {
		if v := recover(); v != nil {
			c.panicked(h, v)
			err = errPanic
		}
	}()
	b := (*scratch)[:0]
	if resp.Body != nil {
		b = appendResponseHeader(b, h)
		size = len(b)
		bufs = append(bufs, b)
		for _, piece := range resp.Body {
			size += len(piece)
			bufs = append(bufs, piece)
		}
	} else {
		m := resp.Message
		if m.Key() != h.Key {
			return nil, 0, fmt.Errorf("%w: answer to key %d is of key %d", errPanic, h.Key, m.Key())
		}
		m.SetVersion(h.Version)
		if t, ok := m.(kmsg.SetThrottleResponse); ok && resp.Throttle > 0 {
			t.SetThrottle(int32(min(resp.Throttle.Milliseconds(), math.MaxInt32)))
		}
		if room := recordBytes(m); room > cap(b) {
			b = make([]byte, 0, room+room/64+4096)
		}
		b = m.AppendTo(appendResponseHeader(b, h))
		size = len(b)
		bufs = net.Buffers{b}
	}
	*scratch = b
	if size-sizeBytes > math.MaxInt32 {
		return nil, 0, fmt.Errorf("%w: answer of %d bytes", errPanic, size)
	}
	binary.BigEndian.PutUint32(bufs[0], uint32(size-sizeBytes))
	return bufs, size, nil
}

// recordBytes is how much room the records of a Fetch answer need, so that encoding them copies once.
func recordBytes(m kmsg.Response) (n int) {
	f, ok := m.(*kmsg.FetchResponse)
	if !ok {
		return 0
	}
	for i := range f.Topics {
		for j := range f.Topics[i].Partitions {
			n += 64 + len(f.Topics[i].Partitions[j].RecordBatches)
		}
	}
	return n
}

// send writes all pieces, by one writev per MiB; each MiB gets WriteTimeout, so that a client that does not read can't hold
// an answer for ever, and one that reads slowly gets it, but after WriteTimeout in all only while nobody waits for its memory.
func (c *conn) send(bufs net.Buffers, begun time.Time) error {
	for len(bufs) > 0 {
		var batch net.Buffers
		size := 0
		for len(bufs) > 0 && size < nextDeadline {
			n := min(len(bufs[0]), nextDeadline-size)
			batch = append(batch, bufs[0][:n])
			size += n
			if n == len(bufs[0]) {
				bufs = bufs[1:]
			} else {
				bufs[0] = bufs[0][n:]
			}
		}
		now := time.Now()
		if now.Sub(begun) > c.s.cfg.WriteTimeout && c.held.Held() > 0 && c.s.answers.Wanted() {
			return errSlowReader
		}
		if err := c.nc.SetWriteDeadline(now.Add(c.s.cfg.WriteTimeout)); err != nil {
			return err
		}
		n, err := batch.WriteTo(c.nc)
		c.s.metrics.sent.Add(float64(n))
		if err != nil {
			return err
		}
	}
	return nil
}
