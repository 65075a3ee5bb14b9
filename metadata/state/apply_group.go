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

func (a *step) commitOffsets(op CommitOffsets) Result {
	if tooLong(op.Group, op.Member, op.Instance) {
		return a.result(CodeInvalid)
	}
	for i := range op.Offsets {
		if tooLong(op.Offsets[i].Metadata) {
			return a.result(CodeInvalid)
		}
	}
	g, exists := a.groups.get(op.Group)
	if c := checkCommit(g, &op); c != CodeOK {
		return a.result(c)
	}
	var codes []Code
	for i, o := range op.Offsets {
		if !a.topics.hasPartition(o.TopicPartition) {
			if codes == nil {
				codes = make([]Code, len(op.Offsets))
			}
			codes[i] = CodeUnknownTopic
			continue
		}
		if !exists { // a group that only keeps offsets is made by its first one
			exists = true
			a.groups.set(Group{ID: op.Group, Changed: a.clock.latest}, a.index)
			a.changed(Change{Kind: ChangeGroup, Group: op.Group})
		}
		a.offsets.set(op.Group, CommittedOffset{OffsetCommit: o, Committed: a.clock.latest}, a.index)
	}
	return Result{Index: a.index, Partitions: codes}
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
	a.offsets.removeIf(id, a.index, func(*CommittedOffset) bool { return true })
	a.changed(Change{Kind: ChangeGroup, Group: id})
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
		a.offsets.removeIf(id, a.index, func(o *CommittedOffset) bool { return expires(g, o, op.Before) })
		if _, left := a.offsets.get(id); !left {
			a.removeGroup(id)
		}
	}
	return a.number(int64(len(ids)))
}

func (s *State) losesOffsets(g *group, before int64) bool {
	of, ok := s.offsets.get(g.ID)
	return !ok || g.Changed < before && slices.ContainsFunc(of.list, func(c committed) bool { return expires(g, &c.CommittedOffset, before) })
}

func expires(g *group, o *CommittedOffset, before int64) bool {
	return g.ProtocolType != "" || o.Committed < before
}
