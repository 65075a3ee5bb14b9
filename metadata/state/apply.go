package state

import "fmt"

// step is the application of one entry; State.index is the entry's already.
type step struct {
	*State
	changes []Change
}

func (a *step) changed(c Change) {
	c.Index = a.index
	a.changes = append(a.changes, c)
}

// result is a plain outcome.
func (a *step) result(c Code) Result { return Result{Code: c, Index: a.index} }

// number is a good outcome with a number.
func (a *step) number(n int64) Result { return Result{Index: a.index, Number: n} }

func (a *step) fence(l LeaderInfo) {
	a.misc.leader = l
	if len(a.misc.fences) == 0 && a.misc.nextProducer == 1 {
		a.misc.nextProducer = firstProducer(l.Session)
	}
	a.misc.addFence(a.index)
	a.misc.touch(a.index)
	a.clock.tick(l.Time)
	a.changed(Change{Kind: ChangeSession})
}

// command decides one command. Whatever is refused before do changes nothing, not even the time.
func (a *step) command(c *Command) (Result, error) {
	lane, ok := laneOf(c.Op)
	if !ok {
		return Result{}, fmt.Errorf("%w: %T", ErrUnknownCommand, c.Op)
	}
	if c.Session.IsZero() {
		if lane == LaneObjects || needsSession(c.Op) {
			return a.result(CodeInvalid), nil
		}
		return a.do(c)
	}
	s, ok := a.sessions.get(c.Session)
	if !ok || s.Closed {
		return a.result(CodeSessionClosed), nil
	}
	if c.Lane < 1 || c.Lane > laneCount || c.Number == 0 {
		return a.result(CodeInvalid), nil
	}
	s, _ = a.sessions.edit(c.Session, a.index)
	i := int(c.Lane - 1)
	a.sessions.settle(s, i, c.Settled)
	l := &s.lanes[i]
	switch {
	case c.Number <= l.settled:
		return a.result(CodeForgotten), nil
	case c.Number <= l.decided():
		return l.outcomes[c.Number-l.settled-1].result, nil
	case c.Number != l.decided()+1 || len(l.outcomes) >= MaxUnsettled:
		return a.result(CodeGap), nil
	}
	r := a.result(CodeInvalid)
	if lane == c.Lane {
		var err error
		if r, err = a.do(c); err != nil {
			return Result{}, err
		}
	}
	if s, ok = a.sessions.get(c.Session); ok && !s.Closed { // it may just have closed itself
		a.sessions.record(s, i, r)
	}
	return r, nil
}

// laneOf is the lane that an op belongs to; false if the op is unknown.
func laneOf(op Op) (Lane, bool) {
	switch op.(type) {
	case CommitObject, SkipObject:
		return LaneObjects, true
	case OpenSession, CloseSession, LeaveSession, StepAside, RaiseLevel, CreateTopic, DeleteTopic, CreatePartitions, AlterConfigs, AllocateProducerIDs,
		ExpireProducers, AdvanceLogStart, ClaimGroup, WriteGroup, CommitOffsets, DeleteGroup, ExpireOffsets, NoteTrim:
		return LaneOther, true
	}
	return 0, false
}

// needsSession tells the ops that mean nothing without an issuing session.
func needsSession(op Op) bool {
	switch op.(type) {
	case ClaimGroup, WriteGroup:
		return true
	}
	return false
}

// do carries out a command whose turn it is. An error stops the replica.
func (a *step) do(c *Command) (Result, error) {
	a.clock.tick(c.Time)
	switch op := c.Op.(type) {
	case OpenSession:
		return a.openSession(op), nil
	case CloseSession:
		return a.closeSession(op), nil
	case StepAside:
		return a.leaveSession(op.Session, !op.Back, !op.Back), nil
	case LeaveSession:
		return a.leaveSession(op.Session, true, false), nil
	case RaiseLevel:
		return a.raiseLevel(op)
	case CreateTopic:
		return a.createTopic(op), nil
	case DeleteTopic:
		return a.deleteTopic(op), nil
	case CreatePartitions:
		return a.createPartitions(op), nil
	case AlterConfigs:
		return a.alterConfigs(op), nil
	case CommitObject:
		return a.commitObject(c, op), nil
	case SkipObject:
		return a.result(CodeOK), nil
	case AllocateProducerIDs:
		return a.allocateProducerIDs(op), nil
	case ExpireProducers:
		return a.expireProducers(op), nil
	case AdvanceLogStart:
		return a.advanceLogStart(op), nil
	case ClaimGroup:
		return a.claimGroup(c, op), nil
	case WriteGroup:
		return a.writeGroup(c, op), nil
	case CommitOffsets:
		return offsetStep{a}.commit(c, op), nil
	case DeleteGroup:
		return a.deleteGroup(op), nil
	case ExpireOffsets:
		return offsetStep{a}.expire(op), nil
	case NoteTrim:
		return a.result(a.noteTrim(op)), nil
	}
	return Result{}, fmt.Errorf("%w: %T", ErrUnknownCommand, c.Op)
}

// maxString bounds every name and address that a command brings, as Kafka's protocol does.
const maxString = 1<<15 - 1

func tooLong(strings ...string) bool {
	for _, s := range strings {
		if len(s) > maxString {
			return true
		}
	}
	return false
}

func (s *State) noteTrim(op NoteTrim) Code {
	if op.Through > s.index {
		return CodeInvalid
	}
	if op.Through > s.misc.trimmed {
		s.misc.trimmed = op.Through
		s.misc.touch(s.index)
	}
	return CodeOK
}
