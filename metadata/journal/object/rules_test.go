package object

import (
	"strings"
	"testing"
	"time"
)

// TestEachRuleIsNeeded switches off one rule after the other and wants the exploration to find what then goes wrong: not that a
// rule is broken in the bucket, but that somebody is told what is not true. It tells the shortest way there.
func TestEachRuleIsNeeded(t *testing.T) {
	for _, test := range []struct {
		off string
		scenario
		wrong string // what must go wrong
	}{
		{"J1", scenario{procs: 2, budget: budget{appends: 2, trims: 1, lost: 1, reads: 1}}, "not what is committed there"}, // V1
		{"J2", scenario{procs: 2, budget: budget{appends: 1, trims: 1, reads: 1, leads: 1}}, "read to the end"},
		{"J2", scenario{procs: 3, budget: budget{appends: 1, trims: 1, reads: 1, leads: 1}}, ""}, // V2 among others
		{"J2 tip", scenario{procs: 2, budget: budget{appends: 1, trims: 1, tips: 1}}, "is the newest"},
		{"R1", scenario{procs: 2, budget: budget{appends: 1, trims: 1, lost: 1, reads: 1, tips: 1}}, "is the newest"},
		{"J2 append", scenario{procs: 2, budget: budget{appends: 1, trims: 1, lost: 1, late: 1, reads: 1, leads: 1}}, "ErrFenced"}, // V2 seen by the leader,
		{"J3", scenario{procs: 2, budget: budget{appends: 1, trims: 1, leads: 1}}, "not what is committed there"},
		{"J4 no fence", scenario{procs: 2, budget: budget{appends: 2, trims: 1, crash: 1, reads: 1}}, "not what is committed there"},
		{"J4 keep fences", scenario{procs: 2, budget: budget{appends: 1, trims: 1, leads: 1}}, "not what is committed there"},
		{"J4 fresh id", scenario{procs: 2, budget: budget{appends: 2, trims: 1, crash: 1, reads: 1, leads: 1}}, "not what is committed there"},
		{"J5 deletes first", scenario{procs: 2, budget: budget{appends: 1, trims: 1, reads: 1}}, "read to the end"},
		{"J5 image last", scenario{procs: 2, budget: budget{appends: 1, trims: 1, crash: 1, reads: 1}}, "cannot be read"},
		{"J6", scenario{procs: 2, budget: budget{appends: 1, trims: 1, headLoss: 1, reads: 1}}, "read to the end"},
	} {
		t.Run(test.off, func(t *testing.T) {
			all := newModel(test.scenario, "")
			limit := 5 * time.Minute
			if underRace {
				limit = time.Second
			}
			if f := all.explore(limits{time: limit}); f.wrong != "" || !f.whole && !underRace {
				t.Fatalf("with all rules, whole: %v, %s", f.whole, f.wrong)
			}
			m := newModel(test.scenario, test.off)
			m.lenient = true
			f := m.shortest(limits{time: 5 * time.Minute})
			switch {
			case f.wrong == "":
				t.Errorf("nothing goes wrong without %s (%d states, whole: %v)", test.off, f.states, f.whole)
			case !strings.Contains(f.wrong, test.wrong):
				t.Errorf("something else goes wrong:\n%s", story(test.scenario, test.off, true, f.path))
			default:
				t.Logf("%d states\n%s", f.states, story(test.scenario, test.off, true, f.path))
			}
		})
	}
}
