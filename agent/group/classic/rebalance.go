package classic

import (
	"slices"
	"time"
)

// allJoined reports whether nobody is missing any more.
func (g *Group) allJoined() bool {
	return g.roster.joined == len(g.roster.order) && len(g.pending) == 0
}

// rebalanceOrComplete begins a rebalance; if one is under way, it ends if nobody is missing.
func (g *Group) rebalanceOrComplete(reason string, now time.Time) {
	if g.Phase == Preparing {
		g.maybeComplete(now)
		return
	}
	g.prepare(reason, now)
}

// prepare begins a rebalance: everybody is asked to join again.
func (g *Group) prepare(reason string, now time.Time) {
	if g.Phase == Completing {
		for _, m := range g.roster.order {
			m.assignment = nil
			if m.sync != nil {
				m.sync.Answer(SyncResponse{}, ErrRebalanceInProgress)
				m.sync = nil
				g.beat(m, now)
			}
		}
	}
	g.syncBy = time.Time{}

	initial := g.Phase == Empty
	g.Phase = Preparing
	g.Rebalance = Rebalance{Initial: initial, Reason: reason, Completing: g.Rebalance.Completing}
	if initial {
		// The group is new: give the members some time to come all at once.
		delay := g.limits.InitialRebalanceDelay
		g.wakeAt(g.Rebalance.delayJoin(delay, max(g.roster.rebalanceTimeout()-delay, 0), now))
		return
	}
	if g.allJoined() {
		g.completeJoin(now)
		return
	}
	g.wakeAt(g.Rebalance.joinWithin(g.roster.rebalanceTimeout(), now))
}

// delayJoin begins or extends an initial delay; joinWithin sets the rebalance timeout. Both answer when it ends.
func (r *Rebalance) delayJoin(delay, remaining time.Duration, now time.Time) time.Time {
	r.delaying, r.delay, r.remaining, r.by = true, delay, remaining, now.Add(delay)
	return r.by
}

func (r *Rebalance) joinWithin(d time.Duration, now time.Time) time.Time {
	r.delaying, r.by = false, now.Add(d)
	return r.by
}

func (g *Group) maybeComplete(now time.Time) {
	if g.Phase == Preparing && !g.Rebalance.Initial && g.allJoined() {
		g.completeJoin(now)
	}
}

// joinTimeout is what happens at rebalance.by.
func (g *Group) joinTimeout(now time.Time) {
	r := &g.Rebalance
	if r.delaying && r.newcomer && r.remaining != 0 {
		r.newcomer = false
		g.wakeAt(r.delayJoin(min(g.limits.InitialRebalanceDelay, r.remaining), max(r.remaining-r.delay, 0), now))
		return
	}
	g.completeJoin(now)
}

// completeJoin ends the joining: dynamic members that are missing are out, and the rest is the next generation. Nobody is told
// before it is in the journal.
func (g *Group) completeJoin(now time.Time) {
	g.Rebalance.by = time.Time{}
	for _, m := range slices.Clone(g.roster.order) {
		if m.join == nil && m.instance == "" {
			g.remove(m.id)
		}
	}
	leader, ok := g.roster.elect(g.leader)
	if len(g.roster.order) > 0 && !ok {
		// Only static members, none of which came: wait for one, or for their sessions to end.
		g.wakeAt(g.Rebalance.joinWithin(g.roster.rebalanceTimeout(), now))
		return
	}
	g.leader = leader
	g.Generation++
	for _, m := range g.roster.order {
		m.assignment = nil
	}
	if len(g.roster.order) == 0 {
		g.Phase, g.Protocol = Empty, ""
		g.want(nil)
		return
	}
	g.Phase, g.Protocol = Completing, g.roster.vote()
	g.want(g.tellGeneration)
}

// tellGeneration answers the waiting JoinGroups of a generation that is in the journal.
func (g *Group) tellGeneration(now time.Time) {
	g.Rebalance.Completing++
	for _, m := range g.roster.order {
		g.Newcomers.Used -= m.cost // the journal knows it now
		m.cost, m.fresh = 0, false
		g.roster.answer(m, g.joined(m), nil)
		g.beat(m, now)
	}
	g.awaitSync(now)
}

func (g *Group) awaitSync(now time.Time) {
	for _, m := range g.roster.order {
		g.pendingSync[m.id] = struct{}{}
	}
	g.syncBy = now.Add(g.roster.rebalanceTimeout())
	g.wakeAt(g.syncBy)
}

// joined is the answer to the JoinGroup of a member of the current generation.
func (g *Group) joined(m *member) JoinResponse {
	resp := JoinResponse{
		Generation: g.Generation, ProtocolType: g.ProtocolType, Protocol: g.Protocol, Leader: g.leader, Member: m.id,
	}
	if m.id == g.leader {
		resp.Members = g.roster.subscriptions(g.Protocol)
	}
	return resp
}

// Expire does what time demands: member ids that were not used, sessions that ended, members that did not join or sync in
// time. It stops early when a write is wanted; the caller commits that and calls again. It answers how many members it expelled.
func (g *Group) Expire(now time.Time) (expired int) {
	for id, at := range g.pending {
		if now.Before(at) {
			continue
		}
		g.removePending(id)
		if g.Phase == Preparing && g.allJoined() {
			g.completeJoin(now)
		}
		if g.Wanted != nil {
			return expired
		}
	}
	for _, m := range slices.Clone(g.roster.order) {
		if !m.overdue(now) || g.roster.byID[m.id] != m {
			continue
		}
		expired++
		g.expel(m, "session of "+m.id+" ended", now)
		if g.Wanted != nil {
			return expired
		}
	}
	if by := g.Rebalance.by; g.Phase == Preparing && !by.IsZero() && !now.Before(by) {
		g.joinTimeout(now)
	}
	if g.Wanted == nil && !g.syncBy.IsZero() && !now.Before(g.syncBy) {
		expired += g.syncTimeout(now)
	}
	if g.Wanted == nil {
		g.rewake()
	}
	return expired
}

// expel removes a member whose session ended.
func (g *Group) expel(m *member, reason string, now time.Time) {
	g.roster.answer(m, JoinResponse{}, ErrUnknownMember)
	g.remove(m.id)
	switch {
	case g.Phase == Stable || g.Phase == Completing:
		g.prepare(reason, now)
	case g.Phase == Preparing && g.allJoined():
		g.completeJoin(now)
	}
}

// syncTimeout removes the members that were told the generation and did not send SyncGroup.
func (g *Group) syncTimeout(now time.Time) (removed int) {
	g.syncBy = time.Time{}
	if len(g.pendingSync) == 0 || (g.Phase != Completing && g.Phase != Stable) {
		return 0
	}
	for _, m := range slices.Clone(g.roster.order) {
		if _, ok := g.pendingSync[m.id]; ok {
			g.remove(m.id)
			removed++
		}
	}
	g.prepare("members did not send SyncGroup", now)
	return removed
}

// rewake finds the next time at which expire has something to do.
func (g *Group) rewake() {
	g.Wake = time.Time{}
	for _, at := range g.pending {
		g.wakeAt(at)
	}
	for _, m := range g.roster.order {
		if !m.waiting() {
			g.wakeAt(m.deadline)
		}
	}
	if g.Phase == Preparing && !g.Rebalance.by.IsZero() {
		g.wakeAt(g.Rebalance.by)
	}
	if !g.syncBy.IsZero() {
		g.wakeAt(g.syncBy)
	}
}

// Deadlines changes every deadline; whole is what one is at least when it is set anew.
func (g *Group) Deadlines(change func(at time.Time, whole time.Duration) time.Time) {
	for id, at := range g.pending {
		g.pending[id] = change(at, g.limits.MinSessionTimeout)
	}
	for _, m := range g.roster.order {
		m.deadline = change(m.deadline, m.sessionTimeout)
	}
	for _, by := range []*time.Time{&g.Rebalance.by, &g.syncBy} {
		if !by.IsZero() {
			*by = change(*by, g.limits.MinSessionTimeout)
		}
	}
	g.rewake()
}

// Postpone moves every deadline by d, the time during which nobody could be heard.
func (g *Group) Postpone(d time.Duration) {
	g.Deadlines(func(at time.Time, _ time.Duration) time.Time { return at.Add(d) })
}
