package classic

import (
	"slices"
	"time"

	"github.com/leat-stream/leat/agent/group/protocols"
	"github.com/leat-stream/leat/metadata/state"
)

// Detail is a member as DescribeGroups shows it.
type Detail struct {
	ID, Instance, ClientID, ClientHost string
	Metadata, Assignment               []byte
}

// Details are a group's members, with subscription and assignment only if it is stable.
func Details(g *Group) (all []Detail) {
	for _, m := range g.roster.order {
		detail := Detail{ID: m.id, Instance: m.instance, ClientID: m.clientID, ClientHost: m.clientHost}
		if g.Phase == Stable {
			detail.Metadata, detail.Assignment = protocols.Metadata(m.protocols, g.Protocol), m.assignment
		}
		all = append(all, detail)
	}
	return all
}

// PhaseOf is the phase of a group of which nothing but the journal's knowledge is known.
func PhaseOf(d *state.Group) Phase {
	switch {
	case len(d.Members) == 0:
		return Empty
	case d.State == state.GroupCompleting:
		return Completing
	case d.Leader == "":
		return Preparing
	}
	return Stable
}

// Overdue reports whether a member's session has ended.
func Overdue(g *Group, now time.Time) bool {
	return slices.ContainsFunc(g.roster.order, func(m *member) bool { return m.overdue(now) })
}

// MayCommit checks an OffsetCommit as Kafka's classic group does, and keeps the member's session. Generation is -1, member and
// instance are "" for who is in no group. Errors: ErrUnknownMember, ErrFencedInstance, ErrIllegalGeneration, ErrRebalanceInProgress.
func MayCommit(g *Group, generation int32, member, instance string, now time.Time) error {
	if generation < 0 && g.Phase == Empty {
		return nil
	}
	if generation < 0 && member == "" && instance == "" {
		return ErrUnknownMember
	}
	m, err := g.validate(member, instance)
	switch {
	case err != nil:
		return err
	case generation != g.Generation:
		return ErrIllegalGeneration
	case g.Phase == Completing:
		return ErrRebalanceInProgress
	}
	g.beat(m, now)
	return nil
}
