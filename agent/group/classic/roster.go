package classic

import (
	"slices"
	"time"

	"github.com/leat-stream/leat/agent/group/protocols"
	"github.com/leat-stream/leat/agent/group/reply"
	"github.com/leat-stream/leat/metadata/state"
)

// member is one member of a group in memory. The group's actor owns it.
type member struct {
	id, instance         string // instance: group.instance.id, "" if none
	clientID, clientHost string
	rebalanceTimeout     time.Duration
	sessionTimeout       time.Duration
	protocols            []state.Protocol
	assignment           []byte

	deadline time.Time               // end of the session; not looked at while a member that is not fresh waits
	join     *reply.To[JoinResponse] // its JoinGroup that waits, or nil
	sync     *reply.To[SyncResponse] // its SyncGroup that waits, or nil
	fresh    bool                    // no generation that has it was written: it may expire even while it waits
	cost     int64                   // what it is charged as a newcomer
}

// waiting reports whether the member is excused from heartbeats, because it waits for an answer of ours.
func (m *member) waiting() bool { return !m.fresh && (m.join != nil || m.sync != nil) }

func (m *member) overdue(now time.Time) bool { return !m.waiting() && !now.Before(m.deadline) }

func (m *member) bytes() int64 {
	n := int64(len(m.id)+len(m.instance)+len(m.clientID)+len(m.clientHost)+len(m.assignment)) + 64
	for _, p := range m.protocols {
		n += int64(len(p.Name)+len(p.Metadata)) + 16
	}
	return n
}

func (m *member) durable() state.Member {
	return state.Member{
		ID: m.id, Instance: m.instance, ClientID: m.clientID, ClientHost: m.clientHost,
		RebalanceTimeout: int32(m.rebalanceTimeout.Milliseconds()), SessionTimeout: int32(m.sessionTimeout.Milliseconds()),
		Protocols: slices.Clone(m.protocols), Assignment: m.assignment,
	}
}

func restoreMember(d *state.Member) *member {
	return &member{
		id: d.ID, instance: d.Instance, clientID: d.ClientID, clientHost: d.ClientHost,
		rebalanceTimeout: time.Duration(d.RebalanceTimeout) * time.Millisecond,
		sessionTimeout:   time.Duration(d.SessionTimeout) * time.Millisecond,
		protocols:        d.Protocols, assignment: d.Assignment,
	}
}

// roster is the members of a group, in the order in which they came.
type roster struct {
	order     []*member
	byID      map[string]*member
	static    map[string]*member // by group.instance.id
	supported protocols.Tally    // how many members offer a protocol
	joined    int                // how many have a JoinGroup waiting
}

func newRoster() roster {
	return roster{byID: map[string]*member{}, static: map[string]*member{}, supported: protocols.Tally{}}
}

func (r *roster) instance(id string) *member { return r.static[id] }

func (r *roster) add(m *member) {
	r.order = append(r.order, m)
	r.index(m)
	if m.join != nil {
		r.joined++
	}
}

func (r *roster) index(m *member) {
	r.byID[m.id] = m
	if m.instance != "" {
		r.static[m.instance] = m
	}
	r.supported.Add(m.protocols, 1)
}

func (r *roster) unindex(m *member) {
	delete(r.byID, m.id)
	if m.instance != "" {
		delete(r.static, m.instance)
	}
	r.supported.Add(m.protocols, -1)
}

// remove answers the member that it removed, or nil.
func (r *roster) remove(id string) *member {
	m := r.byID[id]
	if m == nil {
		return nil
	}
	r.unindex(m)
	r.order = slices.DeleteFunc(r.order, func(o *member) bool { return o == m })
	if m.join != nil {
		r.joined--
	}
	return m
}

// rename gives a static member a new member id.
func (r *roster) rename(m *member, id string) {
	delete(r.byID, m.id)
	m.id = id
	r.byID[id] = m
}

// offer replaces the protocols of a member.
func (r *roster) offer(m *member, protocols []state.Protocol) {
	r.supported.Add(m.protocols, -1)
	m.protocols = protocols
	r.supported.Add(m.protocols, 1)
}

// await makes w the member's waiting JoinGroup. One that waited before comes from a connection that the client has given up; it
// is told to come again, so that nobody waits for ever.
func (r *roster) await(m *member, w *reply.To[JoinResponse]) {
	if m.join == nil {
		r.joined++
	} else {
		m.join.Answer(JoinResponse{Member: m.id}, ErrRebalanceInProgress)
	}
	m.join = w
}

// answer answers the member's JoinGroup, if one waits.
func (r *roster) answer(m *member, resp JoinResponse, err error) {
	if m.join == nil {
		return
	}
	m.join.Answer(resp, err)
	m.join = nil
	r.joined--
}

// vote chooses the protocol of the next generation.
func (r *roster) vote() string {
	offers := make([][]state.Protocol, 0, len(r.order))
	for _, m := range r.order {
		offers = append(offers, m.protocols)
	}
	return r.supported.Vote(offers)
}

// known is how many members there are of whom the journal knows.
func (r *roster) known() (n int) {
	for _, m := range r.order {
		if !m.fresh {
			n++
		}
	}
	return n
}

// rebalanceTimeout is the longest of all members.
func (r *roster) rebalanceTimeout() time.Duration {
	var longest time.Duration
	for _, m := range r.order {
		longest = max(longest, m.rebalanceTimeout)
	}
	return longest
}

// elect answers who leads: leader if it has joined, else the first that has, else nobody.
func (r *roster) elect(leader string) (string, bool) {
	if m := r.byID[leader]; m != nil && m.join != nil {
		return leader, true
	}
	for _, m := range r.order {
		if m.join != nil {
			return m.id, true
		}
	}
	return leader, false
}

// subscriptions is what the leader is told.
func (r *roster) subscriptions(protocol string) []Subscription {
	all := make([]Subscription, 0, len(r.order))
	for _, m := range r.order {
		all = append(all, Subscription{Member: m.id, Instance: m.instance, Metadata: protocols.Metadata(m.protocols, protocol)})
	}
	return all
}
