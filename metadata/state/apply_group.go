package state

import "slices"

func (a *step) claimGroup(c *Command, op ClaimGroup) Result {
	if tooLong(op.Group) {
		return a.result(CodeInvalid)
	}
	var standing uint64
	if old, ok := a.groups.claim(op.Group); ok {
		standing = old.id
	}
	if op.Replaces != standing {
		return Result{Code: CodeConflict, Index: a.index, Number: int64(standing)}
	}
	a.groups.setClaim(&claim{group: op.Group, session: c.Session, id: a.index}, a.index)
	a.changed(Change{Kind: ChangeGroup, Group: op.Group})
	return a.result(CodeOK)
}

func (a *step) writeGroup(c *Command, op WriteGroup) Result {
	if !op.Group.valid() {
		return a.result(CodeInvalid)
	}
	standing, ok := a.groups.claim(op.Group.ID)
	if !ok || standing.id != op.Claim || standing.session != c.Session {
		return a.result(CodeConflict)
	}
	a.groups.set(op.Group, a.index)
	a.changed(Change{Kind: ChangeGroup, Group: op.Group.ID})
	return a.result(CodeOK)
}

// valid: every member has an id of its own, no two share an instance, and a group is empty if and only if it has no members.
func (g *Group) valid() bool {
	if g.State > GroupStable || (g.State == GroupEmpty) != (len(g.Members) == 0) || g.Generation < 0 ||
		tooLong(g.ID, g.ProtocolType, g.Protocol, g.Leader) {
		return false
	}
	ids, instances := make(map[string]bool, len(g.Members)), make(map[string]bool)
	for i := range g.Members {
		m := &g.Members[i]
		if m.ID == "" || ids[m.ID] || instances[m.Instance] || tooLong(m.ID, m.Instance, m.ClientID, m.ClientHost) {
			return false
		}
		ids[m.ID] = true
		if m.Instance != "" {
			instances[m.Instance] = true
		}
	}
	return true
}

func (a *step) commitOffsets(c *Command, op CommitOffsets) Result {
	if tooLong(op.Group, op.Member, op.Instance) || op.Accepted >= a.index {
		return a.result(CodeInvalid)
	}
	for i := range op.Offsets {
		if tooLong(op.Offsets[i].Metadata) {
			return a.result(CodeInvalid)
		}
	}
	g, exists := a.groups.get(op.Group)
	if code := checkCommit(g, &op); code != CodeOK {
		return a.result(code)
	}
	var codes []Code
	by := a.issuer(c)
	for i, o := range op.Offsets {
		if code := a.checkOffset(&op, o.TopicPartition, by); code != CodeOK {
			if codes == nil {
				codes = make([]Code, len(op.Offsets))
			}
			codes[i] = code
			continue
		}
		if !exists { // a group that only keeps offsets is made by its first one
			exists = true
			a.groups.set(Group{ID: op.Group, Changed: a.clock.latest}, a.index)
			a.changed(Change{Kind: ChangeGroup, Group: op.Group})
		}
		kept := committed{TopicPartition: o.TopicPartition, offset: o.Offset, leaderEpoch: o.LeaderEpoch, metadata: o.Metadata, time: a.clock.latest}
		if op.Accepted > 0 {
			kept.index, kept.by = a.index, by
		}
		a.offsets.set(op.Group, kept, a.index)
	}
	return Result{Index: a.index, Partitions: codes}
}

// issuer tells the sessions apart that are open at the same time: the node id + 1, or 0 for no session. Of a session that is closed
// nothing can be late: its commands are refused.
func (a *step) issuer(c *Command) uint32 {
	if s, ok := a.sessions.get(c.Session); ok {
		return uint32(s.NodeID) + 1
	}
	return 0
}

// checkOffset decides whether one offset of a commit may be kept. A commit that an agent held for long, while its client went to another,
// must not undo what the client has committed, or had deleted, since; what was deleted is not remembered one by one, so it
// counts as any.
func (a *step) checkOffset(op *CommitOffsets, tp TopicPartition, by uint32) Code {
	if !a.topics.hasPartition(tp) {
		return CodeUnknownTopic
	}
	if op.Accepted == 0 {
		return CodeOK
	}
	standing := a.offsets.lookup(op.Group, tp)
	if standing == nil && op.Accepted < a.misc.offsetsRemoved || standing != nil && standing.overtook(op.Accepted, by) {
		return CodeStale
	}
	return CodeOK
}

// checkCommit decides as Apache Kafka's ClassicGroup.validateOffsetCommit does for commits outside of transactions. g is nil if there
// is no such group.
func checkCommit(g *group, op *CommitOffsets) Code {
	if op.Generation < 0 && (g == nil || g.State == GroupEmpty) {
		return CodeOK // an admin client, or a consumer that assigns its partitions itself
	}
	if g == nil {
		return CodeIllegalGeneration
	}
	if op.Generation < 0 && op.Member == "" && op.Instance == "" {
		return CodeUnknownMember
	}
	if op.Instance != "" {
		i := slices.IndexFunc(g.Members, func(m Member) bool { return m.Instance == op.Instance })
		if i < 0 {
			return CodeUnknownMember
		}
		if g.Members[i].ID != op.Member {
			return CodeFencedInstance
		}
	} else if !slices.ContainsFunc(g.Members, func(m Member) bool { return m.ID == op.Member }) {
		return CodeUnknownMember
	}
	if op.Generation != g.Generation {
		return CodeIllegalGeneration
	}
	if g.State == GroupCompleting {
		return CodeRebalanceInProgress
	}
	return CodeOK
}

func (a *step) deleteGroup(op DeleteGroup) Result {
	g, ok := a.groups.get(op.Group)
	if !ok {
		return a.result(CodeNoSuchGroup)
	}
	if g.State != GroupEmpty {
		return a.result(CodeGroupNotEmpty)
	}
	a.removeGroup(op.Group)
	return a.result(CodeOK)
}

// removeGroup takes the claim along: a group that nobody is in is worth no more than one that never was, and there is no end to
// the names that clients invent. Whoever coordinated it claims it again if members come back.
func (a *step) removeGroup(id string) {
	a.groups.remove(id, a.index)
	a.groups.removeClaim(id, a.index)
	a.dropOffsets(id, func(*committed) bool { return true })
	a.changed(Change{Kind: ChangeGroup, Group: id})
}

// dropOffsets drops those offsets of a group for which drop answers true, and notes that offsets were dropped: a commit that was
// accepted before must not bring them back.
func (a *step) dropOffsets(group string, drop func(*committed) bool) {
	if a.offsets.removeIf(group, a.index, drop) > 0 && a.misc.offsetsRemoved < a.index {
		a.misc.offsetsRemoved = a.index
		a.misc.touch(a.index)
	}
}

// expireOffsets decides as Apache Kafka does: the offsets of a group that had members count from when it lost the last one; those of
// a group that never had any count one by one, from when they were committed; a group without members and offsets goes at once. It
// also drops claims on groups that do not exist: what was to be written under them never was.
func (a *step) expireOffsets(op ExpireOffsets) Result {
	if op.Limit < 0 {
		return a.result(CodeInvalid)
	}
	op.Before = min(op.Before, a.clock.steady) // R13
	var ids []string
	for g := range a.groups.groups.all() {
		if g.State == GroupEmpty && a.losesOffsets(g, op.Before) {
			ids = append(ids, g.ID)
		}
	}
	for c := range a.groups.claims.all() {
		if _, ok := a.groups.get(c.group); !ok {
			ids = append(ids, c.group)
		}
	}
	slices.Sort(ids)
	ids = ids[:min(int(op.Limit), len(ids))]
	for _, id := range ids {
		g, ok := a.groups.get(id)
		if !ok {
			a.groups.removeClaim(id, a.index)
			continue
		}
		a.dropOffsets(id, func(c *committed) bool { return expires(g, c, op.Before) })
		if _, left := a.offsets.get(id); !left {
			a.removeGroup(id)
		}
	}
	return a.number(int64(len(ids)))
}

func (s *State) losesOffsets(g *group, before int64) bool {
	of, ok := s.offsets.get(g.ID)
	return !ok || g.Changed < before && slices.ContainsFunc(of.list, func(c committed) bool { return expires(g, &c, before) })
}

func expires(g *group, c *committed, before int64) bool {
	return g.ProtocolType != "" || c.time < before
}
