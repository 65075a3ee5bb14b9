package api

import (
	"time"

	"github.com/leat-stream/leat/agent/brokers"
	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/metadata/state"
)

// sharedNode is the broker id of the one address behind which all agents stand. Every agent must name the same, since a client may
// ask each of them in turn; which id it is tells nobody anything.
const sharedNode = int32(0)

// node is this agent's broker id as clients of a listener know it.
func (s *Server) node(listener string) int32 {
	if s.shared(listener) {
		return sharedNode
	}
	return s.Session.NodeID()
}

// member is a broker as clients are told of it.
type member struct {
	node int32
	host string
	port int32
	rack *string // null if it has no zone
}

// cluster is what one client is told of the agents: those that it can reach, and who of them serves what. No other is ever
// named to it.
type cluster struct {
	members    []member
	controller int32
	view       *brokers.View // nil: one broker, of the id controller, is everything
	zone       string        // the client's
	one        []int32       // the replicas of every partition if there is no view
}

// cluster describes the agents to the client that made a request. While no agent is known to be alive, this one's own session being
// opened or closed, it stands alone.
func (s *Server) cluster(r wire.Request) cluster {
	node, host, port := s.self(r.Listener)
	self := member{node: node, host: host, port: port, rack: s.rack()}
	if s.shared(r.Listener) {
		self.rack = nil // it is in all zones
		return cluster{members: []member{self}, controller: node, one: []int32{node}}
	}
	view := s.Brokers.View().On(r.Listener)
	live := view.All()
	if len(live) == 0 {
		return cluster{members: []member{self}, controller: node, one: []int32{node}}
	}
	c := cluster{members: make([]member, len(live)), controller: live[0].NodeID, view: view, zone: r.Zone}
	for i, b := range live {
		c.members[i] = s.member(b, r.Listener)
		if b.Session == s.Session.ID() { // whoever asks this agent has a connection to it already
			c.controller = b.NodeID
		}
	}
	return c
}

// member describes an agent of View.On(listener).
func (s *Server) member(b brokers.Broker, listener string) member {
	m := member{node: b.NodeID, rack: optional(b.Zone)}
	if b.Session == s.Session.ID() {
		_, m.host, m.port = s.self(listener)
	} else {
		m.host, m.port, _ = b.Endpoint(listener)
	}
	return m
}

// replicas is whom Metadata names for a partition, its leader first. The answer must not be changed.
func (c *cluster) replicas(topic state.UUID, partition int32) []int32 {
	if c.view == nil {
		return c.one
	}
	return c.view.Replicas(topic, partition, c.zone)
}

// coordinator describes the agent that coordinates a group, which, unlike leaders, is the same for all clients. One that the client cannot
// reach has a stand-in among those that it can, which passes its requests on (see passes); false if there is no way to do so.
func (s *Server) coordinator(r wire.Request, group string) (member, bool) {
	b, ok := s.Brokers.View().Coordinator(group)
	if !ok || s.shared(r.Listener) {
		node, host, port := s.self(r.Listener)
		return member{node: node, host: host, port: port}, true
	}
	m := s.member(b, r.Listener)
	if m.host == "" && s.passes(r.Listener) {
		if b, ok = s.Brokers.View().On(r.Listener).Coordinator(group); ok {
			m = s.member(b, r.Listener)
		}
	}
	return m, m.host != ""
}

// lists reports whether this agent is the one to list a group to a client that asks every broker for its own.
func (s *Server) lists(r wire.Request, group string) bool {
	return s.shared(r.Listener) || s.Brokers.View().Coordinates(group)
}

// urge is how much a client should go to another agent with a partition.
type urge uint8

const (
	stay     urge = iota // this agent is as good as any
	shouldGo             // another is better: the client may be told so now and then
	mustGo               // this agent is about to end, or stepped aside: the client is told so always
)

// guide says where a client should go with the partitions of one request. The zero guide has everything stay.
type guide struct {
	view    *brokers.View
	self    brokers.Broker
	zone    string    // to whose agents the client should go
	ending  bool      // nothing new should come here: this agent leaves, or stepped aside
	point   bool      // to the replica in the consumer's zone, rather than refuse
	settled time.Time // an agent that came into view later is not known to all others yet
}

// guide looks at the agents for a request; rack is the zone that a consumer names as its own (KIP-392), "" if none. Nobody is sent away
// behind one address, by an agent that the request was forwarded to, or to a zone without agents, whose clients are as well
// off here as elsewhere. A consumer in whose zone this agent is stays, since another agent may have pointed it here, whatever
// this one would say.
func (s *Server) guide(r wire.Request, rack string) guide {
	if s.shared(r.Listener) || r.ForwardedBy != "" {
		return guide{}
	}
	view := s.Brokers.View().On(r.Listener)
	self, open := view.Self()
	g := guide{view: view, self: self, zone: r.Zone, ending: !open || self.Leaving, settled: s.Nudges.settled()}
	racked := rack != "" && view.Serves(rack)
	if racked {
		g.zone, g.point = rack, !g.ending
	}
	switch live := len(view.All()); {
	case live == 0, !g.ending && (live == 1 || !view.Serves(g.zone) || racked && rack == self.Zone):
		return guide{}
	}
	return g
}

// better is the agent that should serve a partition to the client, and how much.
func (g *guide) better(tp state.TopicPartition) (brokers.Broker, urge) {
	if g.view == nil {
		return brokers.Broker{}, stay
	}
	b, ok := g.view.Leader(tp.Topic, tp.Partition, g.zone)
	switch {
	case !ok, b.Session == g.self.Session, b.Leaving: // a live agent leaves only if all do
		return brokers.Broker{}, stay
	case g.ending:
		return b, mustGo
	case g.view.Since(b).After(g.settled):
		return brokers.Broker{}, stay
	}
	return b, shouldGo
}
