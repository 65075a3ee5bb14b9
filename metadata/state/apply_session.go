package state

import "fmt"

func (a *step) openSession(op OpenSession) Result {
	if op.Session.IsZero() || op.NodeID < -1 || op.Level == 0 || tooLong(op.Agent, op.Address, op.Zone, op.Peer) || len(op.Listeners) > MaxListeners {
		return a.result(CodeInvalid)
	}
	for _, l := range op.Listeners {
		if tooLong(l.Name, l.Address) {
			return a.result(CodeInvalid)
		}
	}
	if _, ok := a.sessions.get(op.Session); ok || a.sessions.hasEnded(op.Session) {
		return a.result(CodeSessionExists)
	}
	if op.Level < a.level {
		return a.result(CodeLevel)
	}
	if op.Agent != "" && a.sessions.nameOpen(op.Agent) {
		return a.result(CodeConflict)
	}
	node, ok := a.misc.nodeFor(op.Agent, op.NodeID)
	if !ok {
		return a.result(CodeConflict)
	}
	a.misc.touch(a.index)
	a.sessions.insert(&session{Session: Session{
		ID: op.Session, NodeID: node, Agent: op.Agent, Address: op.Address, Zone: op.Zone,
		Opened: a.index, Time: a.clock.latest, Level: op.Level, Peer: op.Peer, Listeners: op.Listeners,
	}}, a.index)
	a.changed(Change{Kind: ChangeSession})
	return a.number(int64(node))
}

// leaveSession carries out LeaveSession and StepAside: what is to be known of the session from now on.
func (a *step) leaveSession(session UUID, leaving, aside bool) Result {
	s, ok := a.sessions.get(session)
	gone := ok && s.Leaving && !s.Aside // for good
	if !ok || s.Closed || gone || s.Leaving == leaving && s.Aside == aside {
		return a.result(CodeOK)
	}
	s, _ = a.sessions.edit(session, a.index)
	s.Leaving, s.Aside = leaving, aside
	a.sessions.rehash(s)
	a.changed(Change{Kind: ChangeSession})
	return a.result(CodeOK)
}

func (a *step) closeSession(op CloseSession) Result {
	s, ok := a.sessions.get(op.Session)
	if !ok || s.Closed {
		return a.result(CodeOK)
	}
	s, _ = a.sessions.edit(op.Session, a.index)
	for i := range s.lanes {
		a.sessions.settle(s, i, s.lanes[i].decided())
	}
	s.Closed = true
	a.sessions.rehash(s)
	if a.objects.owners[s.ID] == 0 {
		a.sessions.end(s, a.index)
	}
	a.changed(Change{Kind: ChangeSession})
	return a.result(CodeOK)
}

// dereference is told of every extent that is dropped.
func (a *step) dereference(o *object) {
	if !a.objects.dereference(o) {
		return
	}
	if s, ok := a.sessions.get(o.name.Owner); ok && s.Closed {
		a.sessions.end(s, a.index)
	}
}

func (a *step) raiseLevel(op RaiseLevel) (Result, error) {
	if op.Level <= a.level {
		return a.result(CodeOK), nil
	}
	for s := range a.sessions.trie.all() {
		if !s.Closed && s.Level < op.Level {
			return a.result(CodeLevel), nil
		}
	}
	if op.Level > Level {
		return Result{}, fmt.Errorf("%w: level %d", ErrLevel, op.Level)
	}
	a.level = op.Level
	return a.result(CodeOK), nil
}
