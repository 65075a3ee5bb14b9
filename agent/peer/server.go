package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/leat-stream/leat/agent/peer/peerpb"
	"github.com/leat-stream/leat/metadata/replica"
)

// Replica is the other side of replica.Peers: what other agents ask the metadata replica of this one. All methods are
// called concurrently, and return soon after their ctx ended. Their errors arrive at the caller as far as kinds knows them.
type Replica interface {
	// Status answers what this replica knows, at once.
	Status() replica.Status
	// Propose commits commands, if this replica leads or reaches the leader.
	Propose(ctx context.Context, p replica.Proposal) (replica.Proposed, error)
	// Tip answers an index that nothing was committed beyond at a moment after the call began.
	Tip(ctx context.Context, hops int) (uint64, error)
	// TakeOver returns once this replica leads.
	TakeOver(ctx context.Context, term uint64) error
	// Follow serves one stream until ctx ends or push fails. beats waits for the follower's next beat, and fails when the
	// stream ends; push waits while the follower is behind by Config.Window, and must not be called again after it failed.
	// They may be called at the same time, neither concurrently with itself. Once Follow has returned beats fails at once.
	Follow(ctx context.Context, f replica.Follow, beats func() (replica.Beat, error), push func(replica.Push) error) error
}

// Handlers answer what other agents ask. A nil one is not available.
type Handlers struct {
	Replica Replica

	// Chunks sends exactly the n bytes of an immutable object of size bytes from off on, as slices in order that do not
	// change any more: it calls send once, or answers an error. send returns when the caller has taken all but what gRPC holds for it (less
	// than 1 MiB), or the call has ended. objectstore.ErrNotFound and ErrRange arrive at the caller.
	Chunks func(ctx context.Context, key string, size, off, n int64, send func(parts [][]byte) error) error

	// Forward answers a client's request. An error means that it is not known what became of it, unless it matches
	// metadata.ErrNotApplied.
	Forward func(ctx context.Context, r ForwardedRequest) (ForwardedResponse, error)
}

// errStopping ends calls in progress when a server stops.
var errStopping = errors.New("this agent is stopping")

// Server answers other agents of the cluster. Listen, then Serve or Close.
//
// handlers is nil until Serve is called; following ends when a server begins to stop, and working when that has taken
// Config.Drain. All other fields are set by NewServer and Listen.
type Server struct {
	cfg      Config
	log      *slog.Logger
	metrics  *metrics
	grpc     *grpc.Server
	listener *listener
	failed   chan error // of accepting connections; closed when that has ended
	handlers atomic.Pointer[Handlers]
	scolding limiter

	following, working         context.Context
	stopFollowing, stopWorking context.CancelCauseFunc
	stopOnce                   sync.Once
}

// NewServer makes a server for agents that know secret. reg may be nil.
func NewServer(cfg Config, secret Secret, log *slog.Logger, reg prometheus.Registerer) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("peer: %w", err)
	}
	id, err := newIdentity(secret)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(reg, "server")
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: log, metrics: m, failed: make(chan error, 1)}
	s.following, s.stopFollowing = context.WithCancelCause(context.Background())
	s.working, s.stopWorking = context.WithCancelCause(context.Background())
	s.grpc = grpc.NewServer(
		grpc.Creds(&serverCredentials{TransportCredentials: credentials.NewTLS(id.tls()), server: s}),
		grpc.ConnectionTimeout(cfg.ConnectTimeout),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(uint32(cfg.MaxStreams)),
		grpc.MaxHeaderListSize(16<<10),
		grpc.StaticStreamWindowSize(cfg.Window), grpc.StaticConnWindowSize(connWindow(cfg)),
		grpc.ReadBufferSize(socketBuffer), grpc.WriteBufferSize(socketBuffer),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: cfg.Keepalive, Timeout: cfg.KeepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: cfg.Keepalive / 2, PermitWithoutStream: true}),
		grpc.ForceServerCodecV2(codec{}),
		grpc.WaitForHandlers(true),
		grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream),
	)
	peerpb.RegisterPeerServer(s.grpc, &service{server: s})
	return s, nil
}

// socketBuffer is how many bytes are read from or written to a connection at once.
const socketBuffer = 64 << 10

// connWindow is how many bytes a sender may be ahead in all streams of a connection together. gRPC gives it back as soon as
// bytes have come, read or not, so that a stream that nobody reads stops no other one.
func connWindow(cfg Config) int32 { return min(cfg.Window, 1<<29) * 4 }

// Listen binds address and from then on answers every call with metadata.ErrUnavailable, until Serve.
func (s *Server) Listen(ctx context.Context, address string) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen for peers: %w", err)
	}
	s.listener = newListener(l, s.cfg, s.metrics)
	go func() {
		defer close(s.failed)
		if err := s.grpc.Serve(s.listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			s.failed <- fmt.Errorf("accept peers: %w", err)
		}
	}()
	return nil
}

// Addr is the address that is bound, once Listen has returned.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Serve answers calls with h until ctx ends (nil), or connections cannot be accepted any more. It returns when everything
// has ended: Follow streams at once, other calls in progress when they are done, or after Config.Drain. It is called once.
func (s *Server) Serve(ctx context.Context, h Handlers) error {
	s.handlers.Store(&h)
	var err error
	select {
	case <-ctx.Done():
	case err = <-s.failed:
	}
	s.Close()
	return err
}

// Close stops the server as the end of Serve's ctx does; it is for one that was never served, and harmless on any.
func (s *Server) Close() {
	s.stopOnce.Do(s.stop)
}

func (s *Server) stop() {
	s.stopFollowing(errStopping)
	var drained sync.WaitGroup
	drained.Go(s.grpc.GracefulStop)
	hard := time.AfterFunc(s.cfg.Drain, func() {
		s.stopWorking(errStopping)
		s.grpc.Stop()
	})
	drained.Wait()
	hard.Stop()
	s.stopWorking(errStopping)
	s.grpc.Stop() // waits for a Stop that the timer began
	if s.listener != nil {
		for range s.failed { // until accepting has ended
		}
	}
}

// serverCredentials are TLS, and tell of those who cannot prove themselves.
type serverCredentials struct {
	credentials.TransportCredentials
	server *Server
}

// ServerHandshake implements credentials.TransportCredentials.
func (c *serverCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	proven, info, err := c.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		c.server.reject(raw.RemoteAddr(), err)
		return nil, nil, err
	}
	if known, ok := raw.(*conn); ok {
		c.server.listener.proven(known)
	}
	return proven, info, nil
}

// Clone implements credentials.TransportCredentials.
func (c *serverCredentials) Clone() credentials.TransportCredentials {
	return &serverCredentials{TransportCredentials: c.TransportCredentials.Clone(), server: c.server}
}

// reject counts a connection whose other end did not prove itself, and now and then tells people. One that just went away may be an agent
// that asked a process which stood still and gave up, or a check of a balancer's: nobody needs to look at that.
func (s *Server) reject(from net.Addr, err error) {
	s.metrics.rejected.WithLabelValues(rejectedHandshake).Inc()
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return
	}
	if more, ok := s.scolding.allow(time.Now()); ok {
		s.log.Warn("refused a connection to the peer address: only agents of this cluster may connect",
			"from", from.String(), "error", err, "others_since_last", more)
	}
}

// limiter lets one event through each scoldEvery, and counts the others.
type limiter struct {
	mu   sync.Mutex
	last time.Time
	held int
}

const scoldEvery = 30 * time.Second

// allow answers whether an event may pass, and how many since the last that passed did not.
func (l *limiter) allow(now time.Time) (held int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.last.IsZero() && now.Sub(l.last) < scoldEvery {
		l.held++
		return 0, false
	}
	held, l.held, l.last = l.held, 0, now
	return held, true
}
