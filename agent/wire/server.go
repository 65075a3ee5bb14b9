package wire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/agent/wire/answers"
)

// Server owns the listeners and all connections.
type Server struct {
	cfg      Config // read-only, like versions, log, metrics and the budgets
	versions Versions
	log      *slog.Logger
	metrics  *metrics
	memory

	complaints complaints
	left       chan struct{} // capacity 1: a connection has ended

	// Set by Serve before any connection exists, read-only then.
	handler  Handler
	serving  context.Context // ends when draining begins
	stopping <-chan struct{} // serving.Done()

	wg sync.WaitGroup // acceptors and connections

	mu    sync.Mutex // guards bound and peers
	bound []net.Listener
	peers peers
}

// memory is what bounds it.
type memory struct {
	budget  *budget // of requests of any size
	reserve *budget // of small ones, see budget
	answers *answers.Budget
}

// peers are the connections that are open.
type peers struct {
	all    map[*conn]struct{}
	perIP  map[string]int
	nextID uint64
	shedBy time.Time // when the last connection is to be retired, see Shed; zero: never
}

// New checks cfg and registers the metrics in reg. versions says what is announced and served.
func New(cfg Config, versions Versions, log *slog.Logger, reg prometheus.Registerer) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, versions: versions, log: log, left: make(chan struct{}, 1)}
	s.budget, s.reserve = &budget{limit: cfg.Memory}, &budget{limit: cfg.Memory / reserveShare, reserve: true}
	s.peers = peers{all: map[*conn]struct{}{}, perIP: map[string]int{}}
	var err error
	if s.answers, err = answers.New(cfg.Memory/answersShare, reg); err != nil {
		return nil, err
	}
	s.metrics, err = newMetrics(reg, s.budget, s.reserve)
	return s, err
}

// Balancers drop connections that were silent for 350 s (AWS) or less; probes keep them alive and find dead peers within
// two minutes.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 60 * time.Second, Interval: 15 * time.Second, Count: 4}

// Listen binds all listeners or none; the error names the one that failed. Clients that connect wait until Serve.
func (s *Server) Listen(ctx context.Context) error {
	lc := net.ListenConfig{KeepAliveConfig: keepAlive}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bound != nil {
		return errors.New("already listening")
	}
	var bound []net.Listener
	for _, l := range s.cfg.Listeners {
		nl, err := lc.Listen(ctx, "tcp", l.Address)
		if err != nil {
			for _, b := range bound {
				_ = b.Close() // the error to report is the one at hand
			}
			return fmt.Errorf("listener %q: %w", l.Name, err)
		}
		bound = append(bound, nl)
	}
	s.bound = bound
	return nil
}

// Addr is the address that the named listener is bound to, nil before Listen or for an unknown name.
func (s *Server) Addr(name string) net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, nl := range s.bound {
		if s.cfg.Listeners[i].Name == name {
			return nl.Addr()
		}
	}
	return nil
}

// Advertised is the host:port that clients of the named listener are told, the bound address if none was configured; "" for
// an unknown name or before Listen.
func (s *Server) Advertised(name string) string {
	for _, l := range s.cfg.Listeners {
		if l.Name == name && l.Advertised != "" {
			return l.Advertised
		}
	}
	if addr := s.Addr(name); addr != nil {
		return addr.String()
	}
	return ""
}

// Shared tells whether the clients of the named listener are told one address for all agents.
func (s *Server) Shared(name string) bool {
	return slices.ContainsFunc(s.cfg.Listeners, func(l Listener) bool { return l.Name == name && l.Shared })
}

// Close frees the ports of a server that was never served.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, nl := range s.bound {
		_ = nl.Close() // closing twice is what can fail here
	}
}

// Serve accepts connections and serves them with h until ctx ends; then it stops accepting and reading, lets requests in
// progress finish within Config.Drain, closes all connections and returns when nothing is left running. It is called once,
// after Listen. The error is nil after an orderly end; a listener that fails for good ends it with an error.
func (s *Server) Serve(ctx context.Context, h Handler) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s.mu.Lock()
	bound := s.bound
	s.mu.Unlock()
	if bound == nil {
		return errors.New("serving before listening")
	}
	s.start(ctx, h)
	failed := make(chan error, len(bound)) // room for every acceptor's one error
	for i, nl := range bound {
		s.wg.Go(func() {
			if err := s.accept(nl, s.cfg.Listeners[i]); err != nil {
				failed <- err
				stop()
			}
		})
	}
	<-ctx.Done()
	s.Close()
	s.drain()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func (s *Server) start(serving context.Context, h Handler) {
	s.handler, s.serving, s.stopping = h, serving, serving.Done()
}

// drain ends all connections, kindly at first.
func (s *Server) drain() {
	for _, c := range s.open() {
		c.drain()
	}
	done := make(chan struct{})
	go func() { // ends with the wait below
		s.wg.Wait()
		close(done)
	}()
	timer := time.NewTimer(s.cfg.Drain)
	defer timer.Stop()
	select {
	case <-done:
		return
	case <-timer.C:
	}
	open := s.open()
	s.log.Warn("connections did not finish in time, closing them", "connections", len(open), "after", s.cfg.Drain)
	for _, c := range open {
		c.kill(reasonDrain, nil)
	}
	<-done
}

func (s *Server) open() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*conn, 0, len(s.peers.all))
	for c := range s.peers.all {
		all = append(all, c)
	}
	return all
}

// accept takes connections until the listener is closed. Running out of descriptors or memory passes: it waits and goes on.
func (s *Server) accept(nl net.Listener, l Listener) error {
	wait := time.Duration(0)
	for {
		nc, err := nl.Accept()
		if err == nil {
			wait = 0
			s.metrics.accepted.WithLabelValues(l.Name).Inc()
			s.connect(nc, l)
			continue
		}
		if s.serving.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("listener %q: %w", l.Name, err)
		}
		s.metrics.acceptFail.Inc()
		if wait == 0 {
			s.log.Warn("can't accept connections", "listener", l.Name, "error", err)
		}
		wait = min(max(2*wait, 5*time.Millisecond), time.Second)
		select {
		case <-time.After(wait):
		case <-s.stopping:
			return nil
		}
	}
}

// connect serves one connection, or closes it at once if there are too many.
func (s *Server) connect(nc net.Conn, l Listener) {
	c := &conn{s: s, nc: nc, listener: l, host: hostOf(nc.RemoteAddr()), wake: make(chan struct{}, 1), held: s.answers.Open()}
	c.flight.active = time.Now()
	c.flight.retire = s.cfg.ofAge(c.flight.active)
	s.mu.Lock()
	why := reason("")
	switch {
	case s.serving.Err() != nil:
		why = reasonDrain
	case len(s.peers.all) >= s.cfg.MaxConnections:
		why = reasonLimit
	case !l.Proxy && !s.peers.admit(c, s.cfg.MaxConnectionsPerIP):
		why = reasonLimitIP
	}
	if why != "" {
		s.mu.Unlock()
		s.metrics.closed.WithLabelValues(string(why)).Inc()
		s.log.Debug("connection refused", "host", c.host, "listener", l.Name, "reason", string(why))
		Reset(nc)
		_ = nc.Close() // nothing was sent that could be lost
		return
	}
	s.peers.nextID++
	c.id, c.r.mark = s.peers.nextID, s.cfg.mark()
	c.ctx, c.end = context.WithCancel(context.WithoutCancel(s.serving)) // draining must not end it
	s.peers.all[c] = struct{}{}
	if !s.peers.shedBy.IsZero() {
		c.flight.retire = c.flight.retire.sooner(shedBy(c.flight.active, s.peers.shedBy))
	}
	s.mu.Unlock()
	s.metrics.open.Inc()
	s.wg.Go(func() {
		defer s.forget(c)
		c.run()
	})
}

// countHost counts a connection whose client has become known only now; errManyFromIP if that has too many.
func (s *Server) countHost(c *conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.peers.admit(c, s.cfg.MaxConnectionsPerIP) {
		return errManyFromIP
	}
	return nil
}

// admit counts c for its client's address unless that has most connections already, most being 0 for any number; Server.mu is held.
func (p *peers) admit(c *conn, most int) bool {
	if most > 0 && p.perIP[c.host] >= most {
		return false
	}
	p.perIP[c.host]++
	c.counted = true
	return true
}

func (s *Server) forget(c *conn) {
	s.metrics.open.Dec()
	s.mu.Lock()
	delete(s.peers.all, c)
	if c.counted {
		if s.peers.perIP[c.host]--; s.peers.perIP[c.host] == 0 {
			delete(s.peers.perIP, c.host)
		}
	}
	s.mu.Unlock()
	select {
	case s.left <- struct{}{}:
	default: // Shed has not looked since the last one
	}
}

// hostOf is the address without its port.
func hostOf(a net.Addr) string {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.IP.String()
	}
	return a.String()
}
