package state

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
	offsetStep{a}.drop(id, func(*committed) bool { return true })
	a.changed(Change{Kind: ChangeGroup, Group: id})
}
