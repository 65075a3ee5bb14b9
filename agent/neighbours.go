package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/agent/api"
	"github.com/leat-stream/leat/agent/brokers"
	"github.com/leat-stream/leat/agent/chunks"
	"github.com/leat-stream/leat/agent/peer"
	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/cache"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/replica"
	"github.com/leat-stream/leat/metadata/state"
)

// neighbours is what this agent has to do with the others of its cluster. An agent whose journal only one process can have
// open has none: server and client are nil then.
type neighbours struct {
	server  *peer.Server
	client  *peer.Client
	address string // where others reach this agent
	zone    string

	view  atomic.Pointer[brokers.Brokers] // nil until the replica is open
	aside *aside                          // set with view
}

// PeerAddress is where other agents reach this one. Both parts together are for what stands between: a NAT, a container's
// published port, a proxy.
type PeerAddress struct {
	Address    string // host:port to bind; port 0 picks a free one; "": the first listener's host and a free port
	Advertised string // host:port that other agents are told; "": the bound address, see reachable
}

// validate refuses what cannot be bound, and what other agents could not connect to.
func (p PeerAddress) validate() error {
	if p.Address != "" {
		if _, _, err := net.SplitHostPort(p.Address); err != nil {
			return fmt.Errorf("peer address %q: %w", p.Address, err)
		}
	}
	if p.Advertised == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(p.Advertised)
	if err != nil {
		return fmt.Errorf("advertised peer address %q: %w", p.Advertised, err)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("advertised peer address %q: port %q is not 1 to 65535", p.Advertised, port)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("advertised peer address %q: host %q is no address that another agent can connect to", p.Advertised, host)
	}
	return nil
}

// alone tells whether the journal is one that no other agent can share.
func alone(journal string) bool {
	return strings.HasPrefix(journal, "bolt:") || strings.HasPrefix(journal, "mem:")
}

// openNeighbours binds the address for other agents, with the secret that the bucket keeps.
func openNeighbours(ctx context.Context, cfg Config, g *ground, log *slog.Logger, reg prometheus.Registerer) (*neighbours, error) {
	n := &neighbours{zone: cfg.Wire.Zone}
	if alone(g.journalName) {
		if cfg.Peer != (PeerAddress{}) {
			log.Warn("the peer address is not used: this journal is for one agent; several need --journal bucket: or etcd:",
				"peer", cfg.Peer.Address, "journal", g.journalName)
		}
		return n, nil
	}
	secret, err := peer.LoadSecret(ctx, g.retrying, g.keys, g.cluster)
	if err != nil {
		return nil, err
	}
	bind, err := cfg.peerAddress()
	if err != nil {
		return nil, err
	}
	if n.server, err = peer.NewServer(peer.Default(), secret, log, reg); err != nil {
		return nil, err
	}
	if err = n.server.Listen(ctx, bind); err != nil {
		return nil, err
	}
	if n.address = cfg.Peer.Advertised; n.address == "" {
		if n.address, err = reachable(n.server.Addr()); err != nil {
			n.close()
			return nil, err
		}
	}
	if n.client, err = peer.NewClient(peer.Default(), secret, reg); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

// peerAddress is where to listen for other agents: as configured, or on the first listener's host and a free port, so that
// several agents run on one machine with no more flags.
func (c Config) peerAddress() (string, error) {
	if c.Peer.Address != "" {
		return c.Peer.Address, nil
	}
	host, _, err := net.SplitHostPort(c.Wire.Listeners[0].Address)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(host, "0"), nil
}

// reachable is the address that other agents are told. One bound to all addresses of the machine names its first that others
// can reach.
func reachable(bound string) (string, error) {
	host, port, err := net.SplitHostPort(bound)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		return bound, nil
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("find this machine's address for other agents: %w", err)
	}
	var v6 string
	for _, a := range addresses {
		n, ok := a.(*net.IPNet)
		switch {
		case !ok || !n.IP.IsGlobalUnicast():
		case n.IP.To4() != nil:
			return net.JoinHostPort(n.IP.String(), port), nil
		case v6 == "":
			v6 = n.IP.String()
		}
	}
	if v6 == "" {
		return "", errors.New("this machine has no address that other agents can reach: name one with --peer")
	}
	return net.JoinHostPort(v6, port), nil
}

// agentName is the stable name of this agent: as configured, or the machine's name with the port of the first listener, so
// that several agents of one machine have names of their own. "" if neither is stable.
func (c Config) agentName() string {
	if c.Name != "" {
		return c.Name
	}
	_, port, err := net.SplitHostPort(c.Wire.Listeners[0].Address)
	host, nameless := os.Hostname()
	if err != nil || nameless != nil || port == "0" {
		return ""
	}
	return host + ":" + port
}

// named is a log whose lines say which agent writes them, if it has a name.
func (c Config) named(log *slog.Logger) *slog.Logger {
	if name := c.agentName(); name != "" {
		return log.With("agent", name)
	}
	return log
}

// peers is the client for the replica; nil without neighbours.
func (n *neighbours) peers() replica.Peers {
	if n.client == nil {
		return nil
	}
	return n.client
}

// run answers other agents until ctx ends.
func (n *neighbours) run(ctx context.Context, h peer.Handlers) error {
	if n.server == nil {
		<-ctx.Done()
		return nil
	}
	return n.server.Serve(ctx, h)
}

func (n *neighbours) close() {
	if n.client != nil {
		n.client.Close()
	}
	if n.server != nil {
		n.server.Close()
	}
}

// source reads what the cache misses: from another agent of the zone that should have it, else from the bucket.
func (n *neighbours) source(g *ground, log *slog.Logger, reg prometheus.Registerer) (cache.Source, error) {
	if n.client == nil {
		return g.source, nil
	}
	reader, err := chunks.New(chunks.Default(), chunks.Deps{
		Keys: g.keys, Owners: n, Peer: chunks.Over(n.client), Bucket: g.source, Log: log, Register: reg,
	})
	if err != nil {
		return nil, err
	}
	return reader.Source, nil
}

// Writer implements chunks.Owners.
func (n *neighbours) Writer(session [16]byte) (address string, self, ok bool) {
	return n.find(func(v *brokers.View) (brokers.Broker, bool) {
		for _, b := range v.All() {
			if b.Session == session && b.Zone == n.zone {
				return b, true
			}
		}
		return brokers.Broker{}, false
	})
}

// ChunkOwner implements chunks.Owners.
func (n *neighbours) ChunkOwner(key string, region int64) (address string, self, ok bool) {
	return n.find(func(v *brokers.View) (brokers.Broker, bool) { return v.ChunkOwner(key, region, n.zone) })
}

func (n *neighbours) find(who func(*brokers.View) (brokers.Broker, bool)) (address string, self, ok bool) {
	known := n.view.Load()
	if known == nil {
		return "", false, false
	}
	v := known.View()
	b, ok := who(v)
	if !ok {
		return "", false, false
	}
	own, _ := v.Self()
	return b.Peer, b.Session == own.Session, true
}

// forwarder passes clients' requests on; nil without neighbours.
func (n *neighbours) forwarder(session state.UUID) api.Forwarder {
	if n.client == nil {
		return nil
	}
	return forwarder{client: n.client, self: session.String()}
}

// forwarder passes clients' requests on, for api.
type forwarder struct {
	client *peer.Client
	self   string // the name that this agent passes requests on under
}

// Forward implements api.Forwarder.
func (f forwarder) Forward(ctx context.Context, address string, r wire.Request, body []byte) ([]byte, error) {
	resp, err := f.client.Forward(ctx, address, peer.ForwardedRequest{
		Key: r.Key, Version: r.Version, Body: body, Principal: r.Principal, ClientHost: r.Host, ClientID: r.ClientID, Listener: r.Listener,
		Zone: r.Zone, SoftwareName: r.ClientSoftware.Name, SoftwareVersion: r.ClientSoftware.Version, ForwardedBy: f.self,
	})
	switch {
	case err != nil:
		return nil, err
	case resp.Refusal != peer.NotRefused:
		return nil, fmt.Errorf("%w: refusal %d", api.ErrNotServed, resp.Refusal)
	}
	return resp.Body, nil
}

// Reach implements api.Forwarder.
func (f forwarder) Reach(ctx context.Context, address string) error {
	return f.client.Reach(ctx, address)
}

// forwarded answers what another agent passes on.
func forwarded(serve func(context.Context, wire.Request, []byte) ([]byte, error)) func(context.Context, peer.ForwardedRequest) (peer.ForwardedResponse, error) {
	return func(ctx context.Context, f peer.ForwardedRequest) (peer.ForwardedResponse, error) {
		body, err := serve(ctx, wire.Request{
			Header:    wire.Header{Key: f.Key, Version: f.Version},
			Principal: f.Principal, ClientID: f.ClientID, Host: f.ClientHost, Listener: f.Listener, Zone: f.Zone, ForwardedBy: f.ForwardedBy,
			ClientSoftware: wire.Software{Name: f.SoftwareName, Version: f.SoftwareVersion},
		}, f.Body)
		switch {
		case errors.Is(err, api.ErrForwardMalformed):
			return peer.ForwardedResponse{Refusal: peer.RefusedMalformed}, nil
		case errors.Is(err, api.ErrNotServed):
			return peer.ForwardedResponse{Refusal: peer.RefusedHere}, nil
		case err != nil:
			return peer.ForwardedResponse{}, err
		}
		return peer.ForwardedResponse{Body: body}, nil
	}
}

// closed waits until this agent's session is closed by others: then nothing that it does counts any more.
func closed(ctx context.Context, m metadata.Service, own *metadata.Session, from uint64) error {
	for change, err := range m.Watch(ctx, from) {
		if err != nil || ctx.Err() != nil {
			return err
		}
		if change.Kind != state.ChangeSession && change.Kind != state.ChangeAll {
			continue
		}
		over := false
		if err := m.Ask(ctx, metadata.Local(), func(r state.Reader) {
			s, ok := r.Session(own.ID())
			over = (!ok || s.Closed) && !own.Closing()
		}); err != nil {
			return err
		}
		if over {
			return metadata.ErrSessionClosed
		}
	}
	return nil
}
