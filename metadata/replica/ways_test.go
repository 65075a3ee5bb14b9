package replica

import (
	"errors"
	"testing"
	"time"

	"github.com/leat-stream/leat/metadata/replica/liveness"
	"github.com/leat-stream/leat/metadata/state"
)

// hearing is a replica that follows somebody in the term of a leader at "leader", and does not run.
func hearing(term uint64) (*Replica, *position) {
	cfg := Default()
	cfg.Leader, cfg.Zone = state.LeaderInfo{Session: state.UUID{15: 1}, Address: "own"}, "x"
	r := &Replica{cfg: cfg, net: &network{alive: liveness.NewAgents(), leader: liveness.NewLeader(cfg.Beat)}}
	r.net.leader.Begin(term, time.Now())
	return r, &position{term: term, leader: state.LeaderInfo{Session: state.UUID{15: 2}, Address: "leader"}}
}

func TestAnUpstreamThatLosesTheLeaderIsLeft(t *testing.T) {
	r, p := hearing(7)
	f := &feed{r: r}
	if err := f.heard(p, "other", Push{Term: 7, Heard: -1}); err != nil {
		t.Errorf("it has just begun, and did not find the leader yet: %v", err)
	}
	if err := f.heard(p, "other", Push{Term: 7, Heard: time.Millisecond}); err != nil || r.net.leader.Lost(7) {
		t.Errorf("it hears the leader: %v", err)
	}
	if err := f.heard(p, "other", Push{Term: 8, Heard: -1}); err != nil {
		t.Errorf("it knows of another leader, whose fence is on its way: %v", err)
	}
	if err := f.heard(p, "other", Push{Term: 7, Heard: -1}); !errors.Is(err, errLost) || !r.net.leader.Lost(7) {
		t.Errorf("it heard the leader, and does not any more: %v", err)
	}
	if err := f.heard(p, "leader", Push{Term: 7, Heard: -1}); !errors.Is(err, errNotThere) {
		t.Errorf("the leader itself says that it does not lead: %v", err)
	}
}

func TestNobodyIsFollowedWhoHearsTheLeaderThroughThisAgent(t *testing.T) {
	r, p := hearing(7)
	f := &follower{r: &owner{Replica: r}}
	s := state.Session{ID: state.UUID{15: 3}, Zone: "x"}
	worth := func() time.Duration {
		return f.worth(p, s, Status{Session: s.ID, Term: 7, Heard: 800 * time.Millisecond}, r.cfg.Patience)
	}
	if worth() < 0 {
		t.Error("an agent that hears the leader is not worth following")
	}
	r.net.alive.Hear(s.ID, time.Now().Add(-r.cfg.Beat))
	if worth() >= 0 {
		t.Error("what it hears comes from here")
	}
	r.net.alive.Hear(state.UUID{15: 4}, time.Now())
	if s.ID = (state.UUID{15: 5}); worth() < 0 {
		t.Error("somebody else is behind this agent")
	}
}
