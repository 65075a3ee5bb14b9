package object

import (
	"flag"
	"fmt"
	"math/bits"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	exploreTime      = flag.Duration("explore.time", 2*time.Second, "how long TestExploreFurther and TestExploreAtRandom take, together")
	exploreProcesses = flag.Int("explore.processes", 3, "how many processes TestExploreFurther has")
	exploreSlots     = flag.Uint("explore.slots", 4, "how many slots of the journal TestExploreFurther fills")
	exploreStates    = flag.Int("explore.states", 30_000_000, "how many worlds of one scenario TestExploreFurther visits at most: about 20 bytes each")
	rewrite          = flag.Bool("rewrite", false, "write the table of what is explored anew")
)

// explored is what is visited whole, in seconds. Its numbers are those of the table in FORMAT.md.
var explored = []struct {
	name string
	scenario
}{
	{"lost answers", scenario{procs: 2, budget: budget{appends: 2, trims: 1, lost: 2, reads: 1, leads: 1}}},
	{"late and repeated PUTs, late DELETEs", scenario{procs: 2, budget: budget{appends: 1, trims: 1, late: 2, reads: 1, leads: 1}}},
	{"fresh reads beside late requests", scenario{procs: 2, budget: budget{appends: 1, trims: 1, late: 1, reads: 1, leads: 1, tips: 1}}},
	{"an answer lost, another request late", scenario{procs: 2, budget: budget{appends: 1, trims: 1, lost: 1, late: 1, reads: 1, leads: 1}}},
	{"crashes and late requests", scenario{procs: 2, budget: budget{appends: 1, trims: 1, crash: 1, late: 1, reads: 1, leads: 1}}},
	{"GETs fail, callers give up", scenario{procs: 2, budget: budget{appends: 2, trims: 1, getFail: 1, giveUp: 1, reads: 1, leads: 1, tips: 1}}},
	{"PUTs fail, callers give up", scenario{procs: 2, budget: budget{appends: 2, late: 1, lost: 1, giveUp: 1, reads: 1, leads: 1}}},
	{"fresh reads", scenario{procs: 2, budget: budget{appends: 2, trims: 1, reads: 1, leads: 1, tips: 1}}},
	{"two leaders, two snapshots", scenario{procs: 2, budget: budget{appends: 2, trims: 2, reads: 1, leads: 1}}},
	{"boundary behind the snapshot", scenario{procs: 2, low: true, budget: budget{appends: 2, trims: 2, reads: 1, leads: 1}}},
	{"pushed entries", scenario{procs: 2, budget: budget{appends: 2, trims: 1, late: 1, pushes: 2, leads: 1}}},
	{"GETs side by side", scenario{procs: 2, window: 2, budget: budget{appends: 2, trims: 1, reads: 1, leads: 1}}},
	{"GETs beside a GET of head", scenario{procs: 2, window: 2, run: 1, budget: budget{appends: 2, trims: 1, reads: 1, leads: 1}}},
	{"GETs side by side fail", scenario{procs: 2, window: 2, run: 1, budget: budget{appends: 1, trims: 1, getFail: 1, giveUp: 1, reads: 1, leads: 1}}},
	{"head is lost", scenario{procs: 2, budget: budget{appends: 1, trims: 1, headLoss: 1, reads: 1, leads: 1, tips: 1}}},
	{"three processes", scenario{procs: 3, budget: budget{appends: 1, trims: 1, reads: 1, leads: 1}}},
}

// String tells what happens in a scenario.
func (s scenario) String() string {
	text := fmt.Sprint(s.procs, " processes")
	if s.low {
		text += ", boundaries behind"
	}
	if s.window > 1 {
		text += fmt.Sprintf(", %d GETs at once", s.window)
	}
	if s.run > 0 {
		text += fmt.Sprintf(", runs of %d", s.run)
	}
	for _, part := range []struct {
		n    uint8
		what string
	}{
		{s.budget.appends, "append"}, {s.budget.trims, "trim"}, {s.budget.lost, "lost answer"}, {s.budget.late, "late"}, {s.budget.crash, "crash"},
		{s.budget.getFail, "failed GET"}, {s.budget.giveUp, "giving up"}, {s.budget.headLoss, "loss of head"}, {s.budget.reads, "read each"},
		{s.budget.leads, "lead each"}, {s.budget.tips, "tip each"}, {s.budget.pushes, "push each"},
	} {
		if part.n > 0 {
			text += fmt.Sprintf(", %d %s", part.n, part.what)
		}
	}
	return text
}

// TestExploreExhaustively visits every world of each scenario, with the real driver, and keeps the table in FORMAT.md true, in
// which no event may be missing.
func TestExploreExhaustively(t *testing.T) {
	var seen [events][]int
	var worlds strings.Builder
	all := true
	for i, s := range explored {
		all = t.Run(s.name, func(t *testing.T) {
			m := newModel(s.scenario, "")
			m.each = m.promise().check
			limit := limits{time: 5 * time.Minute}
			if underRace { // one goroutine does everything; the race detector only makes it slow
				limit.time = time.Second
			}
			f := m.explore(limit)
			if f.wrong != "" {
				t.Fatal(story(s.scenario, "", false, f.path))
			}
			if underRace {
				return
			}
			if !f.whole {
				t.Fatalf("%d worlds were seen, and there are more", f.states)
			}
			fmt.Fprintf(&worlds, "| %d | %s | %s | %d |\n", i+1, s.name, s.scenario, f.states)
			for e, n := range f.seen {
				if n > 0 {
					seen[e] = append(seen[e], i+1)
				}
			}
		}) && all
	}
	if !all || underRace || len(seen[doRead]) < len(explored)-1 { // some were not run
		return
	}
	var table strings.Builder
	for e, in := range seen {
		if table.WriteString(fmt.Sprintf("| %s | %s |\n", eventNames[e], ranges(in))); len(in) == 0 || eventNames[e] == "" {
			t.Errorf("%q, event %d, happens nowhere", eventNames[e], e)
		}
	}
	keepTable(t, "| no. | name | what may happen | worlds |\n|---|---|---|---|\n"+worlds.String()+"\n| event | happens in no. |\n|---|---|\n"+table.String())
}

// ranges writes 1, 2, 3, 5 as "1–3, 5".
func ranges(all []int) string {
	var parts []string
	for i := 0; i < len(all); {
		j := i
		for j+1 < len(all) && all[j+1] == all[j]+1 {
			j++
		}
		if parts = append(parts, fmt.Sprint(all[i])); j > i {
			parts[len(parts)-1] += fmt.Sprint("–", all[j])
		}
		i = j + 1
	}
	return strings.Join(parts, ", ")
}

// keepTable compares FORMAT.md with what was seen.
func keepTable(t *testing.T, table string) {
	const file, begin, end = "../FORMAT.md", "<!-- explored: go test -run ExploreExhaustively -rewrite -->\n", "<!-- end -->\n"
	b, err := os.ReadFile(file)
	must(t, err)
	before, rest, ok := strings.Cut(string(b), begin)
	was, after, found := strings.Cut(rest, end)
	switch {
	case !ok || !found:
		t.Fatalf("%s has no place for the table", file)
	case was != table && *rewrite:
		must(t, os.WriteFile(file, []byte(before+begin+table+end+after), 0o644))
	case was != table:
		t.Errorf("%s differs from what was seen (-rewrite writes it anew):\n%s", file, table)
	}
}

// TestExploreFurther visits more than the default allows: more processes and slots, and every combination of faults and appends, the
// smaller ones first, until -explore.time is over. None takes more than an eighth of what is left. It says what was visited
// whole and what was not.
func TestExploreFurther(t *testing.T) {
	if testing.Short() {
		t.Skip("short")
	}
	if *exploreProcesses < 1 || *exploreProcesses > maxProcs || *exploreSlots < 2 || *exploreSlots > maxSlots-4 {
		t.Fatalf("from 1 to %d processes and from 2 to %d slots", maxProcs, maxSlots-4)
	}
	deadline, total, whole := time.Now().Add(*exploreTime*3/4), 0, 0
	ladder := further(*exploreProcesses, uint8(*exploreSlots))
	for _, s := range ladder {
		left := time.Until(deadline)
		if left <= 0 {
			break
		}
		m := newModel(s, "")
		m.each = m.promise().check
		f := m.explore(limits{time: max(left/8, time.Second), states: *exploreStates})
		if f.wrong != "" {
			t.Fatal(s, "\n", story(s, "", false, f.path))
		}
		total += f.states
		how := "in part"
		if f.whole {
			how = "whole"
			whole++
		}
		t.Logf("%-7s %9d worlds: %s", how, f.states, s)
	}
	t.Logf("%d worlds; %d of %d scenarios whole; %d slots", total, whole, len(ladder), *exploreSlots)
}

// further answers scenarios from one append without any fault to all that the slots have room for and everything else once more, the
// smaller ones first.
func further(procs int, slots uint8) (all []scenario) {
	more := []func(*budget){
		func(b *budget) { b.tips++ },
		func(b *budget) { b.lost++ },
		func(b *budget) { b.late++ },
		func(b *budget) { b.crash++ },
		func(b *budget) { b.trims++ },
		func(b *budget) { b.getFail, b.giveUp = 1, 1 },
		func(b *budget) { b.pushes++ },
	}
	size := make(map[scenario]int)
	for appends := uint8(1); appends < max(slots-1, 2); appends++ {
		for set := range 1 << len(more) {
			s := scenario{procs: procs, slots: slots, budget: budget{appends: appends, trims: 1, reads: 1, leads: 1}}
			for i, add := range more {
				if set>>i&1 != 0 {
					add(&s.budget)
				}
			}
			size[s] = int(appends) + bits.OnesCount(uint(set))
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b scenario) int { return size[a] - size[b] })
	return all
}

// many is more than can be visited whole.
var many = scenario{procs: 3, low: true, budget: budget{appends: 4, trims: 3, lost: 2, late: 3, crash: 2, giveUp: 1, getFail: 2, reads: 3, leads: 2, tips: 2, pushes: 1}}

// TestExploreAtRandom takes seeded random paths through a scenario in which everything happens several times.
func TestExploreAtRandom(t *testing.T) {
	deadline, steps, seeds := time.Now().Add(*exploreTime/4), 0, uint64(0)
	m := newModel(many, "")
	for ; seeds < 1000 || time.Now().Before(deadline); seeds++ {
		if len(m.nodes) > 100_000 {
			m = newModel(many, "")
		}
		f := m.wander(seeds)
		if f.wrong != "" {
			t.Fatalf("seed %d\n%s", seeds, story(many, "", false, f.path))
		}
		steps += f.states
	}
	t.Logf("%d paths, %d steps", seeds, steps)
}

// TestSamePathIsTheSameStory: without that, neither a seed nor a path found would mean anything.
func TestSamePathIsTheSameStory(t *testing.T) {
	for seed := range uint64(20) {
		a, b := newModel(many, "").wander(seed), newModel(many, "").wander(seed)
		if !slices.Equal(a.path, b.path) || story(many, "", false, a.path) != story(many, "", false, b.path) {
			t.Fatalf("seed %d went two ways", seed)
		}
	}
}
