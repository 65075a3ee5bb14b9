package peer

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// conn counts what travels over a TCP connection, and remembers when something last came.
type conn struct {
	net.Conn
	metrics *metrics
	heard   atomic.Int64 // time.Time.UnixNano of the last read that gave something
	once    sync.Once
	closed  func() // called once
}

func newConn(c net.Conn, m *metrics, closed func()) *conn {
	m.open.Inc()
	return &conn{Conn: c, metrics: m, closed: closed}
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.metrics.received.Add(float64(n))
		c.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.metrics.sent.Add(float64(n))
	return n, err
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.metrics.open.Dec()
		c.closed()
	})
	return c.Conn.Close()
}

// listener hands out connections as long as there are not too many. Those whose other end has not proven itself are few
// (Config.MaxHandshakes), live as long as a handshake may take, and end with the listener.
type listener struct {
	net.Listener
	cfg     Config
	metrics *metrics

	mu       sync.Mutex // guards all below
	open     int
	unproven map[*conn]struct{}
	closed   bool
}

func newListener(l net.Listener, cfg Config, m *metrics) *listener {
	return &listener{Listener: l, cfg: cfg, metrics: m, unproven: make(map[*conn]struct{})}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.admit(raw); c != nil {
			return c, nil
		}
		_ = raw.Close()
	}
}

// admit answers nil if there are too many connections.
func (l *listener) admit(raw net.Conn) *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	if l.open >= l.cfg.MaxConnections || len(l.unproven) >= l.cfg.MaxHandshakes {
		l.metrics.rejected.WithLabelValues(rejectedLimit).Inc()
		return nil
	}
	var c *conn
	c = newConn(raw, l.metrics, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.open--
		delete(l.unproven, c)
	})
	l.open++
	l.unproven[c] = struct{}{}
	return c
}

// proven tells that the other end of c is an agent of this cluster.
func (l *listener) proven(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.unproven, c)
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.mu.Lock()
	l.closed = true
	unproven := make([]*conn, 0, len(l.unproven))
	for c := range l.unproven {
		unproven = append(unproven, c)
	}
	l.mu.Unlock()
	for _, c := range unproven {
		_ = c.Close()
	}
	return l.Listener.Close()
}
