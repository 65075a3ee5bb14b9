package election

import (
	"fmt"
	"testing"
	"time"

	"github.com/leat-stream/leat/metadata/state"
)

func TestEveryTermHasAnotherOrder(t *testing.T) {
	firsts := map[byte]int{}
	for term := range uint64(300) {
		best := state.UUID{15: 1}
		for id := byte(2); id <= 3; id++ {
			if s := (state.UUID{15: id}); Rank(term, s) < Rank(term, best) {
				best = s
			}
		}
		firsts[best[15]]++
	}
	for id := byte(1); id <= 3; id++ {
		if n := firsts[id]; n < 50 || n > 200 {
			t.Errorf("agent %d is first in %d of 300 terms", id, n)
		}
	}
}

func TestElectionsBackOff(t *testing.T) {
	now := time.Now()
	var fences []time.Time
	for _, want := range []time.Duration{0, 0, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, maxBackoff, maxBackoff} {
		if got := Backoff(fences, now); got != want {
			t.Errorf("after %d fences: %v, not %v", len(fences), got, want)
		}
		fences = append(fences, now.Add(-time.Second))
	}
	if got := Backoff(fences, now.Add(time.Minute)); got != 0 {
		t.Errorf("a minute later: %v", got)
	}
}

func TestOneAgentOfAZoneIsItsRelay(t *testing.T) {
	st := state.New()
	open := func(id byte, zone string, closed bool) {
		s := state.UUID{15: id}
		commands := []state.Command{{Op: state.OpenSession{Session: s, NodeID: -1, Zone: zone, Peer: fmt.Sprint("peer-", id), Level: state.Level}}}
		if closed {
			commands = append(commands, state.Command{Op: state.CloseSession{Session: s}})
		}
		if _, _, err := st.Apply(state.Entry{Index: st.Reader().Index() + 1, Commands: commands}); err != nil {
			t.Fatal(err)
		}
	}
	open(1, "x", false)
	open(2, "y", false)
	open(3, "y", false)
	open(4, "y", true)
	leader := state.UUID{15: 1}
	seen := map[string]bool{}
	for term := range uint64(50) {
		seen[Relay(st.Reader(), term, leader, "y")] = true
	}
	if len(seen) != 2 || !seen["peer-2"] || !seen["peer-3"] {
		t.Errorf("relays of 50 terms: %v", seen)
	}
	for _, zone := range []string{"", "x", "z"} {
		if got := Relay(st.Reader(), 1, leader, zone); got != "" {
			t.Errorf("zone %q has the relay %s", zone, got)
		}
	}
}
