package wire

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"time"
)

// Behind one address no client can be told to go elsewhere, so connections end now and then, and a new one lands on any agent.
// A connection that is to go is retired between requests:
//
//	at its time ──► what has begun is answered ──► is another request there already? ──► serve it ──┐
//	                 ▲                              no, or retireGrace is over                      │
//	                 └──────────────────────────────┼───────────────────────────────────────────────┘
//	                                                ▼
//	                          end our direction, wait for the client to end its own, close
//
// So nothing that has begun stays unanswered, no answer gets lost to a reset, and what the client sends in the moment between goes
// unanswered and unbegun: it sends that again on its next connection, as clients do when a connection ends. Java clients are given
// time for a better moment (part.go).
const (
	// retireGrace is how long a client that always has a request on its way is served on.
	retireGrace = 2 * time.Second
	// retireGap is how long the wire must be silent between two requests.
	retireGap = time.Millisecond
	// lingerTime is how long a client may take to end its direction once we have ended ours.
	lingerTime = time.Second
	// ageSpread: lives last MaxAge give or take a fifth, so that connections that began together do not end together.
	ageSpread = 0.2
	// shedSpread is the part of the time for shedding in which connections get their turn; the rest is for those that wait.
	shedSpread = 0.75
)

// Why a connection is retired.
var (
	errAged = errors.New("of age")
	errShed = errors.New("shed")
)

// retirement is when and why a connection is to go; the zero one is never.
type retirement struct {
	at  time.Time
	by  time.Time // how long it may wait for its client to be ready, not before at
	why error
}

// begun tells whether the connection is to go, now or at its client's next good moment.
func (r retirement) begun(now time.Time) bool { return !r.at.IsZero() && !now.Before(r.at) }

// sooner is what keeps to both.
func (r retirement) sooner(other retirement) retirement {
	if r.at.IsZero() || !other.at.IsZero() && other.at.Before(r.at) {
		r, other = other, r
	}
	if !other.by.IsZero() && other.by.Before(r.by) {
		r.by = other.by
		if r.by.Before(r.at) {
			r.at = r.by
		}
	}
	return r
}

// ofAge is when a connection that begins now is too old.
func (c Config) ofAge(now time.Time) retirement {
	if c.MaxAge == 0 {
		return retirement{}
	}
	life := float64(c.MaxAge) * (1 - ageSpread + 2*ageSpread*rand.Float64())
	at := now.Add(time.Duration(life))
	return retirement{at, at.Add(refreshTime), errAged}
}

// end is when the connection goes if its client is silent for a moment; zero: never. While clients are shed, one that was not answered
// anything yet has all the time there is: it has most likely just come, and its first request is on its way.
func (f *flight) end() time.Time {
	if f.waits || !f.served && f.retire.why == errShed {
		return f.retire.by
	}
	return f.retire.at
}

// due tells whether that time has come.
func (f *flight) due(now time.Time) bool {
	end := f.end()
	return !end.IsZero() && !now.Before(end)
}

// Shed retires the connections that are open and those that still come, each at a moment of its own within over, and returns when
// none is left, when all have had their time, or when ctx ends. It is for an agent that leaves and whose clients cannot be told
// where to go: they connect again, one by one, to whom the balancer then chooses. Listeners go on, and what comes after it has returned stays.
func (s *Server) Shed(ctx context.Context, over time.Duration) {
	end := time.Now().Add(over)
	s.mu.Lock()
	s.peers.shedBy = end
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.peers.shedBy = time.Time{}
	}()
	for _, c := range s.open() {
		c.retire(shedBy(time.Now(), end))
	}
	last := time.NewTimer(over + retireGrace + lingerTime)
	defer last.Stop()
	for len(s.open()) > 0 {
		select {
		case <-s.left:
		case <-last.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// shedBy picks a moment between now and end.
func shedBy(now, end time.Time) retirement {
	left := float64(max(end.Sub(now), 0)) * shedSpread
	at := now.Add(time.Duration(left * rand.Float64()))
	if end.Before(at) {
		end = at
	}
	return retirement{at, end, errShed}
}

// retire makes the connection go at r, unless it goes sooner anyway.
func (c *conn) retire(r retirement) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flight.retire = c.flight.retire.sooner(r)
	c.flight.rouse(c.nc)
}

// rouse makes a reader that waits for a frame to begin look again how long it may; conn.mu is held.
func (f *flight) rouse(nc net.Conn) {
	if f.waiting && !f.draining {
		_ = nc.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection
	}
}

// frameWait is what the reader remembers while it waits for one frame to begin.
type frameWait struct {
	again  bool // it has looked before
	silent bool // it waits for retireGap to pass
}

// await sets how long the reader may wait for a frame to begin: without end while a request is in flight, else Idle after the
// last answer, and no longer than until the connection is retired. The error is errIdle, errAged, errShed or errDrain if it may not.
// Whoever changes what this depends on rouses the reader; so deadline and flag are set under one lock, which is held: conn.mu.
func (f *flight) await(w *frameWait, nc net.Conn, idle time.Duration) error {
	now := time.Now()
	if f.draining {
		return errDrain
	}
	nothing := len(f.queue) == 0
	deadline := now.Add(idle)
	switch {
	case f.due(now) && (w.silent || !w.again && now.Sub(f.end()) >= retireGrace):
		return f.retire.why
	case f.due(now) && nothing:
		deadline, w.silent = now.Add(retireGap), true
	case f.due(now): // the answer to what is in flight rouses
	default:
		if nothing {
			deadline = f.active.Add(idle)
		}
		if !now.Before(deadline) {
			return errIdle
		}
		if end := f.end(); !end.IsZero() && end.Before(deadline) {
			deadline = end
		}
	}
	w.again, f.waiting = true, true
	return nc.SetReadDeadline(deadline)
}

// linger ends our direction, after the last answer, and takes no more notice of what the client still sends, until it ends its
// direction too. A socket that is closed with bytes unread is reset, and a reset may overtake the answers.
//
// A connection on which nothing was answered but ApiVersions is reset: kgo takes the orderly end of such a one for a broker that
// wants TLS or SASL, and fails its records (ErrFirstReadEOF) where it would try again after a reset.
func (c *conn) linger() {
	c.mu.Lock()
	served := c.flight.served
	c.mu.Unlock()
	if !served {
		Reset(c.nc)
		return
	}
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok {
		return
	}
	c.mu.Lock()
	c.flight.lingering = true
	err := c.nc.SetReadDeadline(time.Now().Add(lingerTime))
	c.mu.Unlock()
	if err == nil && half.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, c.nc) // however it ends, the connection is closed next
	}
}

// Reset has the connection reset when it is closed. What it was sent and has not read may be lost to the client.
func Reset(nc net.Conn) {
	if l, ok := nc.(interface{ SetLinger(sec int) error }); ok {
		_ = l.SetLinger(0) // fails only on a closed connection
	}
}
