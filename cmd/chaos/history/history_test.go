package history

import (
	"strings"
	"testing"
	"time"
)

var here = Place{"t", 0}

// told is a history in which one producer's records 1 to n were acknowledged, read, and given to a group.
func told(n int32) *History {
	h := New()
	for i := range n {
		m := h.Sends(here, 1)
		h.IsAcked(here, m, int64(i), time.Duration(i+1))
		h.IsRead(here, int64(i), m.Value(here), "reader")
		h.IsGiven("g", here, int64(i), m.Value(here), "member", 2*time.Second)
	}
	return h
}

func TestGoodHistoryIsGood(t *testing.T) {
	h := told(5)
	// A refused record may be in the log or not; another producer's records come in between; a record may be given twice.
	refused := h.Sends(here, 1)
	h.IsRefused(here, refused)
	other, seventh := h.Sends(here, 2), h.Sends(here, 1)
	h.IsAcked(here, other, 5, time.Second)
	h.IsAcked(here, seventh, 6, time.Second)
	for range 2 {
		h.IsGiven("g", here, 5, other.Value(here), "member", 2*time.Second)
		h.IsGiven("g", here, 6, seventh.Value(here), "member", 2*time.Second)
	}
	if h.Lag["g"] != 2*time.Second-1 {
		t.Errorf("the slowest record took %s", h.Lag["g"])
	}
	if h.Missing("g") != 0 || h.Missing("another") != 7 {
		t.Errorf("missing %d and %d", h.Missing("g"), h.Missing("another"))
	}
	least := h.LeastEnd(here)
	if least != 7 {
		t.Errorf("the log ends at %d", least)
	}
	h.SaysEnd(here, 7, least, "agent")
	h.IsCommitted("g", here, 3)
	h.SaysCommitted("g", here, 5, h.LeastCommitted("g", here), "agent")
	h.SaysCommitted("g", here, 4, 3, "an agent that was asked before that")
	h.Finish([]string{"g"})
	if h.Broken != 0 {
		t.Error(h.Violations)
	}
}

func TestBrokenPromisesAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(h *History) // of five good records
		want  string
	}{
		"lost": {func(h *History) { h.IsAcked(here, h.Sends(here, 1), 5, time.Second) }, "lost: record 6"},
		"lost behind the end": {func(h *History) {
			h.IsAcked(here, h.Sends(here, 1), 5, time.Second)
			h.SaysEnd(here, 5, h.LeastEnd(here), "agent")
		}, "ends at 5, after it was known to end at 6"},
		"doubled": {func(h *History) {
			h.Sends(here, 2)
			h.IsGiven("g", here, 5, Mark{1, 3}.Value(here), "member", 2*time.Second)
		}, "doubled: record 3 of producer 1 is at offsets 2 and 5"},
		"acknowledged twice": {func(h *History) { h.IsAcked(here, Mark{1, 5}, 4, time.Second) }, "was acknowledged at offset 4, which holds"},
		"reordered": {func(h *History) {
			a, b := h.Sends(here, 1), h.Sends(here, 1)
			h.IsGiven("g", here, 5, b.Value(here), "member", 2*time.Second)
			h.IsGiven("g", here, 6, a.Value(here), "member", 2*time.Second)
		}, "reordered: record 6 of producer 1 at offset 6 comes after record 7"},
		"left out": {func(h *History) {
			h.Sends(here, 1)
			h.IsGiven("g", here, 5, h.Sends(here, 1).Value(here), "member", 2*time.Second)
		}, "comes before record 6"},
		"another record": {func(h *History) { h.IsRead(here, 2, Mark{1, 2}.Value(here), "agent") }, "agent read record 2 of producer 1 at offset 2, which holds record 3"},
		"acknowledged elsewhere": {func(h *History) {
			m := h.Sends(here, 1)
			h.IsAcked(here, m, 4, time.Second)
		}, "record 6 of producer 1 was acknowledged at offset 4, which holds record 5"},
		"changed": {func(h *History) {
			value := Mark{1, 3}.Value(here)
			value[len(value)-1] ^= 1
			h.IsRead(here, 2, value, "agent")
		}, "not what was sent"},
		"cut short": {func(h *History) {
			h.IsRead(here, 2, Mark{1, 3}.Value(here)[:20], "agent")
		}, "not what was sent"},
		"of another place": {func(h *History) { h.IsRead(here, 2, Mark{1, 3}.Value(Place{"t", 1}), "agent") }, "not what was sent"},
		"not ours":         {func(h *History) { h.IsRead(here, 2, []byte("hello"), "agent") }, "no record of ours"},
		"never sent": {func(h *History) {
			h.Sends(here, 2)
			h.IsRead(here, 5, Mark{1, 6}.Value(here), "agent")
		}, "was never sent"},
		"beyond what was sent": {func(h *History) { h.IsRead(here, 5, Mark{1, 6}.Value(here), "agent") }, "only 5 records were sent"},
		"end beyond":           {func(h *History) { h.SaysEnd(here, 6, 5, "agent") }, "only 5 records were sent"},
		"gap in the middle": {func(h *History) {
			h.IsRefused(here, h.Sends(here, 1))
			h.IsGiven("g", here, 6, h.Sends(here, 1).Value(here), "member", 2*time.Second)
		}, "a gap: offset 5 holds nothing"},
		"gap at the end": {func(h *History) {
			h.Sends(here, 1)
			h.SaysEnd(here, 6, 5, "agent")
		}, "nothing can be read from 5 on"},
		"backwards": {func(h *History) {
			h.IsCommitted("g", here, 4)
			h.SaysCommitted("g", here, 3, h.LeastCommitted("g", here), "agent")
		}, "group g committed 3, after it was known to have committed 4"},
		"backwards after another answer": {func(h *History) {
			h.SaysCommitted("g", here, 5, 0, "agent")
			h.SaysCommitted("g", here, 4, h.LeastCommitted("g", here), "another")
		}, "another says that group g committed 4, after it was known to have committed 5"},
		"committed too much": {func(h *History) { h.IsCommitted("g", here, 6) }, "committed 6, but was given 5"},
		"not delivered": {func(h *History) {
			m := h.Sends(here, 1)
			h.IsRead(here, 5, m.Value(here), "reader")
		}, "not delivered: group g was never given record 6"},
	} {
		t.Run(name, func(t *testing.T) {
			h := told(5)
			c.spoil(h)
			h.Finish([]string{"g"})
			if h.Broken == 0 || !strings.Contains(strings.Join(h.Violations, "\n"), c.want) {
				t.Errorf("want %q, got %d: %q", c.want, h.Broken, h.Violations)
			}
		})
	}
}

func TestViolationsAreBounded(t *testing.T) {
	h := New()
	for range 3 * keptViolations {
		h.Accuse("no")
	}
	if h.Broken != 3*keptViolations || len(h.Violations) != keptViolations {
		t.Errorf("%d kept of %d", len(h.Violations), h.Broken)
	}
}
