package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/leat-stream/leat/agent/peer/peerpb"
	"github.com/leat-stream/leat/metadata/replica"
)

// link is one connection to one address, which its calls share. It tries to connect once: a link that cannot is thrown
// away, and the next call begins with a new one. So nothing ever waits for a back-off; callers pace themselves.
//
// users, since, timer and retired belong to Client.mu, the rest is set by newLink or guarded by itself.
type link struct {
	address string
	grpc    *grpc.ClientConn
	peer    peerpb.PeerClient
	current atomic.Pointer[conn] // the newest TCP connection
	bulk    atomic.Int64         // Chunk and Forward calls in progress

	mu  sync.Mutex
	why error // why connecting failed; guarded by mu

	users   int
	since   time.Time   // when users became 0
	timer   *time.Timer // closes the link when it has been unused for Config.Idle
	retired bool        // no new calls; closed with its last user
}

// newLink does not connect yet.
func (c *Client) newLink(address string) (*link, error) {
	l := &link{address: address}
	var err error
	l.grpc, err = grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(&clientCredentials{TransportCredentials: credentials.NewTLS(c.identity.tls()), link: l}),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return l.dial(ctx, address, c.metrics) }),
		grpc.WithConnectParams(grpc.ConnectParams{ // a link that failed is not used again: its back-off does not matter
			Backoff: backoff.Config{BaseDelay: c.cfg.ConnectTimeout, Multiplier: 1, MaxDelay: c.cfg.ConnectTimeout}, MinConnectTimeout: c.cfg.ConnectTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: c.cfg.Keepalive, Timeout: c.cfg.KeepaliveTimeout, PermitWithoutStream: true,
		}),
		grpc.WithStaticStreamWindowSize(c.cfg.Window), grpc.WithStaticConnWindowSize(connWindow(c.cfg)),
		grpc.WithReadBufferSize(socketBuffer), grpc.WithWriteBufferSize(socketBuffer),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage), grpc.ForceCodecV2(codec{})),
		grpc.WithMaxHeaderListSize(16<<10),
		grpc.WithIdleTimeout(0), // Config.Idle takes its place
		grpc.WithNoProxy(), grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithDisableHealthCheck(),
	)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	l.peer = peerpb.NewPeerClient(l.grpc)
	return l, nil
}

// dial opens the TCP connection.
func (l *link) dial(ctx context.Context, address string, m *metrics) (net.Conn, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) {
			err = fmt.Errorf("%w: %w", replica.ErrRefused, err)
		}
		l.failed(err)
		return nil, err
	}
	c := newConn(raw, m, func() {})
	c.heard.Store(time.Now().UnixNano())
	l.current.Store(c)
	return c, nil
}

// failed remembers why connecting failed, which gRPC would tell as text only; nil: it did not.
func (l *link) failed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.why = err
}

// errUnreachable: connecting failed, or was given up, in a way that has no name.
var errUnreachable = errors.New("peer cannot be reached")

// reason answers why a call got no connection; gRPC says err.
func (l *link) reason(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("connect: %w", errors.Join(context.Cause(ctx), ctx.Err()))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why == nil {
		return fmt.Errorf("%w: %w", errUnreachable, err)
	}
	return l.why
}

// ready waits until the link is connected. An error says that it is not: nothing was sent.
func (l *link) ready(ctx context.Context) error {
	for {
		s := l.grpc.GetState()
		switch s {
		case connectivity.Ready:
			return nil
		case connectivity.Idle: // new, or its connection was lost
			l.grpc.Connect()
		case connectivity.TransientFailure:
			return l.reason(ctx, errors.New("no connection"))
		case connectivity.Shutdown:
			return ErrClosed
		}
		if !l.grpc.WaitForStateChange(ctx, s) {
			return l.reason(ctx, nil)
		}
	}
}

// silent reports whether nothing came from the other end since t.
func (l *link) silent(t time.Time) bool {
	c := l.current.Load()
	return c == nil || c.heard.Load() < t.UnixNano()
}

// clientCredentials are TLS, and remember why a handshake failed.
type clientCredentials struct {
	credentials.TransportCredentials
	link *link
}

// ClientHandshake implements credentials.TransportCredentials.
func (c *clientCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	proven, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		err = fmt.Errorf("handshake: %w", err)
	}
	c.link.failed(err)
	return proven, info, err
}

// Clone implements credentials.TransportCredentials.
func (c *clientCredentials) Clone() credentials.TransportCredentials {
	return &clientCredentials{TransportCredentials: c.TransportCredentials.Clone(), link: c.link}
}
