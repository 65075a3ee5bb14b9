package classic

import (
	"testing"
	"time"

	"github.com/leat-stream/leat/metadata/state"
)

func TestGroupHeldUpLongerThanASessionHearsItsMembersFirst(t *testing.T) {
	g := newGroup(new(Limits), "g")
	const session = 10 * time.Second
	now := time.Unix(1, 0)
	m := &member{id: "m", sessionTimeout: session}
	g.roster.add(m)
	g.Phase = Stable
	g.beat(m, now)
	g.Postpone(time.Hour)
	if g.Expire(now.Add(time.Hour+9*time.Second)) != 0 || g.Phase != Stable {
		t.Error("member expired while nobody could hear it")
	}
	if !g.Wake.Equal(m.deadline) {
		t.Errorf("group wakes at %v, session ends at %v", g.Wake, m.deadline)
	}
	if g.Expire(now.Add(time.Hour+session)) != 1 {
		t.Error("member did not expire")
	}
}

func TestProtocolOfMostVotesWins(t *testing.T) {
	r := newRoster()
	for i, names := range []string{"abc", "bac", "bc", "cb"} {
		m := &member{id: string(rune('0' + i))}
		for _, n := range names {
			m.protocols = append(m.protocols, state.Protocol{Name: string(n)})
		}
		r.add(m)
	}
	if got := r.vote(); got != "b" { // a is not offered by all; b has three votes
		t.Errorf("vote is %q", got)
	}
	r.remove("2")
	r.remove("1")
	if got := r.vote(); got != "b" { // one vote each for b and c: the first named
		t.Errorf("vote is %q", got)
	}
}
