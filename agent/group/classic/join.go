package classic

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/leat-stream/leat/agent/group/protocols"
	"github.com/leat-stream/leat/agent/group/reply"
	"github.com/leat-stream/leat/metadata/state"
)

// JoinRequest is a JoinGroup. RebalanceTimeout is the session timeout where the version has none.
type JoinRequest struct {
	Group, Member        string // Member "" in the first request
	Instance             string // group.instance.id (KIP-345), "" if none
	ClientID, ClientHost string
	SessionTimeout       time.Duration
	RebalanceTimeout     time.Duration
	ProtocolType         string
	Protocols            []state.Protocol // in order of preference; must not be changed afterwards
	Reason               string           // KIP-800, for people who read logs
	MemberIDRequired     bool             // version 4 and above: new dynamic members are told an id first (KIP-394)
	SkipAssignment       bool             // version 9 and above: the leader may be told to skip the assignment (KIP-814)
}

// JoinResponse is the answer to JoinGroup. With ErrMemberIDRequired only Member is set: the id to join with. Other errors
// carry the member id that Kafka answers with them.
type JoinResponse struct {
	Generation             int32
	ProtocolType, Protocol string
	Leader, Member         string
	SkipAssignment         bool
	Members                []Subscription // for the leader only
}

// Subscription is a member as the leader sees it.
type Subscription struct {
	Member, Instance string
	Metadata         []byte // for the chosen protocol
}

// Join handles a JoinGroup: w is answered now or when the generation is known. All names of r can be kept, and its session timeout is allowed.
func (r *JoinRequest) Join(g *Group, w *reply.To[JoinResponse], now time.Time) {
	(&joiner{g: g, r: r, w: w, now: now}).join()
}

// joiner handles one JoinGroup: w is answered now or when the generation is known.
type joiner struct {
	g   *Group
	r   *JoinRequest
	w   *reply.To[JoinResponse]
	now time.Time
}

func (j *joiner) refuse(member string, err error) { j.w.Answer(JoinResponse{Member: member}, err) }

func (j *joiner) join() {
	g, r := j.g, j.r
	switch {
	case !j.accepted():
		g.remove(r.Member)
		g.maybeComplete(j.now)
		g.afterWrite(func() { j.refuse("", ErrGroupFull) })
	case !j.supported():
		j.refuse(r.Member, ErrInconsistentProtocol)
	case r.Member != "":
		j.joinKnown()
	case r.Instance != "":
		id := r.Instance + "-" + uuid.NewString()
		if m := g.roster.instance(r.Instance); m != nil {
			j.replaceStatic(m, id)
			return
		}
		j.joinNew(id)
	case r.MemberIDRequired:
		j.handOut(r.ClientID + "-" + uuid.NewString())
	default:
		j.joinNew(r.ClientID + "-" + uuid.NewString())
	}
}

// accepted applies group.max.size. While members join, those that wait count: the last ones to come back to a group that
// is too large are sent away.
func (j *joiner) accepted() bool {
	g, m := j.g, j.g.roster.byID[j.r.Member]
	switch g.Phase {
	case Empty:
		return true
	case Preparing:
		return m != nil && m.join != nil || g.roster.joined < g.limits.MaxSize
	}
	return m != nil || len(g.roster.order) < g.limits.MaxSize
}

// supported reports whether what the member offers fits the others.
func (j *joiner) supported() bool {
	g, protocolType, protocols := j.g, j.r.ProtocolType, j.r.Protocols
	if g.Phase == Empty {
		return protocolType != "" && len(protocols) > 0
	}
	return protocolType == g.ProtocolType && slices.ContainsFunc(protocols, func(p state.Protocol) bool {
		return g.roster.supported[p.Name] == len(g.roster.order)
	})
}

// handOut tells a new dynamic member the id to join with (KIP-394).
func (j *joiner) handOut(id string) {
	g := j.g
	cost := pendingCost + int64(len(id))
	if len(g.pending) >= g.limits.MaxSize {
		j.refuse("", ErrGroupFull)
		return
	}
	if cost > g.Newcomers.Left {
		j.refuse("", ErrCoordinatorNotAvailable)
		return
	}
	g.Newcomers.Used += cost
	g.pending[id] = j.now.Add(j.r.SessionTimeout)
	g.wakeAt(g.pending[id])
	j.refuse(id, ErrMemberIDRequired)
}

// joinNew adds a member that the group has not seen.
func (j *joiner) joinNew(id string) {
	g, r := j.g, j.r
	m := &member{
		id: id, instance: r.Instance, clientID: r.ClientID, clientHost: r.ClientHost, rebalanceTimeout: r.RebalanceTimeout,
		sessionTimeout: r.SessionTimeout, protocols: r.Protocols, join: j.w, fresh: true,
	}
	m.cost = m.bytes()
	if !j.fits(m.cost) {
		return
	}
	if m.cost > g.Newcomers.Left {
		j.refuse("", ErrCoordinatorNotAvailable)
		return
	}
	g.removePending(id)
	g.Newcomers.Used += m.cost
	if len(g.roster.order) == 0 {
		g.ProtocolType = r.ProtocolType
	}
	g.roster.add(m)
	if g.leader == "" {
		g.leader = id
	}
	if g.Phase == Preparing && g.Rebalance.Initial {
		g.Rebalance.newcomer = true
	}
	// A new member cannot send heartbeats, since it does not know its id yet. If its client goes away while the JoinGroup
	// waits, only this ends it.
	m.deadline = j.now.Add(g.limits.NewMemberTimeout)
	g.wakeAt(m.deadline)
	g.rebalanceOrComplete("member "+id+" joins: "+r.Reason, j.now)
}

// fits reports whether the group may grow by so many bytes; if not, it refuses.
func (j *joiner) fits(more int64) bool {
	if j.g.bytes()+more <= j.g.limits.MaxGroupBytes {
		return true
	}
	j.refuse("", ErrGroupFull)
	return false
}

// fitsAgain does the same for a member that offers something else than before.
func (j *joiner) fitsAgain(m *member) bool {
	return j.fits((&member{protocols: j.r.Protocols}).bytes() - (&member{protocols: m.protocols}).bytes())
}

// joinKnown handles a JoinGroup with a member id.
func (j *joiner) joinKnown() {
	g, r := j.g, j.r
	if _, ok := g.pending[r.Member]; ok {
		if r.Instance != "" {
			j.refuse(r.Member, ErrUnknownMember) // ids are handed out to dynamic members only
			return
		}
		j.joinNew(r.Member)
		return
	}
	m, err := g.validate(r.Member, r.Instance)
	if err != nil {
		j.refuse(r.Member, err)
		return
	}
	same := protocols.Same(m.protocols, r.Protocols)
	switch {
	case g.Phase == Preparing:
		j.rejoin(m)
	case same && g.Phase == Completing, same && g.Phase == Stable && m.id != g.leader:
		// Perhaps it missed the answer of its last JoinGroup; or it asks without need. The generation that it is told is the
		// current one; SyncGroup follows. (A leader that joins a stable group wants a rebalance: topics may have changed.)
		j.w.Answer(g.joined(m), nil)
	default:
		j.rejoin(m)
	}
}

// rejoin takes over what a member offers now; a rebalance begins or goes on.
func (j *joiner) rejoin(m *member) {
	if !j.fitsAgain(m) {
		return
	}
	j.update(m)
	j.g.rebalanceOrComplete("member "+m.id+" joins again: "+j.r.Reason, j.now)
}

func (j *joiner) update(m *member) {
	j.g.roster.offer(m, j.r.Protocols)
	m.rebalanceTimeout, m.sessionTimeout = j.r.RebalanceTimeout, j.r.SessionTimeout
	j.g.roster.await(m, j.w)
}

// replaceStatic gives a static member that came back without its member id a new one, and fences the old (KIP-345). If the group
// is stable and its protocol stays, nobody else needs to know.
func (j *joiner) replaceStatic(m *member, id string) {
	g, r, now := j.g, j.r, j.now
	if !j.fitsAgain(m) {
		return
	}
	old, leader := m.id, g.leader
	g.roster.answer(m, JoinResponse{Member: old}, ErrFencedInstance)
	if m.sync != nil {
		m.sync.Answer(SyncResponse{}, ErrFencedInstance)
		m.sync = nil
	}
	g.roster.rename(m, id)
	if g.leader == old {
		g.leader = id
	}
	if _, ok := g.pendingSync[old]; ok {
		delete(g.pendingSync, old)
		g.pendingSync[id] = struct{}{}
	}
	j.update(m)
	g.beat(m, now)

	switch {
	case g.Phase == Stable && g.roster.vote() == g.Protocol:
		g.want(func(time.Time) {
			resp := g.joined(m)
			if r.SkipAssignment {
				resp.SkipAssignment = m.id == g.leader
			} else {
				// An older client must not believe that it leads: it would send an assignment of its own.
				resp.Leader, resp.Members = leader, nil
			}
			g.roster.answer(m, resp, nil)
		})
	case g.Phase == Preparing:
		g.maybeComplete(now)
	default:
		// The leader may know the old id: its assignment would not reach the new one.
		g.prepare("static member "+r.Instance+" joins again: "+r.Reason, now)
	}
}
