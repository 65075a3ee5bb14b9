package object

import (
	"fmt"
	"maps"
	"testing"
	"time"
)

// TestCallsRepeat plays every call that an exploration has met once more: what a call asks for and answers depends on what it began
// with and on what it was answered, and on nothing else.
func TestCallsRepeat(t *testing.T) {
	for _, s := range explored {
		m := newModel(s.scenario, "")
		m.explore(limits{time: 5 * time.Minute, states: 20_000})
		for n := 1; n < len(m.nodes); n++ {
			was, is := m.nodes[n].outcome, m.play(m.nodes[n].start, m.script(uint32(n)))
			said := fmt.Sprint(was.err) == fmt.Sprint(is.err)
			if was.err, is.err = nil, nil; !said || fmt.Sprint(was) != fmt.Sprint(is) {
				t.Fatalf("%s: %s went another way:\n%+v\n%+v", s.name, m.nodes[n].what, was, is)
			}
		}
	}
}

// TestEachWorldOnceLosesNothing compares explore with a search that takes every path to its end, knows no world again, and
// keeps worlds themselves where explore keeps hashes. Both must see the same worlds, and the same end.
func TestEachWorldOnceLosesNothing(t *testing.T) {
	for _, b := range []budget{
		{appends: 1, trims: 1, leads: 1},
		{appends: 1, reads: 1, lost: 1},
		{appends: 1, trims: 1, lost: 1},
		{appends: 1, late: 1, leads: 1},
		{trims: 1, crash: 1, late: 1},
		{appends: 1, trims: 1, crash: 1},
		{appends: 1, reads: 1, tips: 1},
		{appends: 1, getFail: 1, giveUp: 1, leads: 1},
		{trims: 2, lost: 1},
		{appends: 1, pushes: 1, headLoss: 1},
	} {
		s := scenario{procs: 2, budget: b}
		t.Run(s.String(), func(t *testing.T) {
			m := newModel(s, "")
			once := map[world]bool{m.first(): true}
			m.each = func(w *world) { once[*w] = true }
			f := m.explore(limits{time: 5 * time.Minute})
			if !f.whole || f.states != len(once) {
				t.Fatalf("%d worlds, %d with different hashes, whole: %v, %s", len(once), f.states, f.whole, f.wrong)
			}
			every, paths := make(map[world]bool), 0
			var walk func(w world)
			walk = func(w world) { // with the same calls, so that worlds can be compared
				every[w] = true
				all := m.choices(&w, nil)
				if len(all) == 0 {
					paths++
				}
				for _, c := range all {
					next := w
					m.step(&next, c)
					walk(next)
				}
			}
			if walk(m.first()); !maps.Equal(once, every) || m.wrong != "" {
				t.Fatalf("%d worlds are seen by %d paths, %d if each is visited once; %s", len(every), paths, len(once), m.wrong)
			}
			t.Logf("%d paths through %d worlds", paths, len(every))
		})
	}
}
