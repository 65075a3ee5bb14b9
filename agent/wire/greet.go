package wire

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/leat-stream/leat/agent/wire/proxy"
)

// proxyTimeout is how long a balancer may take for its PROXY header.
const proxyTimeout = 10 * time.Second

// errSlowProxy: the header did not come within proxyTimeout.
var errSlowProxy = errors.New("PROXY protocol header did not come in time")

// greet learns who the client is before its first frame: on a listener that asks for it, from the PROXY header. Then the connection counts
// for its client's address, and errManyFromIP refuses one too many. A balancer that only looks whether the port is open sends nothing and
// leaves: io.EOF.
func (s *Server) greet(c *conn) error {
	if !c.listener.Proxy {
		return nil // counted when it was accepted
	}
	if err := c.setReadDeadline(time.Now().Add(min(proxyTimeout, s.cfg.FrameTimeout))); err != nil {
		return err
	}
	client, err := proxy.Read(c.nc)
	switch {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded) && c.isDraining():
		return errDrain
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: %w", errSlowProxy, err)
	default:
		return err
	}
	if client.IsValid() {
		c.host = client.String()
	}
	return s.countHost(c)
}

// errManyFromIP: the client's address has all the connections it may have.
var errManyFromIP = errors.New("too many connections from one address")

// proxyQuiet is how often at most a listener tells of connections without a good header: a wrong setting of the balancer makes
// every connection one.
const proxyQuiet = time.Minute

// complaints keeps one kind of warning from filling the log.
type complaints struct {
	mu      sync.Mutex
	last    time.Time
	skipped int
}

// due tells whether to complain now, and of how many that were passed over since the last time.
func (q *complaints) due(now time.Time) (skipped int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.last.IsZero() && now.Sub(q.last) < proxyQuiet {
		q.skipped++
		return 0, false
	}
	skipped, q.last, q.skipped = q.skipped, now, 0
	return skipped, true
}

// complain tells of a connection that did not begin as its listener demands.
func (s *Server) complain(c *conn, err error) {
	if skipped, ok := s.complaints.due(time.Now()); ok {
		s.log.Warn("connection closed: the listener takes only connections that begin with a PROXY protocol version 2 header",
			"listener", c.listener.Name, "from", hostOf(c.nc.RemoteAddr()), "error", err, "more_before", skipped)
	}
}
