// Package brokers knows which agents are alive and says, the same on every agent, which of them serves what: which leads a
// partition for the clients of a zone, which coordinates a group, which reads a chunk of an object for its zone.
//
// All of that is advice for locality and never a right: any agent can serve any request, and two agents whose views differ
// for a moment do no harm. So nothing here may be asked before a record is accepted, or instead of the metadata.
package brokers

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/leat-stream/leat/metadata/state"
)

// Broker is an agent with an open session.
type Broker struct {
	NodeID    int32
	Session   state.UUID
	Zone      string           // "" if it was not told one
	Peer      string           // where other agents reach it, host:port
	Listeners []state.Listener // where clients reach it; must not be changed
	Leaving   bool             // nothing new should be sent to it: it is about to end, or stepped aside
	Aside     bool             // it is Leaving only until it says that it is back
}

// Endpoint is where clients of a listener reach the agent; false if it has no such listener, or one with an address that no
// client could use.
func (b Broker) Endpoint(listener string) (host string, port int32, ok bool) {
	for _, l := range b.Listeners {
		if l.Name != listener {
			continue
		}
		host, digits, err := net.SplitHostPort(l.Address)
		if err != nil || host == "" {
			return "", 0, false
		}
		n, err := strconv.ParseUint(digits, 10, 16)
		return host, int32(n), err == nil && n > 0
	}
	return "", 0, false
}

func (b Broker) equal(o Broker) bool {
	return b.NodeID == o.NodeID && b.Session == o.Session && b.Zone == o.Zone && b.Peer == o.Peer && b.Leaving == o.Leaving && b.Aside == o.Aside &&
		slices.Equal(b.Listeners, o.Listeners)
}

// View is the agents that were alive at one moment. It is immutable.
type View struct {
	self  state.UUID
	open  []Broker                 // with an open session, ordered by node id
	live  []Broker                 // of those, who gets work: all that are not leaving, or all if all are
	any   []candidate              // live
	zones []zone                   // live, by zone, ordered by name
	on    map[string]*View         // by listener: without those that lack it
	bare  *View                    // for a listener that no session names
	since map[state.UUID]time.Time // see Since; missing: zero
}

// zone is the live agents of one zone.
type zone struct {
	name  string
	peers []candidate
}

// NewView makes a view of open sessions, as the agent with the session self sees them. Of two with one node id the later
// counts.
func NewView(self state.UUID, open []Broker) *View {
	v := subview(self, open)
	v.on = map[string]*View{}
	for _, b := range v.open {
		for _, l := range b.Listeners {
			if v.on[l.Name] == nil {
				v.on[l.Name] = v.having(l.Name)
			}
		}
	}
	v.bare = v.having("")
	return v
}

func subview(self state.UUID, open []Broker) *View {
	v := &View{self: self}
	for _, b := range open {
		if i := slices.IndexFunc(v.open, func(o Broker) bool { return o.NodeID == b.NodeID }); i >= 0 {
			v.open[i] = b
		} else {
			v.open = append(v.open, b)
		}
	}
	slices.SortFunc(v.open, func(a, b Broker) int { return cmp.Compare(a.NodeID, b.NodeID) })
	for _, b := range v.open {
		if !b.Leaving {
			v.live = append(v.live, b)
		}
	}
	if len(v.live) == 0 {
		v.live = v.open
	}
	for i, b := range v.live {
		c := candidate{hash: agentHash(b.NodeID), at: int32(i)}
		v.any = append(v.any, c)
		n, found := slices.BinarySearchFunc(v.zones, b.Zone, func(z zone, name string) int { return cmp.Compare(z.name, name) })
		if !found {
			v.zones = slices.Insert(v.zones, n, zone{name: b.Zone})
		}
		v.zones[n].peers = append(v.zones[n].peers, c)
	}
	return v
}

// having is the view without the agents that clients of the listener cannot reach. This agent itself always stays: who asks it
// has reached it.
func (v *View) having(listener string) *View {
	var kept []Broker
	for _, b := range v.open {
		if _, _, ok := b.Endpoint(listener); ok || b.Session == v.self {
			kept = append(kept, b)
		}
	}
	if len(kept) == len(v.open) {
		return v
	}
	return subview(v.self, kept)
}

// On is the view that clients of a listener may be told of: they must never hear of an agent that they cannot reach. This
// agent is in it whatever its session says. It is v itself if every agent has the listener. Who coordinates a group must be asked of the
// whole view: all agents must agree on it.
func (v *View) On(listener string) *View {
	if on := v.on[listener]; on != nil {
		return on
	}
	if v.bare != nil {
		return v.bare
	}
	return v
}

// All is the live agents, ordered by node id: those with an open session that are not leaving, or, if all are leaving, all.
// The answer must not be changed.
func (v *View) All() []Broker { return v.live }

// Self is the agent that looks; false if its session is not open, or not yet.
func (v *View) Self() (Broker, bool) {
	for _, b := range v.open {
		if b.Session == v.self {
			return b, true
		}
	}
	return Broker{}, false
}

// Others is the other agents with an open session, ordered by node id, also those that are leaving.
func (v *View) Others() []Broker {
	return slices.DeleteFunc(slices.Clone(v.open), func(b Broker) bool { return b.Session == v.self })
}

// Relieved reports whether others do this agent's work until it is back: it stepped aside, and not all agents are leaving.
func (v *View) Relieved() bool {
	own, ok := v.Self()
	return ok && own.Aside && len(v.live) > 0 && !v.live[0].Leaving
}

// Broker is the agent with that id, also while it is leaving.
func (v *View) Broker(node int32) (Broker, bool) {
	i, found := slices.BinarySearchFunc(v.open, node, func(b Broker, node int32) int { return cmp.Compare(b.NodeID, node) })
	if !found {
		return Broker{}, false
	}
	return v.open[i], true
}

// Serves reports whether a zone has a live agent.
func (v *View) Serves(zone string) bool { return v.zone(zone) != nil }

// zone is the live agents of a zone, nil if there is none.
func (v *View) zone(name string) []candidate {
	for i := range v.zones {
		if v.zones[i].name == name {
			return v.zones[i].peers
		}
	}
	return nil
}

// Leader is the live agent that leads a partition for the clients of a zone: one of that zone, or, if it has none, of all. False
// if there are no agents at all.
func (v *View) Leader(topic state.UUID, partition int32, zone string) (Broker, bool) {
	if len(v.live) == 0 {
		return Broker{}, false
	}
	candidates := v.zone(zone)
	if candidates == nil {
		candidates = v.any
	}
	at, _ := winner(candidates, partitionKey(topic, partition))
	return v.live[at], true
}

// Replicas is the node ids that Metadata names for a partition to the clients of a zone: the leader, and from every other zone the
// agent that leads the partition there.
func (v *View) Replicas(topic state.UUID, partition int32, zone string) []int32 {
	if len(v.live) == 0 {
		return nil
	}
	key := partitionKey(topic, partition)
	nodes := make([]int32, 0, len(v.zones))
	first, best, own := 0, uint64(0), false
	for i := range v.zones {
		at, score := winner(v.zones[i].peers, key)
		nodes = append(nodes, v.live[at].NodeID)
		switch {
		case v.zones[i].name == zone:
			first, own = i, true
		case !own && score >= best: // the winner of all is the winner of its zone
			first, best = i, score
		}
	}
	leader := nodes[first]
	copy(nodes[1:], nodes[:first])
	nodes[0] = leader
	return nodes
}

// Coordinator is the live agent that coordinates a group. False if there are no agents at all.
func (v *View) Coordinator(group string) (Broker, bool) {
	if len(v.live) == 0 {
		return Broker{}, false
	}
	at, _ := winner(v.any, groupKey(group))
	return v.live[at], true
}

// Coordinates reports whether this agent coordinates a group, as far as it knows: nobody else is alive to do it, or it is the
// one that Coordinator names.
func (v *View) Coordinates(group string) bool {
	b, ok := v.Coordinator(group)
	return !ok || b.Session == v.self
}

// ChunkOwner is the live agent that reads a region of an object from the bucket for all agents of a zone. False if the zone has
// no agent.
func (v *View) ChunkOwner(object string, region int64, zone string) (Broker, bool) {
	candidates := v.zone(zone)
	if candidates == nil {
		return Broker{}, false
	}
	at, _ := winner(candidates, chunkKey(object, region))
	return v.live[at], true
}

// Since is when an agent's session came into view here, or when it came back after it had stepped aside, zero if it was there before this
// agent looked: others may not know it yet.
func (v *View) Since(b Broker) time.Time { return v.since[b.Session] }
