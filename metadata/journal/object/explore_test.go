package object

import (
	"context"
	"errors"
	"flag"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leat-stream/leat/metadata/journal"
)

var exploreFor = flag.Duration("explore", time.Second, "how long each exploration that is not small may take")

// run does the command of an idle process, and judges what the driver answers.
func (p *proc) run() {
	ctx := context.Background()
	switch p.command {
	case doRead:
		p.left.reads--
		p.judgeRead(ctx)
	case doLead:
		p.left.leads--
		p.judgeLead(ctx)
	case doAppend:
		p.judgeAppend(ctx)
	case doTip:
		p.left.tips--
		p.judgeTip(p.j.Tip(ctx, p.applied))
	case doTrim:
		p.trim(ctx)
	case doReload:
		h, err := p.j.Head(ctx)
		p.reload = err != nil && !errors.Is(err, journal.ErrNoHead)
		if err == nil && h.Snapshot > p.applied {
			p.applied = h.Snapshot // the image is a copy of a replica, and those were judged
		}
		if p.w.off == "J4 no fence" && err == nil {
			t := &term{journal: p.j, fence: journal.Entry{Term: p.termID()}, last: p.applied}
			p.term, p.alive = t, true
		}
	}
	p.call = 0
}

func (p *proc) judgeRead(ctx context.Context) {
	for e, err := range p.j.Read(ctx, p.applied+1) {
		switch {
		case errors.Is(err, journal.ErrTrimmed):
			p.reload = true
			return
		case err != nil:
			return
		}
		p.apply(e)
	}
	if p.applied < uint64(p.begun) {
		p.w.fail("p%d read to the end, %d, when %d entries were committed before it began", p.id, p.applied, p.begun)
	}
}

// apply checks that every replica applies the same sequence.
func (p *proc) apply(e journal.Entry) {
	b, _ := journal.EncodeEntry(p.j.cluster, e)
	if e.Index != p.applied+1 || e.Index > uint64(len(p.w.truth)) || string(p.w.truth[e.Index-1]) != string(b) {
		p.w.fail("p%d applied %s %q of term %x as entry %d, which is not what is committed there", p.id, e.Kind, e.Body, e.Term[:2], e.Index)
		return
	}
	p.applied++
	if p.w.off == "J4 no fence" && p.alive {
		p.term.(*term).last = p.applied
	}
}

func (p *proc) judgeLead(ctx context.Context) {
	t, err := p.j.Lead(ctx, p.applied, nil)
	switch {
	case err == nil:
		p.term, p.alive = t, true
		p.apply(t.Fence())
	case errors.Is(err, journal.ErrTrimmed):
		p.reload = true
	case errors.Is(err, journal.ErrBehind) && uint64(len(p.w.truth)) <= p.applied:
		p.w.fail("p%d was told that it is behind, and nothing was committed after %d", p.id, p.applied)
	}
}

func (p *proc) judgeAppend(ctx context.Context) {
	p.w.appends--
	p.sent++
	body := []byte{byte('a' + p.id), byte('0' + p.sent)}
	index := p.applied + 1
	e, err := p.term.Append(ctx, body)
	p.alive = err == nil
	switch {
	case err == nil:
		p.apply(e)
	case errors.Is(err, journal.ErrFenced):
		b, _ := journal.EncodeEntry(p.j.cluster, journal.Entry{Index: index, Kind: journal.KindCommands, Term: p.term.Fence().Term, Body: body})
		p.w.denied = append(p.w.denied, b)
		if slices.ContainsFunc(p.w.truth, func(t []byte) bool { return string(t) == string(b) }) {
			p.w.fail("p%d was told ErrFenced for %q, which is committed", p.id, body)
		}
	case p.w.off == "R1":
		p.term.(*term).over = false // Tip will take it for a leader at rest
	case p.w.off == "J1":
		p.alive, p.term.(*term).over = true, false // the slot will get another entry
	}
}

func (p *proc) judgeTip(err error) {
	switch {
	case err == nil && uint64(p.begun) > p.applied:
		p.w.fail("p%d was told that %d is the newest, when %d entries were committed before it asked", p.id, p.applied, p.begun)
	case errors.Is(err, journal.ErrBehind) && uint64(len(p.w.truth)) <= p.applied:
		p.w.fail("p%d was told that it is behind, and nothing was committed after %d", p.id, p.applied)
	case errors.Is(err, journal.ErrTrimmed):
		p.reload = true
	}
}

// trim snapshots all that was applied and trims it away at once, which is more than the replica ever does.
func (p *proc) trim(ctx context.Context) {
	p.w.trims--
	t := journal.Trim{Snapshot: p.applied, Boundary: p.applied + 1, From: 1, Keep: func(index uint64) bool {
		e, err := journal.DecodeEntry(p.w.truth[index-1], p.j.cluster, index)
		return err == nil && e.Kind == journal.KindFence && p.w.off != "J4 keep fences"
	}}
	if p.w.off == "J5" { // deletes first
		var keys []string
		for index := t.From; index < t.Boundary; index++ {
			if !t.Keep(index) {
				keys = append(keys, p.j.keys.Journal(index))
			}
		}
		if len(keys) > 0 {
			p.j.store.Delete(ctx, keys...)
		}
	}
	p.j.Trim(ctx, t)
}

// found is what an exploration came to.
type found struct {
	wrong  string
	path   []int
	states int
	whole  bool // every reachable state was seen
}

// explore visits every world that n processes with that budget can get into, depth first, each once, until one is wrong or the
// time is up. To come back to a world it plays the choices again that led there.
func explore(n int, b budget, off string, limit time.Duration) found {
	seed, seen := maphash.MakeSeed(), make(map[uint64]struct{})
	stack, deadline := [][]int{nil}, time.Now().Add(limit)
	for len(stack) > 0 {
		path := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		w := newWorld(n, b, off)
		for _, i := range path {
			w.step(w.choices()[i])
		}
		for w.wrong == "" {
			h := w.hash(seed)
			if _, again := seen[h]; again {
				break
			}
			seen[h] = struct{}{}
			possible := w.choices()
			if len(possible) == 0 {
				break
			}
			path = path[:len(path):len(path)]
			for i := len(possible) - 1; i > 0; i-- {
				stack = append(stack, append(path, i))
			}
			path = append(path, 0)
			w.step(possible[0])
		}
		w.close()
		if w.wrong != "" {
			return found{wrong: w.wrong, path: path, states: len(seen)}
		}
		if time.Now().After(deadline) {
			return found{states: len(seen)}
		}
	}
	return found{states: len(seen), whole: true}
}

// wander takes random steps to the end, from worlds that are too large to be visited whole.
func wander(n int, b budget, off string, seed uint64) found {
	random := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(n, b, off)
	defer w.close()
	var path []int
	for w.wrong == "" {
		possible := w.choices()
		if len(possible) == 0 {
			break
		}
		i := random.IntN(len(possible))
		path = append(path, i)
		w.step(possible[i])
	}
	return found{wrong: w.wrong, path: path, states: len(path)}
}

// story plays a path again and tells it.
func story(n int, b budget, off string, path []int) string {
	w := newWorld(n, b, off)
	defer w.close()
	w.trace = []string{}
	for _, i := range path {
		w.step(w.choices()[i])
	}
	return strings.Join(w.trace, "\n") + "\n=> " + w.wrong
}

// scenario is how many processes do how much. Process 0 leads when it begins.
type scenario struct {
	n int
	b budget
}

// small ones are visited whole in about a second each.
var small = map[string]scenario{
	"lost answer":           {2, budget{appends: 1, trims: 1, lost: 1, reads: 1, leads: 1}},
	"late or repeated PUT":  {2, budget{appends: 1, trims: 1, late: 1, reads: 1, leads: 1}},
	"crash":                 {2, budget{appends: 1, trims: 1, crash: 1, reads: 1, leads: 1}},
	"crash with a late PUT": {2, budget{appends: 1, crash: 1, late: 1, reads: 1, leads: 1}},
	"giving up":             {2, budget{appends: 2, late: 1, giveUp: 1, reads: 1, leads: 1}},
	"fresh reads":           {2, budget{appends: 2, trims: 1, reads: 1, leads: 1, tips: 1}},
	"two leaders append":    {2, budget{appends: 2, trims: 2, reads: 1, leads: 1}},
	"head is lost":          {2, budget{appends: 1, trims: 1, headLoss: 1, reads: 1, leads: 1, tips: 1}},
}

// large ones take the time that -explore gives: minutes to be visited whole.
var large = map[string]scenario{
	"three processes":         {3, budget{appends: 1, trims: 1, reads: 1, leads: 1}},
	"three and a lost answer": {3, budget{appends: 1, trims: 1, lost: 1, reads: 1, leads: 1}},
	"everything once":         {2, budget{appends: 2, trims: 1, lost: 1, late: 1, crash: 1, giveUp: 1, reads: 2, leads: 1, tips: 1}},
	"late after lost":         {2, budget{appends: 2, trims: 1, lost: 1, late: 1, reads: 1, leads: 1}},
	"two trims, two crashes":  {2, budget{appends: 2, trims: 2, crash: 2, reads: 1, leads: 1}},
}

// TestExploreExhaustively visits every interleaving of the small scenarios, with the real driver.
func TestExploreExhaustively(t *testing.T) {
	for name, s := range small {
		t.Run(name, func(t *testing.T) {
			limit := 10 * time.Minute
			if underRace {
				limit = *exploreFor
			}
			f := explore(s.n, s.b, "", limit)
			if f.wrong != "" {
				t.Fatal(story(s.n, s.b, "", f.path))
			}
			if !underRace && (f.states < 1000 || !f.whole) { // under the race detector it goes as far as time allows
				t.Fatalf("%d states were seen, whole: %v", f.states, f.whole)
			}
			t.Logf("%d states", f.states)
		})
	}
}

// TestExploreLarge goes as far into the large scenarios as -explore allows (-explore 1h visits them whole).
func TestExploreLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("short")
	}
	for name, s := range large {
		t.Run(name, func(t *testing.T) {
			f := explore(s.n, s.b, "", *exploreFor)
			if f.wrong != "" {
				t.Fatal(story(s.n, s.b, "", f.path))
			}
			t.Logf("%d states, whole: %v", f.states, f.whole)
		})
	}
}

// many is more than can be visited whole.
var many = scenario{3, budget{appends: 5, trims: 3, lost: 2, late: 3, crash: 2, giveUp: 1, reads: 3, leads: 2, tips: 2}}

// TestExploreAtRandom takes seeded random paths through a scenario in which everything happens several times.
func TestExploreAtRandom(t *testing.T) {
	deadline, steps, seeds := time.Now().Add(*exploreFor), 0, uint64(0)
	for ; seeds < 1000 || time.Now().Before(deadline); seeds++ {
		f := wander(many.n, many.b, "", seeds)
		if f.wrong != "" {
			t.Fatalf("seed %d\n%s", seeds, story(many.n, many.b, "", f.path))
		}
		steps += f.states
	}
	t.Logf("%d paths, %d steps", seeds, steps)
}

// TestSamePathIsTheSameStory: without that, neither a seed nor a path found would mean anything.
func TestSamePathIsTheSameStory(t *testing.T) {
	for seed := range uint64(20) {
		a, b := wander(many.n, many.b, "", seed), wander(many.n, many.b, "", seed)
		if !slices.Equal(a.path, b.path) || story(many.n, many.b, "", a.path) != story(many.n, many.b, "", b.path) {
			t.Fatalf("seed %d went two ways", seed)
		}
	}
}

// TestEachRuleIsNeeded switches off one rule after the other and wants the exploration to find what then goes wrong.
func TestEachRuleIsNeeded(t *testing.T) {
	for _, test := range []struct {
		off string
		scenario
		wrong string // what must go wrong
	}{
		{"J1", scenario{2, budget{appends: 2, trims: 1, lost: 1, reads: 1}}, "not what is committed there"}, // V1
		{"J2", scenario{2, budget{appends: 1, trims: 1, reads: 1, leads: 1}}, "read to the end"},
		{"J2", scenario{3, budget{appends: 1, trims: 1, reads: 1, leads: 1}}, ""}, // V2 among others
		{"J2 tip", scenario{2, budget{appends: 1, trims: 1, tips: 1}}, "is the newest"},
		{"R1", scenario{2, budget{appends: 1, trims: 1, lost: 1, reads: 1, tips: 1}}, "is the newest"},
		{"J2 append", scenario{2, budget{appends: 1, trims: 1, lost: 1, late: 1, crash: 1, reads: 1, leads: 1}}, "ErrFenced"},
		{"J3", scenario{2, budget{appends: 1, trims: 1, leads: 1}}, "not what is committed there"},
		{"J4 no fence", scenario{2, budget{appends: 2, trims: 1, crash: 1, reads: 1}}, "not what is committed there"},
		{"J4 keep fences", scenario{2, budget{appends: 1, trims: 1, leads: 1}}, "not what is committed there"},
		{"J4 fresh id", scenario{2, budget{appends: 2, trims: 1, crash: 1, reads: 1, leads: 1}}, "not what is committed there"},
		{"J5", scenario{2, budget{appends: 1, trims: 1}}, "is lost"},
		{"J6", scenario{2, budget{appends: 1, trims: 1, headLoss: 1, reads: 1}}, "read to the end"},
	} {
		t.Run(test.off, func(t *testing.T) {
			if f := explore(test.n, test.b, "", *exploreFor/10); f.wrong != "" {
				t.Fatalf("with all rules, %s", f.wrong)
			}
			f := explore(test.n, test.b, test.off, 5*time.Minute)
			switch {
			case f.wrong == "":
				t.Errorf("nothing goes wrong without %s (%d states, whole: %v)", test.off, f.states, f.whole)
			case !strings.Contains(f.wrong, test.wrong):
				t.Errorf("something else goes wrong:\n%s", story(test.n, test.b, test.off, f.path))
			default:
				t.Logf("%d states\n%s", f.states, story(test.n, test.b, test.off, f.path))
			}
		})
	}
}
