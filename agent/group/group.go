package group

import (
	"time"

	"github.com/leat-stream/leat/metadata/state"
)

// phase is what a group is doing, as DescribeGroups and ListGroups name it.
type phase uint8

const (
	phaseEmpty      phase = iota
	phasePreparing        // members are asked to join again; in the journal only if members left since, see durable
	phaseCompleting       // generation and members are known, the leader's assignment is awaited
	phaseStable
)

func (p phase) String() string {
	return [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable"}[p]
}

// group is one group in memory: pure transitions without a lock, clock or I/O. Its actor owns it, calls one method at a time with the
// time it is, and afterwards commits what the group wants (wanted) before it calls another. If that fails, the group
// is thrown away: what it became in memory has been told to nobody.
type group struct {
	cfg *Config
	id  string

	phase        phase
	generation   int32
	protocolType string // "" until somebody joined
	protocol     string // the chosen one, "" if none
	leader       string // member id, "" if none
	roster       roster

	pending     map[string]time.Time // member ids handed out and not used yet (KIP-394), and when they expire
	pendingSync map[string]struct{}  // members of this generation that have not sent SyncGroup

	rebalance rebalance
	syncBy    time.Time // when those in pendingSync are removed; zero: never
	wake      time.Time // expire has nothing to do before; zero: nothing at all
	wanted    *write

	newcomers budget
}

// budget counts the bytes held for members and member ids that are in no journal.
type budget struct {
	used int64
	left int64 // by which used may grow; set by the actor before each event
}

// rebalance is what a group in phasePreparing waits for.
type rebalance struct {
	initial    bool          // it began in an empty group: not over before the delay, even if all have joined
	delaying   bool          // by is the end of an initial delay, not of the rebalance timeout
	delay      time.Duration // that was set last
	remaining  time.Duration // by which the delay may still be extended
	newcomer   bool          // somebody joined during the delay
	by         time.Time     // zero: no deadline
	reason     string        // of the last one, for people who read logs
	completing uint64        // generations completed here, for the metrics
}

// write is a state of the group that must be in the journal before then is called.
type write struct{ then []func(now time.Time) }

// want asks for the group as it is now to be written; then (may be nil) tells those who wait for it.
func (g *group) want(then func(now time.Time)) {
	if g.wanted == nil {
		g.wanted = &write{}
	}
	if then != nil {
		g.wanted.then = append(g.wanted.then, then)
	}
}

// afterWrite calls f when what the current event made the group want is in the journal; at once if that is nothing.
func (g *group) afterWrite(f func()) {
	if g.wanted == nil {
		f()
		return
	}
	g.want(func(time.Time) { f() })
}

// pendingCost is what a member id that was handed out is charged, beside its length.
const pendingCost = 512

func newGroup(cfg *Config, id string) *group {
	return &group{
		cfg: cfg, id: id, roster: newRoster(), pending: map[string]time.Time{}, pendingSync: map[string]struct{}{},
		newcomers: budget{left: cfg.MaxNewcomerBytes},
	}
}

// restore makes a group of what the journal has: every member gets a whole session, whoever had not sent SyncGroup yet
// gets a whole rebalance timeout.
func restore(cfg *Config, d state.Group, now time.Time) *group {
	g := newGroup(cfg, d.ID)
	g.generation, g.protocolType, g.protocol, g.leader = d.Generation, d.ProtocolType, d.Protocol, d.Leader
	for i := range d.Members {
		m := restoreMember(&d.Members[i])
		g.roster.add(m)
		g.beat(m, now)
	}
	switch {
	case len(g.roster.order) == 0:
	case d.State == state.GroupCompleting:
		g.phase = phaseCompleting
		g.awaitSync(now)
	default:
		g.phase = phaseStable
		if g.leader == "" {
			g.prepare("members left before the group came here", now)
		}
	}
	return g
}

// durable is the group as it goes into the journal. Nothing of it is changed afterwards.
//
// A group whose members are asked to join again because some have left is in the journal as a stable one without those, of the
// old generation, and without a leader, which no other group with members is: whoever restores it asks for the others again.
// Members that are new have been told nothing yet and are left out.
func (g *group) durable(now time.Time) state.Group {
	d := state.Group{
		ID: g.id, Generation: g.generation, ProtocolType: g.protocolType, Protocol: g.protocol, Leader: g.leader,
		Changed: now.UnixMilli(), Members: make([]state.Member, 0, len(g.roster.order)),
	}
	switch g.phase {
	case phaseCompleting:
		d.State = state.GroupCompleting
	case phaseStable:
		d.State = state.GroupStable
	case phasePreparing:
		d.State, d.Leader = state.GroupStable, ""
	default:
		d.State = state.GroupEmpty
	}
	for _, m := range g.roster.order {
		if g.phase != phasePreparing || !m.fresh {
			d.Members = append(d.Members, m.durable())
		}
	}
	if len(d.Members) == 0 {
		d.State = state.GroupEmpty
	}
	return d
}

// bytes is about how large the group is in the journal.
func (g *group) bytes() int64 {
	n := int64(len(g.id) + len(g.protocolType) + len(g.protocol) + len(g.leader) + 64)
	for _, m := range g.roster.order {
		n += m.bytes()
	}
	return n
}

// idle reports whether memory knows nothing that the journal does not.
func (g *group) idle() bool {
	return g.phase == phaseEmpty && len(g.pending) == 0 && g.wanted == nil
}

// validate checks a member that claims to be in the group, and its group.instance.id if it has one.
func (g *group) validate(id, instance string) (*member, error) {
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
func (g *group) remove(id string) {
	if m := g.roster.remove(id); m != nil {
		g.newcomers.used -= m.cost
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

func (g *group) removePending(id string) {
	if _, ok := g.pending[id]; ok {
		delete(g.pending, id)
		g.newcomers.used -= pendingCost + int64(len(id))
	}
}

// beat gives a member a whole session from now on.
func (g *group) beat(m *member, now time.Time) {
	m.deadline = now.Add(m.sessionTimeout)
	g.wakeAt(m.deadline)
}

func (g *group) wakeAt(at time.Time) {
	if g.wake.IsZero() || at.Before(g.wake) {
		g.wake = at
	}
}
