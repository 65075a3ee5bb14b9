package state

import "slices"

// offsetStep is the part of a step that commits, expires and drops the offsets of groups.
type offsetStep struct{ *step }

func (a offsetStep) commit(c *Command, op CommitOffsets) Result {
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
		if code := a.check(&op, o.TopicPartition, by); code != CodeOK {
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
func (a offsetStep) issuer(c *Command) uint32 {
	if s, ok := a.sessions.get(c.Session); ok {
		return uint32(s.NodeID) + 1
	}
	return 0
}

// check decides whether one offset of a commit may be kept. A commit that an agent held for long, while its client went to another,
// must not undo what the client has committed, or had deleted, since; what was deleted is not remembered one by one, so it
// counts as any.
func (a offsetStep) check(op *CommitOffsets, tp TopicPartition, by uint32) Code {
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

// drop drops those offsets of a group for which drop answers true, and notes that offsets were dropped: a commit that was
// accepted before must not bring them back.
func (a offsetStep) drop(group string, drop func(*committed) bool) {
	if a.offsets.removeIf(group, a.index, drop) > 0 && a.misc.offsetsRemoved < a.index {
		a.misc.offsetsRemoved = a.index
		a.misc.touch(a.index)
	}
}

// expire decides as Apache Kafka does: the offsets of a group that had members count from when it lost the last one; those of
// a group that never had any count one by one, from when they were committed; a group without members and offsets goes at once. It
// also drops claims on groups that do not exist: what was to be written under them never was.
func (a offsetStep) expire(op ExpireOffsets) Result {
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
		a.drop(id, func(c *committed) bool { return expires(g, c, op.Before) })
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
