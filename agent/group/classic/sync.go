package classic

import (
	"time"

	"github.com/leat-stream/leat/agent/group/reply"
)

// SyncRequest is a SyncGroup. ProtocolType and Protocol are "" where the version has none. (From version 5 on both must be
// given: agent/api refuses null with ErrInconsistentProtocol, as Kafka does before it looks at the group.)
type SyncRequest struct {
	Group, Member, Instance string
	Generation              int32
	ProtocolType, Protocol  string
	Assignments             []Assignment // from the leader; must not be changed afterwards
}

// Assignment is what the leader gives to one member.
type Assignment struct {
	Member string
	Bytes  []byte
}

// SyncResponse is the answer to SyncGroup.
type SyncResponse struct {
	ProtocolType, Protocol string
	Assignment             []byte
}

// Sync handles a SyncGroup: w is answered now or when the assignment is in the journal.
func (r *SyncRequest) Sync(g *Group, w *reply.To[SyncResponse], now time.Time) {
	m, err := g.validate(r.Member, r.Instance)
	switch {
	case err != nil:
	case r.Generation != g.Generation:
		err = ErrIllegalGeneration
	case r.ProtocolType != "" && r.ProtocolType != g.ProtocolType, r.Protocol != "" && r.Protocol != g.Protocol:
		err = ErrInconsistentProtocol
	case g.Phase == Preparing:
		err = ErrRebalanceInProgress
	case g.Phase == Empty:
		err = ErrUnknownMember
	}
	if err != nil {
		w.Answer(SyncResponse{}, err)
		return
	}
	delete(g.pendingSync, m.id)
	if len(g.pendingSync) == 0 {
		g.syncBy = time.Time{}
	}
	if g.Phase == Stable {
		w.Answer(synced(g, m), nil)
		return
	}
	if m.sync != nil { // of a connection that the client has given up
		m.sync.Answer(SyncResponse{}, ErrRebalanceInProgress)
	}
	m.sync = w
	if m.id == g.leader {
		r.assign(g, now)
	}
}

// assign takes the leader's assignment; the members are told when it is in the journal.
func (r *SyncRequest) assign(g *Group, now time.Time) {
	given := make(map[string][]byte, len(r.Assignments))
	size := g.bytes()
	for _, a := range r.Assignments {
		if g.roster.byID[a.Member] == nil {
			continue
		}
		size += int64(len(a.Bytes) - len(given[a.Member]))
		given[a.Member] = a.Bytes
	}
	if size > g.limits.MaxGroupBytes {
		for _, m := range g.roster.order {
			if m.sync != nil {
				m.sync.Answer(SyncResponse{}, ErrAssignmentTooLarge)
				m.sync = nil
				g.beat(m, now)
			}
		}
		g.prepare("assignment is too large", now)
		return
	}
	for _, m := range g.roster.order {
		m.assignment = given[m.id] // nothing: an empty assignment, as in Kafka
	}
	g.Phase = Stable
	g.want(func(now time.Time) {
		for _, m := range g.roster.order {
			if m.sync != nil {
				m.sync.Answer(synced(g, m), nil)
				m.sync = nil
				g.beat(m, now)
			}
		}
	})
}

func synced(g *Group, m *member) SyncResponse {
	return SyncResponse{ProtocolType: g.ProtocolType, Protocol: g.Protocol, Assignment: m.assignment}
}
