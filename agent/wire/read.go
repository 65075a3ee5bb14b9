package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var (
	errSlow     = errors.New("rest of the frame did not come in time")
	errNoMemory = errors.New("no memory for the rest of the frame in time")
)

// readFrame reads one frame, without its size, into memory of its own that is held by ch. A frame gets room as it arrives:
// at first firstStep bytes, or as much as this client has already sent in one frame (up to mostTrusted), then twice what has
// come. So what a client makes us allocate is in proportion to what it sends, never to what it announces, and one that sends
// large frames does not have each of them copied as it grows. A frame that took longer than FrameTimeout goes on only while nobody waits
// for memory: clients that send large frames slowly can't hold all of it.
func (c *conn) readFrame(ch *charge) ([]byte, error) {
	got, err := c.readPrefix()
	if err != nil {
		return nil, err
	}
	size, err := frameSize(c.r.prefix[:], c.s.cfg.MaxFrame)
	if err != nil {
		return nil, err
	}
	if got, err = chooseBudget(c, ch, size, got); err != nil {
		return nil, err
	}
	begun := time.Now()
	room := min(size, max(firstStep, c.r.trusted))
	if err := c.grow(ch, int64(room)); err != nil {
		return nil, err
	}
	frame := make([]byte, room)
	have := copy(frame, c.r.prefix[sizeBytes:got])
	last := time.Time{} // when the whole frame must be there, once it overdraws the budget
	for {
		for have < len(frame) {
			step := frame[have:min(len(frame), have+nextDeadline)]
			if err := c.readStep(step, last); err != nil {
				return nil, err
			}
			have += len(step)
			if have < size && time.Since(begun) > c.s.cfg.FrameTimeout && ch.b.wanted() {
				return nil, fmt.Errorf("%w: others wait while it comes slowly", errNoMemory)
			}
		}
		if have == size {
			c.r.trusted = min(max(c.r.trusted, size), mostTrusted)
			return frame, nil
		}
		room := min(size, 2*len(frame))
		if err := c.grow(ch, int64(room-len(frame))); err != nil {
			return nil, err
		}
		if last.IsZero() && ch.overdrawn() { // others wait for it: it may not linger
			last = time.Now().Add(c.s.cfg.FrameTimeout)
		}
		frame = append(make([]byte, 0, room), frame...)[:room]
	}
}

// chooseBudget lets a small frame take from the reserve unless it is a Produce, for which it reads on up to the key. It answers how much
// of the prefix is there then.
func chooseBudget(c *conn, ch *charge, size, got int) (int, error) {
	const upToKey = sizeBytes + 2
	if size > smallFrame {
		return got, nil
	}
	if got < upToKey {
		if err := c.readStep(c.r.prefix[got:upToKey], time.Time{}); err != nil {
			return got, err
		}
		got = upToKey
	}
	if int16(binary.BigEndian.Uint16(c.r.prefix[sizeBytes:])) != int16(kmsg.Produce) {
		ch.b = c.s.reserve
	}
	return got, nil
}

// unreadGap is how long a read takes that did not find its bytes there.
const unreadGap = time.Millisecond

// readPrefix waits for a frame to begin, as long as Idle, and reads its size and what has come of the fixed part of the
// header; it answers how many bytes that is, at least sizeBytes. It never reads beyond the frame: a good one is longer.
func (c *conn) readPrefix() (int, error) {
	got, waited := 0, false
	var wait frameWait
	await := func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.flight.await(&wait, c.nc, c.s.cfg.Idle)
	}
	err := await()
	for got < sizeBytes {
		if err != nil {
			return 0, err
		}
		begun := time.Now()
		n, readErr := c.nc.Read(c.r.prefix[got:])
		if got == 0 {
			now := time.Now()
			if waited = waited || now.Sub(begun) >= unreadGap; n > 0 {
				if waited { // nothing lay unread
					c.r.mark = c.s.cfg.mark()
				}
				err = c.setReadDeadline(now.Add(c.s.cfg.FrameTimeout))
			}
		}
		got += n
		switch {
		case got >= sizeBytes:
		case readErr == nil:
		case !errors.Is(readErr, os.ErrDeadlineExceeded):
			return 0, readErr
		case c.isDraining():
			return 0, errDrain
		case got > 0:
			return 0, errSlow
		default:
			err = await()
		}
	}
	return got, nil
}

// readStep fills p within FrameTimeout, and before last if that is set.
func (c *conn) readStep(p []byte, last time.Time) error {
	deadline := time.Now().Add(c.s.cfg.FrameTimeout)
	if !last.IsZero() && last.Before(deadline) {
		deadline = last
	}
	if err := c.setReadDeadline(deadline); err != nil {
		return err
	}
	_, err := io.ReadFull(c.nc, p)
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case c.isDraining():
		return errDrain
	}
	return errSlow
}

// setReadDeadline leaves the deadline alone that drain has set.
func (c *conn) setReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flight.draining {
		return errDrain
	}
	c.flight.waiting = false
	return c.nc.SetReadDeadline(t)
}

func (c *conn) isDraining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flight.draining
}

// grow takes n bytes of the budget. A connection that holds nothing yet waits as long as it takes; one that does gives up
// after FrameTimeout, so that half frames can't hold the budget for ever. What the reserve has no room for moves to the budget, and holds
// nothing until all of it fits there.
func (c *conn) grow(ch *charge, n int64) error {
	if ch.tryGrow(n) {
		return nil
	}
	if ch.b == c.s.reserve {
		n += ch.moveTo(c.s.budget)
		if ch.tryGrow(n) {
			return nil
		}
	}
	c.s.metrics.waits.Inc()
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	defer context.AfterFunc(c.s.serving, cancel)()
	if ch.holds() {
		defer time.AfterFunc(c.s.cfg.FrameTimeout, cancel).Stop()
	}
	switch err := ch.grow(ctx, n); {
	case err == nil:
		return nil
	case c.s.serving.Err() != nil:
		return errDrain
	case c.ctx.Err() != nil:
		return c.ctx.Err()
	}
	return fmt.Errorf("%w: %d bytes more", errNoMemory, n)
}
