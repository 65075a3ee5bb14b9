package object

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	exploreMutants = flag.Int("explore.mutants", 1, "how many mutants of the driver TestEachMutantIsFound builds; each takes seconds")
	exploreScene   = flag.Int("explore.scene", -1, "the scene that TestScenes explores, in a mutant; -1: a little of each")
)

// scenes are what mutants are explored in. Each has what the ones before it lack.
var scenes = []scenario{
	{procs: 2, budget: budget{appends: 2, trims: 1, lost: 1, reads: 1, leads: 1, tips: 1}},
	{procs: 2, budget: budget{appends: 1, trims: 1, late: 2, reads: 1, leads: 1}},
	{procs: 2, low: true, budget: budget{appends: 2, trims: 2, reads: 1, leads: 1}},
	{procs: 2, budget: budget{appends: 2, trims: 1, lost: 1, late: 1, reads: 1, leads: 1}},
	{procs: 2, budget: budget{appends: 2, trims: 1, getFail: 1, giveUp: 1, reads: 1, leads: 1, tips: 1}},
	{procs: 2, budget: budget{appends: 2, late: 1, giveUp: 1, reads: 1, leads: 1}},
	{procs: 3, budget: budget{appends: 2, trims: 1, reads: 2, leads: 1}},
	{procs: 2, window: 2, budget: budget{appends: 3, trims: 1, reads: 1, leads: 1}},
	{procs: 2, budget: budget{appends: 1, trims: 1, headLoss: 1, reads: 1, leads: 1, tips: 1}},
	{procs: 2, window: 2, run: 1, budget: budget{appends: 3, trims: 1, reads: 1, leads: 1}},
}

// harmless says of a mutant that nothing is found, which is to be shown as well.
const harmless = "(nothing)"

// mutants are small changes to the driver, each of which looks like something a careless hand could do. The harmless ones: a 404
// that is believed only makes the same bytes be sent again, and the next look tells (J1); the boundary of an older snapshot
// is covered by the newer one.
var mutants = []struct {
	name, file, old, new string
	scene                int
	wrong                string // what the exploration finds
}{
	{"an append that does not succeed counts as fenced", "term.go",
		"v, err = t.journal.settle(ctx, e.Index, mine)", "v = slotOther", 0, "ErrFenced"},
	{"412 counts as fenced without a look", "term.go",
		"err == nil && t.journal.putSlot(ctx, e.Index, mine) != nil {\n\t\tv, err =",
		`err == nil {
		lost := t.journal.putSlot(ctx, e.Index, mine)
		if lost != nil && lost.Error() == "condition not met: another writer was first" {
			v = slotOther
		} else if lost != nil {
			v, err = t.journal.settle(ctx, e.Index, mine)
		}
	}
	if false {
		v, err =`, 0, "ErrFenced"},
	{"a trimmed slot counts as fenced", "term.go",
		"the slot was trimmed meanwhile\", e.Index, journal.ErrUnknown", "the slot was trimmed meanwhile\", e.Index, journal.ErrFenced", 0, "ErrFenced"},
	{"a trimmed slot counts as committed", "term.go",
		"case v == slotTrimmed:\n\t\terr = fmt.Errorf(\"append", "case false:\n\t\terr = fmt.Errorf(\"append", 3, "not what is committed"},
	{"a term goes on after an unknown outcome", "term.go",
		"t.end(e.Index-1, false)", "t.end(e.Index-1, v != slotOther)", 0, "goes on"},
	{"a term that is over appends", "term.go",
		"if t.over {\n\t\treturn 0\n\t}", "", 0, "goes on"},
	{"nothing is sent again", "slot.go",
		"_ = j.putSlot(ctx, index, mine) // the next look tells", "", 1, "never returns"},
	{"something else is sent again", "slot.go",
		"_ = j.putSlot(ctx, index, mine) // the next look tells", "mine = append([]byte(nil), mine...)", 1, "never returns"},
	{"a slot is looked at without head", "slot.go",
		"case h.Boundary > index:\n\t\treturn slotTrimmed, nil\n", "case h.Boundary < 0:\n", 3, "not what is committed"},
	{"head is read only if the slot is empty", "slot.go",
		"h, _, err := j.readHead(ctx)\n\tswitch {\n\tcase err != nil:\n\t\treturn 0, err\n\tcase h.Boundary > index",
		"var h journal.Head\n\tif !found {\n\t\th, _, err = j.readHead(ctx)\n\t}\n\tswitch {\n\tcase err != nil && !found:\n\t\treturn 0, err\n\tcase h.Boundary > index", 3, "not what is committed"},
	{"head is read only if the slot is filled", "slot.go",
		"h, _, err := j.readHead(ctx)\n\tswitch {\n\tcase err != nil:\n\t\treturn 0, err\n\tcase h.Boundary > index",
		"var h journal.Head\n\tif found {\n\t\th, _, err = j.readHead(ctx)\n\t}\n\tswitch {\n\tcase err != nil && found:\n\t\treturn 0, err\n\tcase h.Boundary > index", 3, harmless},
	{"head is read before the slot", "slot.go",
		"b, found, err := j.getSlot(ctx, index)\n\tswitch {",
		"early, _, err := j.readHead(ctx)\n\tif err != nil {\n\t\treturn 0, err\n\t}\n\tif early.Boundary > index {\n\t\treturn slotTrimmed, nil\n\t}\n\tindex0 := index\n\tb, found, err := j.getSlot(ctx, index)\n\tindex = 1 << 60\n\t_ = index0\n\tswitch {", 3, ""},
	{"boundary at the slot counts as trimmed", "slot.go",
		"case h.Boundary > index:", "case h.Boundary >= index && h.Boundary > 0:", 3, ""},
	{"boundary just above the slot counts as not trimmed", "slot.go",
		"case h.Boundary > index:", "case h.Boundary > index+1:", 3, "not what is committed"},
	{"a reader does not look at head", "read.go",
		"h.Boundary > g.first", "h.Boundary < 0", 0, "read to the end"},
	{"a reader checks the end of its run", "read.go",
		"h.Boundary > g.first", "h.Boundary > g.first+uint64(len(g.entries))", 6, "not what is committed"},
	{"a reader believes a 404", "read.go",
		"h.Boundary > g.first", "len(g.entries) > 0 && h.Boundary > g.first", 0, "read to the end"},
	{"a reader believes what is there", "read.go",
		"h.Boundary > g.first", "len(g.entries) == 0 && h.Boundary > g.first", 6, "not what is committed"},
	{"a reader skips a hole", "read.go",
		"\t\t\tg.last = true\n\t\t\tbreak\n", "\t\t\tr.next++\n\t\t\tg.last = r.next > 10\n\t\t\tcontinue\n", 7, "not what is committed"},
	{"a reader looks at head before it gathers", "read.go",
		"g.failed = r.gather(ctx, g)", "g.invalid = r.journal.check(ctx, g)\n\t\tg.failed = r.gather(ctx, g)", 9, "read to the end"},
	{"a look at head counts for the runs after it", "read.go",
		"<-now.checked\n\t\t\tif now.invalid != nil {", "if now.first == from {\n\t\t\t\t<-now.checked\n\t\t\t}\n\t\t\tif now.first == from && now.invalid != nil {",
		9, "read to the end"},
	{"a reader does not wait for head", "read.go",
		"<-now.checked\n\t\t\tif now.invalid != nil {", "if now.first == 0 {", 9, "read to the end"},
	{"a candidate looks at head before its fence", "term.go",
		"if j.putSlot(ctx, index, mine) != nil {\n\t\treturn j.settle(ctx, index, mine)\n\t}\n\th, _, err := j.readHead(ctx)",
		"h, _, err := j.readHead(ctx)\n\tif err != nil {\n\t\treturn 0, err\n\t}\n\tif j.putSlot(ctx, index, mine) != nil {\n\t\treturn j.settle(ctx, index, mine)\n\t}", 0, "not what is committed"},
	{"a candidate looks one slot too far", "term.go",
		"if err == nil && h.Boundary > index {", "if err == nil && h.Boundary > index+1 {", 0, "not what is committed"},
	{"a fence that does not succeed counts as behind", "term.go",
		"return j.settle(ctx, index, mine)", "return slotOther, nil", 1, "is behind, and nothing was committed"},
	{"a fence is put over what is there", "slot.go",
		"objectstore.NewBody(b), objectstore.IfAbsent())", "objectstore.NewBody(b), objectstore.Condition{})", 0, ""},
	{"a follower's tip does not look at head", "tip.go",
		"case rests:\n\t\treturn nil", "case rests || true:\n\t\treturn nil", 0, "is the newest"},
	{"a leader answers from memory", "tip.go",
		"_, found, err := j.getSlot(ctx, applied+1)", "if rests {\n\t\treturn nil\n\t}\n\t_, found, err := j.getSlot(ctx, applied+1)", 0, "is the newest"},
	{"a leader that was deposed counts as at rest", "tip.go",
		"rests := j.rests(applied)", "rests := j.term != nil", 0, "is the newest"},
	{"a term that is over counts as at rest", "term.go",
		"return !t.over && !t.outstanding", "return !t.outstanding", 0, "is the newest"},
	{"every tip is behind", "tip.go",
		"case h.Boundary > applied+1:\n\t\treturn journal.ErrTrimmed", "case h.Boundary > applied:\n\t\treturn journal.ErrTrimmed", 0, "is trimmed, and the boundary"},
	{"deletes go beyond head's boundary", "trim.go",
		"index < h.Deletable(t)", "index < max(t.Boundary, h.Deletable(t))", 2, "is lost"},
	{"deletes go beyond what is known", "trim.go",
		"index < h.Deletable(t)", "index < h.Boundary", 2, "is lost"},
	{"deletes include the boundary", "trim.go",
		"index < h.Deletable(t)", "index <= h.Deletable(t)", 2, "is lost"},
	{"deletes go by the slots alone", "trim.go",
		"if t.Keep(index) {", "if false {", 0, "is lost"},
	{"a swap that does not succeed counts as done", "trim.go",
		"if final(err) {\n\t\t\treturn h, err\n\t\t}", "return next, nil", 1, "is lost"},
	{"head is replaced unconditionally", "trim.go",
		"objectstore.IfVersion(version)", "objectstore.IfVersion(version[:0])", 2, "head went from"},
	{"the snapshot behind is published too", "../head.go",
		"if t.Snapshot < h.Snapshot {\n\t\treturn h, false, nil\n\t}\n", "", 2, harmless},
	{"a boundary behind is published too", "../head.go",
		"next.Boundary = max(h.Boundary, t.Boundary)", "next.Boundary = t.Boundary", 2, "head went from"},
	{"a missing head is a fresh one", "object.go",
		"return journal.Head{}, \"\", fmt.Errorf(\"%w (%w)\", journal.ErrNoHead, err)", "return journal.Head{Cluster: [16]byte{1}}, \"\", nil", 8, ""},
}

// also is what some mutants change besides, in the same file.
var also = map[string][2]string{
	"a reader looks at head before it gathers": {"\t\t\tg.invalid = r.journal.check(ctx, g)\n", ""},
}

// TestMutantsAreStillMutants keeps the list true to the source: each text is there once.
func TestMutantsAreStillMutants(t *testing.T) {
	for _, m := range mutants {
		b, err := os.ReadFile(m.file)
		must(t, err)
		for _, old := range []string{m.old, also[m.name][0]} {
			if n := strings.Count(string(b), old); n != 1 && old != "" {
				t.Errorf("%s: %s has %q %d times", m.name, m.file, old, n)
			}
		}
	}
}

// TestScenes explores the scenes with the driver as it is, or one of them with a mutant, if TestEachMutantIsFound says so.
func TestScenes(t *testing.T) {
	for i, s := range scenes {
		limit := *exploreTime / 20
		if *exploreScene >= 0 {
			limit = 5 * time.Minute
		}
		if *exploreScene >= 0 && *exploreScene != i {
			continue
		}
		m := newModel(s, "")
		m.each = m.promise().check
		f := m.shortest(limits{time: limit})
		if f.wrong != "" {
			t.Errorf("scene %d:\n%s", i, story(s, "", false, f.path))
		}
		t.Logf("scene %d: %d worlds, whole: %v", i, f.states, f.whole)
	}
}

// TestEachMutantIsFound builds mutants, the first if -explore.mutants does not say more, and runs the exploration in each.
func TestEachMutantIsFound(t *testing.T) {
	for _, m := range mutants[:min(*exploreMutants, len(mutants))] {
		t.Run(m.name, func(t *testing.T) {
			b, err := os.ReadFile(m.file)
			must(t, err)
			dir := t.TempDir()
			mutant, overlay, here := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json"), ""
			here, err = filepath.Abs(m.file)
			must(t, err)
			text := strings.Replace(string(b), m.old, m.new, 1)
			if more := also[m.name]; more[0] != "" {
				text = strings.Replace(text, more[0], more[1], 1)
			}
			must(t, os.WriteFile(mutant, []byte(text), 0o600))
			b, err = json.Marshal(map[string]map[string]string{"Replace": {here: mutant}})
			must(t, err)
			must(t, os.WriteFile(overlay, b, 0o600))
			args := []string{"test", "-v", "-vet=off", "-overlay", overlay, "-run", "^TestScenes$", ".", "-explore.scene", string(rune('0' + m.scene))}
			out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput()
			switch {
			case m.wrong == harmless:
				if err != nil || !strings.Contains(string(out), "whole: true") {
					t.Errorf("is not harmless:\n%s", out)
				}
			case err == nil:
				t.Errorf("was not found:\n%s", out)
			case !strings.Contains(string(out), m.wrong) || !strings.Contains(string(out), "=> "):
				t.Errorf("something else was found:\n%s", out)
			default:
				t.Logf("%s", out)
			}
		})
	}
}
