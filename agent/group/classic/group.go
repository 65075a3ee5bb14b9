// Package classic is one consumer group of Kafka's classic protocol as a state machine: phases, members, deadlines, and what each call of
// a member makes of them. But for the ids that it makes up for members it is pure, told the time it is, and must never ask a clock, do I/O,
// take a lock or answer anybody before what the answer rests on is in the journal (Group.Wanted); who holds which group, and what clients are told of that, is package group's.
package classic

import (
	"time"

	"github.com/leat-stream/leat/metadata/state"
)

// Phase is what a group is doing, as DescribeGroups and ListGroups name it.
type Phase uint8

// The phases.
const (
	Empty      Phase = iota
	Preparing        // members are asked to join again; in the journal only if members left since, see Durable
	Completing       // generation and members are known, the leader's assignment is awaited
	Stable
)

// String implements fmt.Stringer.
func (p Phase) String() string {
	return [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable"}[p]
}

// Group is one group in memory: pure transitions without a lock, clock or I/O. Its actor owns it, calls one method at a time with the
// time it is, and afterwards commits what the group wants (Wanted) before it calls another. If that fails, the group
// is thrown away: what it became in memory has been told to nobody.
type Group struct {
	limits *Limits
	id     string

	Phase        Phase // like all that is exported for its actor to read, unless it says otherwise
	Generation   int32
	ProtocolType string // "" until somebody joined
	Protocol     string // the chosen one, "" if none
	leader       string // member id, "" if none
	roster       roster

	pending     map[string]time.Time // member ids handed out and not used yet (KIP-394), and when they expire
	pendingSync map[string]struct{}  // members of this generation that have not sent SyncGroup

	Rebalance Rebalance
	syncBy    time.Time // when those in pendingSync are removed; zero: never
	Wake      time.Time // Expire has nothing to do before; zero: nothing at all. The actor may put it off
	Wanted    *Write    // nil: nothing. The actor takes it

	Newcomers Budget
}

// Budget counts the bytes held for members and member ids that are in no journal.
type Budget struct {
	Used int64
	Left int64 // by which Used may grow; set by the actor before each event
}

// Rebalance is what a group in Preparing waits for.
type Rebalance struct {
	Initial    bool          // it began in an empty group: not over before the delay, even if all have joined
	delaying   bool          // by is the end of an initial delay, not of the rebalance timeout
	delay      time.Duration // that was set last
	remaining  time.Duration // by which the delay may still be extended
	newcomer   bool          // somebody joined during the delay
	by         time.Time     // zero: no deadline
	Reason     string        // of the last one, for people who read logs
	Completing uint64        // generations completed here, for the metrics
}

// Write is a state of the group that must be in the journal before Then is called.
type Write struct{ Then []func(now time.Time) }

// want asks for the group as it is now to be written; then (may be nil) tells those who wait for it.
func (g *Group) want(then func(now time.Time)) {
	if g.Wanted == nil {
		g.Wanted = &Write{}
	}
	if then != nil {
		g.Wanted.Then = append(g.Wanted.Then, then)
	}
}

// afterWrite calls f when what the current event made the group want is in the journal; at once if that is nothing.
func (g *Group) afterWrite(f func()) {
	if g.Wanted == nil {
		f()
		return
	}
	g.want(func(time.Time) { f() })
}

// Limits bound a group, and say how long it waits; the names in the comments are Kafka's.
type Limits struct {
	InitialRebalanceDelay time.Duration // group.initial.rebalance.delay.ms: an empty group waits so long for more members
	MinSessionTimeout     time.Duration // group.min.session.timeout.ms
	NewMemberTimeout      time.Duration // a JoinGroup of a new member that waits longer is given up
	MaxSize               int           // group.max.size, members of one group; Kafka sets no bound
	MaxGroupBytes         int64         // of one group in the journal: members, protocols, assignments
	MaxNewcomerBytes      int64         // of all members and member ids that are in no journal yet, over all groups
}

// pendingCost is what a member id that was handed out is charged, beside its length.
const pendingCost = 512

func newGroup(limits *Limits, id string) *Group {
	return &Group{
		limits: limits, id: id, roster: newRoster(), pending: map[string]time.Time{}, pendingSync: map[string]struct{}{},
		Newcomers: Budget{Left: limits.MaxNewcomerBytes},
	}
}

// Restore makes a group of what the journal has: every member gets a whole session, whoever had not sent SyncGroup yet
// gets a whole rebalance timeout.
func Restore(limits *Limits, d state.Group, now time.Time) *Group {
	g := newGroup(limits, d.ID)
	g.Generation, g.ProtocolType, g.Protocol, g.leader = d.Generation, d.ProtocolType, d.Protocol, d.Leader
	for i := range d.Members {
		m := restoreMember(&d.Members[i])
		g.roster.add(m)
		g.beat(m, now)
	}
	switch {
	case len(g.roster.order) == 0:
	case d.State == state.GroupCompleting:
		g.Phase = Completing
		g.awaitSync(now)
	default:
		g.Phase = Stable
		if g.leader == "" {
			g.prepare("members left before the group came here", now)
		}
	}
	return g
}

// Durable is the group as it goes into the journal. Nothing of it is changed afterwards.
//
// A group whose members are asked to join again because some have left is in the journal as a stable one without those, of the
// old generation, and without a leader, which no other group with members is: whoever restores it asks for the others again.
// Members that are new have been told nothing yet and are left out.
func (g *Group) Durable(now time.Time) state.Group {
	d := state.Group{
		ID: g.id, Generation: g.Generation, ProtocolType: g.ProtocolType, Protocol: g.Protocol, Leader: g.leader,
		Changed: now.UnixMilli(), Members: make([]state.Member, 0, len(g.roster.order)),
	}
	switch g.Phase {
	case Completing:
		d.State = state.GroupCompleting
	case Stable:
		d.State = state.GroupStable
	case Preparing:
		d.State, d.Leader = state.GroupStable, ""
	default:
		d.State = state.GroupEmpty
	}
	for _, m := range g.roster.order {
		if g.Phase != Preparing || !m.fresh {
			d.Members = append(d.Members, m.durable())
		}
	}
	if len(d.Members) == 0 {
		d.State = state.GroupEmpty
	}
	return d
}

// bytes is about how large the group is in the journal.
func (g *Group) bytes() int64 {
	n := int64(len(g.id) + len(g.ProtocolType) + len(g.Protocol) + len(g.leader) + 64)
	for _, m := range g.roster.order {
		n += m.bytes()
	}
	return n
}

// Idle reports whether memory knows nothing that the journal does not.
func (g *Group) Idle() bool {
	return g.Phase == Empty && len(g.pending) == 0 && g.Wanted == nil
}

// validate checks a member that claims to be in the group, and its group.instance.id if it has one.
func (g *Group) validate(id, instance string) (*member, error) {
	if instance != "" {
		current := g.roster.instance(instance)
		if current == nil {
			return nil, ErrUnknownMember
		}
		if current.id != id {
			return nil, ErrFencedInstance
		}
	}
	m := g.roster.byID[id]
	if m == nil {
		return nil, ErrUnknownMember
	}
	return m, nil
}

// remove forgets a member or a member id that was handed out. Whoever waits in its name must have been answered.
func (g *Group) remove(id string) {
	if m := g.roster.remove(id); m != nil {
		g.Newcomers.Used -= m.cost
	}
	if id == g.leader {
		g.leader = ""
		if len(g.roster.order) > 0 {
			g.leader = g.roster.order[0].id
		}
	}
	g.removePending(id)
	delete(g.pendingSync, id)
}

func (g *Group) removePending(id string) {
	if _, ok := g.pending[id]; ok {
		delete(g.pending, id)
		g.Newcomers.Used -= pendingCost + int64(len(id))
	}
}

// beat gives a member a whole session from now on.
func (g *Group) beat(m *member, now time.Time) {
	m.deadline = now.Add(m.sessionTimeout)
	g.wakeAt(m.deadline)
}

func (g *Group) wakeAt(at time.Time) {
	if g.Wake.IsZero() || at.Before(g.Wake) {
		g.Wake = at
	}
}
