package object

import (
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// found is what an exploration came to.
type found struct {
	wrong  string
	path   []choice
	states int
	whole  bool // every reachable world was seen
	seen   [events]int
}

// limits end an exploration that is not over by itself.
type limits struct {
	time   time.Duration
	states int // 0: as many as there are
}

// explore visits every world that a scenario can get into, depth first, each once, until one is wrong or a limit is reached.
//
// To visit a world once, whatever the way there, is the only reduction, and it is sound: a world holds all that later steps and
// checks depend on (a call under way is in it as its number, and calls repeat), and it is compared whole. No step is left out
// and no two orders of steps are taken for the same. TestEachWorldOnceLosesNothing compares with a search that knows no world
// again. Only a 64-bit hash is kept: that any two of a million worlds share one has a chance of 1 in 10^7, another in
// each run.
func (m *model) explore(l limits) found {
	seed, seen := maphash.MakeSeed(), make(map[uint64]struct{})
	type frame struct {
		world
		from, next, end int // its choices in all[from:end], the next to take
	}
	var stack []frame
	var all []choice
	path := func() (p []choice) {
		for _, f := range stack {
			p = append(p, all[f.next-1])
		}
		return p
	}
	visit := func(w *world) {
		h := maphash.Comparable(seed, *w)
		if _, again := seen[h]; again {
			return
		}
		seen[h] = struct{}{}
		from := len(all)
		all = m.choices(w, all)
		stack = append(stack, frame{world: *w, from: from, next: from, end: len(all)})
	}
	deadline := time.Now().Add(l.time)
	w := m.first()
	visit(&w)
	for steps := 0; len(stack) > 0; steps++ {
		f := &stack[len(stack)-1]
		if f.next == f.end {
			all = all[:f.from]
			stack = stack[:len(stack)-1]
			continue
		}
		w := f.world
		f.next++
		m.step(&w, all[f.next-1])
		if m.each != nil {
			m.each(&w)
		}
		if m.wrong != "" {
			return found{wrong: m.wrong, path: path(), states: len(seen), seen: m.seen}
		}
		visit(&w)
		if steps%1024 == 0 && time.Now().After(deadline) || l.states > 0 && len(seen) >= l.states {
			return found{states: len(seen), seen: m.seen}
		}
	}
	return found{states: len(seen), whole: true, seen: m.seen}
}

// shortest does the same breadth first, so that the way to a wrong world that it finds is one of the shortest.
func (m *model) shortest(l limits) found {
	type way struct {
		from int // in ways
		by   choice
	}
	seed, seen := maphash.MakeSeed(), make(map[uint64]struct{})
	worlds, ways := []world{m.first()}, []way{{from: -1}}
	base := 0 // worlds[i] was reached by ways[base+i]
	var all []choice
	deadline := time.Now().Add(l.time)
	for i := 0; len(worlds) > 0; i++ {
		w := worlds[0]
		worlds = worlds[1:]
		all = m.choices(&w, all[:0])
		for _, c := range all {
			next := w
			m.step(&next, c)
			if m.each != nil {
				m.each(&next)
			}
			if m.wrong != "" {
				path := []choice{c}
				for at := base + i; ways[at].from >= 0; at = ways[at].from {
					path = append(path, ways[at].by)
				}
				slices.Reverse(path)
				return found{wrong: m.wrong, path: path, states: len(seen), seen: m.seen}
			}
			h := maphash.Comparable(seed, next)
			if _, again := seen[h]; !again {
				seen[h] = struct{}{}
				worlds, ways = append(worlds, next), append(ways, way{base + i, c})
			}
		}
		if i%1024 == 0 && time.Now().After(deadline) {
			return found{states: len(seen), seen: m.seen}
		}
	}
	return found{states: len(seen), whole: true, seen: m.seen}
}

// wander takes random steps to the end.
func (m *model) wander(seed uint64) found {
	random := rand.New(rand.NewPCG(seed, 0))
	w := m.first()
	var path, all []choice
	for m.wrong == "" {
		if all = m.choices(&w, all[:0]); len(all) == 0 {
			break
		}
		c := all[random.IntN(len(all))]
		path = append(path, c)
		m.step(&w, c)
	}
	return found{wrong: m.wrong, path: path, states: len(path), seen: m.seen}
}

// story plays a path again and tells it.
func story(s scenario, off string, lenient bool, path []choice) string {
	m := newModel(s, off)
	m.lenient, m.tell = lenient, true
	w := m.first()
	for _, c := range path {
		m.step(&w, c)
	}
	if m.wrong == "" { // then it is what must come true from here that does not
		m.tell = false
		m.promise().check(&w)
	}
	return strings.Join(m.trace, "\n") + "\n=> " + m.wrong
}
