package peer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	grpcpeer "google.golang.org/grpc/peer"

	"github.com/leat-stream/leat/agent/peer/peerpb"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/replica"
)

// Client calls other agents, by the peer address in their sessions. All methods are safe for concurrent use. It implements
// replica.Peers.
//
// Errors name method and address, and match, besides what the other end's handler answered (see kinds):
//
//   - metadata.ErrNotApplied: the call was certainly never made, because no connection came about; with replica.ErrRefused if
//     nothing listens at the address, ErrStranger if whoever does is no agent of this cluster;
//   - metadata.ErrUnknown, for Propose, TakeOver and Forward: it was made, and the other end did not say what became of it;
//   - what ended ctx, if that is why.
//
// mu guards links, retired and closed, and the fields of links that say so; nothing is waited for under it.
type Client struct {
	cfg      Config
	identity identity
	metrics  *metrics

	mu      sync.Mutex
	links   map[string]*link   // by address; at most Config.MaxPeers
	retired map[*link]struct{} // still in use by calls that began before
	closed  bool

	expiring sync.WaitGroup // links that expire is about to close; added to under mu, not after closed
}

var _ replica.Peers = (*Client)(nil)

// NewClient makes a client that knows secret. It runs nothing while it is not used. reg may be nil.
func NewClient(cfg Config, secret Secret, reg prometheus.Registerer) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("peer: %w", err)
	}
	id, err := newIdentity(secret)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(reg, "client")
	if err != nil {
		return nil, err
	}
	return &Client{cfg: cfg, identity: id, metrics: m, links: make(map[string]*link), retired: make(map[*link]struct{})}, nil
}

// Close ends all calls and connections.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	var all []*link
	for address, l := range c.links {
		delete(c.links, address)
		all = append(all, l)
	}
	for l := range c.retired {
		delete(c.retired, l)
		all = append(all, l)
	}
	for _, l := range all {
		l.retired = true
		if l.timer != nil {
			l.timer.Stop()
		}
	}
	c.mu.Unlock()
	closeAll(all)
	c.expiring.Wait()
}

func closeAll(links []*link) {
	for _, l := range links {
		_ = l.grpc.Close() // fails only if closed already
	}
}

// acquire answers the link to address for one call, which releases it.
func (c *Client) acquire(address string) (*link, error) {
	l, evicted, err := c.take(address)
	closeAll(evicted)
	return l, err
}

func (c *Client) take(address string) (l *link, evicted []*link, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, ErrClosed
	}
	l = c.links[address]
	if l == nil {
		if len(c.links) >= c.cfg.MaxPeers {
			idle := c.longestIdle()
			if idle == nil {
				return nil, nil, ErrTooManyPeers
			}
			idle.timer.Stop()
			delete(c.links, idle.address)
			evicted = append(evicted, idle)
		}
		if l, err = c.newLink(address); err != nil {
			return nil, evicted, err
		}
		c.links[address] = l
	}
	if l.timer != nil {
		l.timer.Stop()
	}
	l.users++
	return l, evicted, nil
}

// longestIdle answers the link that has been unused for longest, or nil. Under mu.
func (c *Client) longestIdle() *link {
	var oldest *link
	for _, l := range c.links {
		if l.users == 0 && (oldest == nil || l.since.Before(oldest.since)) {
			oldest = l
		}
	}
	return oldest
}

// release ends a call's use of its link.
func (c *Client) release(l *link) {
	c.mu.Lock()
	l.users--
	last := l.users == 0 && l.retired
	if last {
		delete(c.retired, l)
	} else if l.users == 0 {
		l.since = time.Now()
		l.timer = time.AfterFunc(c.cfg.Idle, func() { c.expire(l) })
	}
	c.mu.Unlock()
	if last {
		_ = l.grpc.Close()
	}
}

// expire closes a link that has been unused for Config.Idle.
func (c *Client) expire(l *link) {
	c.mu.Lock()
	unused := l.users == 0 && c.links[l.address] == l && time.Since(l.since) >= c.cfg.Idle
	if unused {
		delete(c.links, l.address)
		c.expiring.Add(1)
	}
	c.mu.Unlock()
	if unused {
		defer c.expiring.Done()
		_ = l.grpc.Close()
	}
}

// retire has the next call to the address begin with a new connection; calls in progress keep the old one. The caller uses l.
func (c *Client) retire(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.links[l.address] == l {
		delete(c.links, l.address)
		l.retired = true
		c.retired[l] = struct{}{}
	}
}

// connect answers a connected link for one call, or an error that matches metadata.ErrNotApplied.
func (c *Client) connect(ctx context.Context, method, address string) (*link, error) {
	l, err := c.acquire(address)
	if err != nil {
		return nil, unsent(err, method, address)
	}
	if err := l.ready(ctx); err != nil {
		defer c.release(l)
		return nil, c.failed(ctx, l, err, method)
	}
	if bulky(method) && l.bulk.Add(1) > int64(c.cfg.MaxStreams)*3/4 {
		l.bulk.Add(-1)
		defer c.release(l)
		return nil, unsent(ErrBusy, method, address)
	}
	return l, nil
}

// bulky tells which calls there may be many of. They never take all streams of a connection.
func bulky(method string) bool { return method == "Chunk" || method == "Forward" }

// failed is a call that was never sent, because l is not connected. Unless it is only the call that was given up, the next
// one begins with a new link.
func (c *Client) failed(ctx context.Context, l *link, err error, method string) error {
	if ctx.Err() == nil {
		c.retire(l)
	}
	return unsent(err, method, l.address)
}

// done ends a call. If time ran out and nothing at all has come since the call began, the connection is suspected to be
// dead in a way that TCP notices much later, and the next call begins with a new one.
func (c *Client) done(ctx context.Context, l *link, method string, began time.Time) {
	if bulky(method) {
		l.bulk.Add(-1)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && l.silent(began) {
		c.retire(l)
	}
	c.release(l)
}

// acts says that a call does something at the other end.
const acts = true

// attempt makes a call on l, which was connected a moment ago. gRPC tells by sentTo whether the call got as far as a
// connection: if not, or if the other end is known not to have looked at it, nothing was sent (RFC 9113, 6.8).
func (c *Client) attempt(ctx context.Context, l *link, method string, acts bool, do func(context.Context, peerpb.PeerClient, grpc.CallOption) error) error {
	var sentTo grpcpeer.Peer
	err := do(ctx, l.peer, grpc.Peer(&sentTo))
	switch {
	case err == nil:
		return nil
	case sentTo.Addr == nil:
		return c.failed(ctx, l, l.reason(ctx, err), method)
	}
	return decodeError(ctx, err, method, l.address, acts)
}

// call makes one call with one answer.
func call[R any](ctx context.Context, c *Client, method, address string, acts bool,
	do func(context.Context, peerpb.PeerClient, grpc.CallOption) (R, error),
) (answer R, err error) {
	defer func() { c.metrics.count(method, err) }()
	l, err := c.connect(ctx, method, address)
	if err != nil {
		return answer, err
	}
	began := time.Now()
	defer c.done(ctx, l, method, began)
	err = c.attempt(ctx, l, method, acts, func(ctx context.Context, p peerpb.PeerClient, o grpc.CallOption) (err error) {
		answer, err = do(ctx, p, o)
		return err
	})
	return answer, err
}

// Status implements replica.Peers, within Config.StatusTimeout.
func (c *Client) Status(ctx context.Context, address string) (replica.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.StatusTimeout)
	defer cancel()
	m, err := call(ctx, c, "Status", address, !acts, func(ctx context.Context, p peerpb.PeerClient, o grpc.CallOption) (*peerpb.StatusReply, error) {
		return p.Status(ctx, &peerpb.StatusRequest{}, o)
	})
	if err != nil {
		return replica.Status{}, err
	}
	return decodeStatus(m)
}

// Reach answers nil if the agent at address answers before ctx ends, also if it is not ready for anything yet.
func (c *Client) Reach(ctx context.Context, address string) error {
	_, err := call(ctx, c, "Status", address, !acts, func(ctx context.Context, p peerpb.PeerClient, o grpc.CallOption) (*peerpb.StatusReply, error) {
		return p.Status(ctx, &peerpb.StatusRequest{}, o)
	})
	if errors.Is(err, metadata.ErrUnavailable) {
		return nil
	}
	return err
}

// Propose implements replica.Peers.
func (c *Client) Propose(ctx context.Context, address string, p replica.Proposal) (replica.Proposed, error) {
	if len(p.Commands) > journal.MaxBody {
		err := fmt.Errorf("%w: %d bytes, at most %d are allowed", metadata.ErrTooLarge, len(p.Commands), journal.MaxBody)
		return replica.Proposed{}, unsent(err, "Propose", address)
	}
	m, err := call(ctx, c, "Propose", address, acts, func(ctx context.Context, peer peerpb.PeerClient, o grpc.CallOption) (*peerpb.ProposeReply, error) {
		return peer.Propose(ctx, &peerpb.ProposeRequest{Hops: uint32(max(0, p.Hops)), Commands: p.Commands}, o)
	})
	if err != nil {
		return replica.Proposed{}, err
	}
	return replica.Proposed{Index: m.GetIndex(), Results: m.GetResults()}, nil
}

// Tip implements replica.Peers.
func (c *Client) Tip(ctx context.Context, address string, hops int) (uint64, error) {
	m, err := call(ctx, c, "Tip", address, !acts, func(ctx context.Context, p peerpb.PeerClient, o grpc.CallOption) (*peerpb.TipReply, error) {
		return p.Tip(ctx, &peerpb.TipRequest{Hops: uint32(max(0, hops))}, o)
	})
	return m.GetIndex(), err
}

// TakeOver implements replica.Peers.
func (c *Client) TakeOver(ctx context.Context, address string, term uint64) error {
	_, err := call(ctx, c, "TakeOver", address, acts, func(ctx context.Context, p peerpb.PeerClient, o grpc.CallOption) (*peerpb.TakeOverReply, error) {
		return p.TakeOver(ctx, &peerpb.TakeOverRequest{Term: term}, o)
	})
	return err
}

// Forward has the agent at address answer a client's request. It is not repeated. Body of r must not be changed until it returns.
func (c *Client) Forward(ctx context.Context, address string, r ForwardedRequest) (ForwardedResponse, error) {
	if len(r.Body) > MaxForward {
		err := fmt.Errorf("%w: %d bytes, at most %d are passed on", metadata.ErrTooLarge, len(r.Body), MaxForward)
		return ForwardedResponse{}, unsent(err, "Forward", address)
	}
	m, err := call(ctx, c, "Forward", address, acts, func(ctx context.Context, p peerpb.PeerClient, o grpc.CallOption) (*peerpb.ForwardReply, error) {
		return p.Forward(ctx, encodeForwarded(r), o)
	})
	if err != nil {
		return ForwardedResponse{}, err
	}
	return ForwardedResponse{Body: m.GetBody(), Refusal: Refusal(m.GetRefusal())}, nil
}
