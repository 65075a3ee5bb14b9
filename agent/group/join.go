package group

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

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

// Join waits until the member is part of a generation that is in the journal. Errors: ErrInvalidGroupID, ErrInvalidSessionTimeout,
// ErrInconsistentProtocol, ErrGroupFull, ErrMemberIDRequired, ErrUnknownMember, ErrFencedInstance, ErrRebalanceInProgress (another
// JoinGroup of the same member came), ErrInvalidRequest, ErrNotCoordinator, ErrCoordinatorNotAvailable.
func (c *Coordinator) Join(ctx context.Context, r JoinRequest) (JoinResponse, error) {
	refused := JoinResponse{Member: r.Member}
	if r.Group == "" || len(r.Group) > MaxGroupID {
		return refused, ErrInvalidGroupID
	}
	if !r.keepable() {
		return refused, ErrInvalidRequest
	}
	if r.SessionTimeout < c.cfg.MinSessionTimeout || r.SessionTimeout > c.cfg.MaxSessionTimeout {
		return refused, ErrInvalidSessionTimeout
	}
	r.RebalanceTimeout = max(r.RebalanceTimeout, 0)
	r.Protocols = distinct(r.Protocols)
	need := needAny
	if r.Member != "" {
		need = needMembers
	}
	resp, err := call(ctx, c, r.Group, need, func(g *group, w *waiter[JoinResponse], now time.Time) { g.join(&r, w, now) })
	if err == errAbsent {
		err = ErrUnknownMember
	}
	if err != nil && resp.Member == "" {
		return refused, err
	}
	return resp, err
}

// maxName bounds the names that a member brings, so that a member id made of one can still be kept.
const maxName = MaxGroupID - len("-00000000-0000-0000-0000-000000000000")

// keepable reports whether the journal takes all names of the request.
func (r *JoinRequest) keepable() bool {
	for _, p := range r.Protocols {
		if len(p.Name) > maxName {
			return false
		}
	}
	return max(len(r.Instance), len(r.ClientID), len(r.ClientHost), len(r.ProtocolType)) <= maxName
}

// distinct drops all but the first protocol of a name, so that counting who supports what stays right.
func distinct(protocols []state.Protocol) []state.Protocol {
	seen := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(protocols), func(p state.Protocol) bool {
		again := seen[p.Name]
		seen[p.Name] = true
		return again
	})
}

// join handles a JoinGroup; w is answered now or when the generation is known.
func (g *group) join(r *JoinRequest, w *waiter[JoinResponse], now time.Time) {
	switch {
	case !g.accepts(r.Member):
		g.remove(r.Member)
		g.maybeComplete(now)
		g.afterWrite(func() { w.answer(JoinResponse{}, ErrGroupFull) })
	case !g.supports(r.ProtocolType, r.Protocols):
		w.answer(JoinResponse{Member: r.Member}, ErrInconsistentProtocol)
	case r.Member != "":
		g.joinKnown(r, w, now)
	case r.Instance != "":
		id := r.Instance + "-" + uuid.NewString()
		if m := g.roster.instance(r.Instance); m != nil {
			g.replaceStatic(m, id, r, w, now)
			return
		}
		g.joinNew(id, r, w, now)
	case r.MemberIDRequired:
		g.handOut(r.ClientID+"-"+uuid.NewString(), r, w, now)
	default:
		g.joinNew(r.ClientID+"-"+uuid.NewString(), r, w, now)
	}
}

// accepts applies group.max.size. While members join, those that wait count: the last ones to come back to a group that
// is too large are sent away.
func (g *group) accepts(id string) bool {
	m := g.roster.byID[id]
	switch g.phase {
	case phaseEmpty:
		return true
	case phasePreparing:
		return m != nil && m.join != nil || g.roster.joined < g.cfg.MaxSize
	}
	return m != nil || len(g.roster.order) < g.cfg.MaxSize
}

// handOut tells a new dynamic member the id to join with (KIP-394).
func (g *group) handOut(id string, r *JoinRequest, w *waiter[JoinResponse], now time.Time) {
	cost := pendingCost + int64(len(id))
	if len(g.pending) >= g.cfg.MaxSize {
		w.answer(JoinResponse{}, ErrGroupFull)
		return
	}
	if cost > g.budgetLeft {
		w.answer(JoinResponse{}, ErrCoordinatorNotAvailable)
		return
	}
	g.newcomers += cost
	g.pending[id] = now.Add(r.SessionTimeout)
	g.wakeAt(g.pending[id])
	w.answer(JoinResponse{Member: id}, ErrMemberIDRequired)
}

// joinNew adds a member that the group has not seen.
func (g *group) joinNew(id string, r *JoinRequest, w *waiter[JoinResponse], now time.Time) {
	m := &member{
		id: id, instance: r.Instance, clientID: r.ClientID, clientHost: r.ClientHost, rebalanceTimeout: r.RebalanceTimeout,
		sessionTimeout: r.SessionTimeout, protocols: r.Protocols, join: w, fresh: true,
	}
	m.cost = m.bytes()
	if !g.fits(m.cost, w) {
		return
	}
	if m.cost > g.budgetLeft {
		w.answer(JoinResponse{}, ErrCoordinatorNotAvailable)
		return
	}
	g.removePending(id)
	g.newcomers += m.cost
	if len(g.roster.order) == 0 {
		g.protocolType = r.ProtocolType
	}
	g.roster.add(m)
	if g.leader == "" {
		g.leader = id
	}
	if g.phase == phasePreparing && g.rebalance.initial {
		g.rebalance.newcomer = true
	}
	// A new member cannot send heartbeats, since it does not know its id yet. If its client goes away while the JoinGroup
	// waits, only this ends it.
	g.expireAt(m, now.Add(g.cfg.NewMemberTimeout))
	g.rebalanceOrComplete("member "+id+" joins: "+r.Reason, now)
}

// fits reports whether the group may grow by so many bytes; if not, it answers w.
func (g *group) fits(more int64, w *waiter[JoinResponse]) bool {
	if g.bytes()+more <= g.cfg.MaxGroupBytes {
		return true
	}
	w.answer(JoinResponse{}, ErrGroupFull)
	return false
}

// joinKnown handles a JoinGroup with a member id.
func (g *group) joinKnown(r *JoinRequest, w *waiter[JoinResponse], now time.Time) {
	refuse := func(err error) { w.answer(JoinResponse{Member: r.Member}, err) }
	if _, ok := g.pending[r.Member]; ok {
		if r.Instance != "" {
			refuse(ErrUnknownMember) // ids are handed out to dynamic members only
			return
		}
		g.joinNew(r.Member, r, w, now)
		return
	}
	m, err := g.validate(r.Member, r.Instance)
	if err != nil {
		refuse(err)
		return
	}
	same := m.matches(r.Protocols)
	switch {
	case g.phase == phasePreparing:
		g.rejoin(m, r, w, now)
	case same && g.phase == phaseCompleting, same && g.phase == phaseStable && m.id != g.leader:
		// Perhaps it missed the answer of its last JoinGroup; or it asks without need. The generation that it is told is the
		// current one; SyncGroup follows. (A leader that joins a stable group wants a rebalance: topics may have changed.)
		w.answer(g.joined(m), nil)
	default:
		g.rejoin(m, r, w, now)
	}
}

// rejoin takes over what a member offers now; a rebalance begins or goes on.
func (g *group) rejoin(m *member, r *JoinRequest, w *waiter[JoinResponse], now time.Time) {
	if !g.fits((&member{protocols: r.Protocols}).bytes()-(&member{protocols: m.protocols}).bytes(), w) {
		return
	}
	g.update(m, r)
	g.roster.await(m, w)
	g.rebalanceOrComplete("member "+m.id+" joins again: "+r.Reason, now)
}

func (g *group) update(m *member, r *JoinRequest) {
	g.roster.offer(m, r.Protocols)
	m.rebalanceTimeout, m.sessionTimeout = r.RebalanceTimeout, r.SessionTimeout
}

// replaceStatic gives a static member that came back without its member id a new one, and fences the old (KIP-345). If the group
// is stable and its protocol stays, nobody else needs to know.
func (g *group) replaceStatic(m *member, id string, r *JoinRequest, w *waiter[JoinResponse], now time.Time) {
	if !g.fits((&member{protocols: r.Protocols}).bytes()-(&member{protocols: m.protocols}).bytes(), w) {
		return
	}
	old, leader := m.id, g.leader
	g.roster.answer(m, JoinResponse{Member: old}, ErrFencedInstance)
	if m.sync != nil {
		m.sync.answer(SyncResponse{}, ErrFencedInstance)
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
	g.update(m, r)
	g.roster.await(m, w)
	g.beat(m, now)

	switch {
	case g.phase == phaseStable && g.roster.vote() == g.protocol:
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
	case g.phase == phasePreparing:
		g.maybeComplete(now)
	default:
		// The leader may know the old id: its assignment would not reach the new one.
		g.prepare("static member "+r.Instance+" joins again: "+r.Reason, now)
	}
}
