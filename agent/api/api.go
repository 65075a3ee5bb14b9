// Package api turns Kafka's calls into calls of the agent's domain packages and their answers back: one numbered file per
// API key, each with its versions' differences, and one table of error codes in errors.go.
//
// A handler gets a wire.Request and a decoded kmsg request and answers a kmsg response. It never sees a connection, never
// touches storage itself, and decides nothing that belongs to a domain package. agent/PROTOCOL.md is the ledger of what is
// answered, in which versions, and where it differs from Apache Kafka.
package api

import (
	"context"
	"encoding/base64"
	"log/slog"
	"net"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/brokers"
	"github.com/leat-stream/leat/agent/fetch"
	"github.com/leat-stream/leat/agent/group"
	"github.com/leat-stream/leat/agent/produce"
	"github.com/leat-stream/leat/agent/topics"
	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/metadata"
)

// Deps is what the handlers call.
type Deps struct {
	Session     *metadata.Session
	Catalog     *topics.Catalog
	Producer    *produce.Producer
	Fetcher     *fetch.Fetcher
	Sessions    *fetch.Sessions
	Coordinator *group.Coordinator
	Log         *slog.Logger

	BrokerConfigs []BrokerConfig               // what DescribeConfigs tells of this agent, ordered by name
	Cluster       [16]byte                     // the cluster's id
	Zone          string                       // the agent's own, which clients see as its rack; may be ""
	Advertise     func(listener string) string // host:port that clients of a listener are told

	Brokers *brokers.Brokers           // the agents that are alive; nil: only this one
	Shared  func(listener string) bool // whether a listener's clients know one address for all agents (see shared); nil: none
	Forward Forwarder                  // reaches other agents, for clients that cannot be sent there; nil: nobody
	Nudges  *Nudges                    // which clients were told of better agents; nil: a new one with Default
}

// Server answers Kafka's calls. It implements wire.Handler and is safe for concurrent use.
type Server struct {
	Deps

	ids chan struct{} // holds one while nextID and endID are in use: over a command, so that those who wait may give up
	// Producer ids reserved for this agent and not handed out yet: [nextID, endID).
	nextID, endID int64

	sent, received tally   // of forwarded requests
	reaches        reaches // whom some of them wait for
}

var _ wire.Handler = (*Server)(nil)

// New makes a server.
func New(d Deps) *Server {
	if d.Nudges == nil {
		d.Nudges = NewNudges(Default(), nil)
	}
	return &Server{Deps: d, ids: make(chan struct{}, 1)}
}

// handler answers one kind of call.
type handler func(ctx context.Context, s *Server, r wire.Request, body kmsg.Request) wire.Response

// handlers by API key, filled by the numbered files. Produce is not among them: it begins before it is answered.
var handlers = map[int16]handler{}

// on registers the handler of one call, from an init function of its file. An answer of nil closes the connection: for errors
// that the version asked has no field for.
func on[Body kmsg.Request](key kmsg.Key, serve func(context.Context, *Server, wire.Request, Body) kmsg.Response) {
	handlers[key.Int16()] = func(ctx context.Context, s *Server, r wire.Request, body kmsg.Request) wire.Response {
		message := serve(ctx, s, r, body.(Body))
		return wire.Response{Message: message, Close: message == nil}
	}
}

// Served tells which calls have a handler.
func Served(key int16) bool {
	_, ok := handlers[key]
	return ok || key == kmsg.Produce.Int16()
}

// Begin implements wire.Handler.
func (s *Server) Begin(ctx context.Context, r wire.Request, body kmsg.Request) func() wire.Response {
	if req, ok := body.(*kmsg.ProduceRequest); ok {
		return s.staying(r, beginProduce(ctx, s, r, req))
	}
	serve, ok := handlers[r.Key]
	if !ok { // wire announces only what is served
		return func() wire.Response { return wire.Response{Close: true} }
	}
	if pass, ok := passOn[r.Key]; ok && s.passes(r.Listener) {
		serve = pass
	}
	return s.staying(r, func() wire.Response { return serve(ctx, s, r, body) })
}

// clusterID is the cluster's id as Kafka prints ids.
func (s *Server) clusterID() string { return base64.RawURLEncoding.EncodeToString(s.Cluster[:]) }

// self is this agent as the clients of a listener reach it.
func (s *Server) self(listener string) (node int32, host string, port int32) {
	address := s.Advertise(listener)
	host, digits, err := net.SplitHostPort(address)
	if err != nil {
		s.Log.Error("advertised address is not host:port", "listener", listener, "address", address, "error", err)
		return -1, "", -1
	}
	n, err := strconv.Atoi(digits)
	if err != nil {
		s.Log.Error("advertised address has no port", "listener", listener, "address", address, "error", err)
		return -1, "", -1
	}
	return s.node(listener), host, int32(n)
}

// rack is the agent's zone, or null.
func (s *Server) rack() *string {
	if s.Zone == "" {
		return nil
	}
	return &s.Zone
}

// What an authorizer that allows everything would answer (AclOperation bits); noOperations: it was not asked for.
const (
	topicOperations   = int32(3576)
	clusterOperations = int32(8096)
	groupOperations   = int32(3400)
	noOperations      = int32(-2147483648)
)

// leaderEpoch of every partition, for the life of its topic: nothing is ever truncated.
const leaderEpoch = int32(0)
