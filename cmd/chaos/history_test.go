package main

import (
	"strings"
	"testing"
	"time"
)

var here = place{"t", 0}

// told is a history in which one producer's records 1 to n were acknowledged, read, and given to a group.
func told(n int32) *history {
	h := newHistory()
	for i := range n {
		m := h.sends(here, 1)
		h.isAcked(here, m, int64(i), time.Duration(i+1))
		h.isRead(here, int64(i), m.write(here), "reader")
		h.isGiven("g", here, int64(i), m.write(here), "member", 2*time.Second)
	}
	return h
}

func TestGoodHistoryIsGood(t *testing.T) {
	h := told(5)
	// A refused record may be in the log or not; another producer's records come in between; a record may be given twice.
	refused := h.sends(here, 1)
	h.isRefused(here, refused)
	other, seventh := h.sends(here, 2), h.sends(here, 1)
	h.isAcked(here, other, 5, time.Second)
	h.isAcked(here, seventh, 6, time.Second)
	for range 2 {
		h.isGiven("g", here, 5, other.write(here), "member", 2*time.Second)
		h.isGiven("g", here, 6, seventh.write(here), "member", 2*time.Second)
	}
	if h.lag["g"] != 2*time.Second-1 {
		t.Errorf("the slowest record took %s", h.lag["g"])
	}
	if h.missing("g") != 0 || h.missing("another") != 7 {
		t.Errorf("missing %d and %d", h.missing("g"), h.missing("another"))
	}
	least := h.leastEnd(here)
	if least != 7 {
		t.Errorf("the log ends at %d", least)
	}
	h.saysEnd(here, 7, least, "agent")
	h.isCommitted("g", here, 3)
	h.saysCommitted("g", here, 5, h.leastCommitted("g", here), "agent")
	h.saysCommitted("g", here, 4, 3, "an agent that was asked before that")
	h.finish([]string{"g"})
	if h.broken != 0 {
		t.Error(h.violations)
	}
}

func TestBrokenPromisesAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(h *history) // of five good records
		want  string
	}{
		"lost": {func(h *history) { h.isAcked(here, h.sends(here, 1), 5, time.Second) }, "lost: record 6"},
		"lost behind the end": {func(h *history) {
			h.isAcked(here, h.sends(here, 1), 5, time.Second)
			h.saysEnd(here, 5, h.leastEnd(here), "agent")
		}, "ends at 5, after it was known to end at 6"},
		"doubled": {func(h *history) {
			h.sends(here, 2)
			h.isGiven("g", here, 5, mark{1, 3}.write(here), "member", 2*time.Second)
		}, "doubled: record 3 of producer 1 is at offsets 2 and 5"},
		"acknowledged twice": {func(h *history) { h.isAcked(here, mark{1, 5}, 4, time.Second) }, "was acknowledged at offset 4, which holds"},
		"reordered": {func(h *history) {
			a, b := h.sends(here, 1), h.sends(here, 1)
			h.isGiven("g", here, 5, b.write(here), "member", 2*time.Second)
			h.isGiven("g", here, 6, a.write(here), "member", 2*time.Second)
		}, "reordered: record 6 of producer 1 at offset 6 comes after record 7"},
		"left out": {func(h *history) {
			h.sends(here, 1)
			h.isGiven("g", here, 5, h.sends(here, 1).write(here), "member", 2*time.Second)
		}, "comes before record 6"},
		"another record": {func(h *history) { h.isRead(here, 2, mark{1, 2}.write(here), "agent") }, "agent read record 2 of producer 1 at offset 2, which holds record 3"},
		"acknowledged elsewhere": {func(h *history) {
			m := h.sends(here, 1)
			h.isAcked(here, m, 4, time.Second)
		}, "record 6 of producer 1 was acknowledged at offset 4, which holds record 5"},
		"changed": {func(h *history) {
			value := mark{1, 3}.write(here)
			value[len(value)-1] ^= 1
			h.isRead(here, 2, value, "agent")
		}, "not what was sent"},
		"cut short": {func(h *history) {
			h.isRead(here, 2, mark{1, 3}.write(here)[:20], "agent")
		}, "not what was sent"},
		"of another place": {func(h *history) { h.isRead(here, 2, mark{1, 3}.write(place{"t", 1}), "agent") }, "not what was sent"},
		"not ours":         {func(h *history) { h.isRead(here, 2, []byte("hello"), "agent") }, "no record of ours"},
		"never sent": {func(h *history) {
			h.sends(here, 2)
			h.isRead(here, 5, mark{1, 6}.write(here), "agent")
		}, "was never sent"},
		"beyond what was sent": {func(h *history) { h.isRead(here, 5, mark{1, 6}.write(here), "agent") }, "only 5 records were sent"},
		"end beyond":           {func(h *history) { h.saysEnd(here, 6, 5, "agent") }, "only 5 records were sent"},
		"gap in the middle": {func(h *history) {
			h.isRefused(here, h.sends(here, 1))
			h.isGiven("g", here, 6, h.sends(here, 1).write(here), "member", 2*time.Second)
		}, "a gap: offset 5 holds nothing"},
		"gap at the end": {func(h *history) {
			h.sends(here, 1)
			h.saysEnd(here, 6, 5, "agent")
		}, "nothing can be read from 5 on"},
		"backwards": {func(h *history) {
			h.isCommitted("g", here, 4)
			h.saysCommitted("g", here, 3, h.leastCommitted("g", here), "agent")
		}, "group g committed 3, after it was known to have committed 4"},
		"backwards after another answer": {func(h *history) {
			h.saysCommitted("g", here, 5, 0, "agent")
			h.saysCommitted("g", here, 4, h.leastCommitted("g", here), "another")
		}, "another says that group g committed 4, after it was known to have committed 5"},
		"committed too much": {func(h *history) { h.isCommitted("g", here, 6) }, "committed 6, but was given 5"},
		"not delivered": {func(h *history) {
			m := h.sends(here, 1)
			h.isRead(here, 5, m.write(here), "reader")
		}, "not delivered: group g was never given record 6"},
	} {
		t.Run(name, func(t *testing.T) {
			h := told(5)
			c.spoil(h)
			h.finish([]string{"g"})
			if h.broken == 0 || !strings.Contains(strings.Join(h.violations, "\n"), c.want) {
				t.Errorf("want %q, got %d: %q", c.want, h.broken, h.violations)
			}
		})
	}
}

func TestViolationsAreBounded(t *testing.T) {
	h := newHistory()
	for range 3 * keptViolations {
		h.accuse("no")
	}
	if h.broken != 3*keptViolations || len(h.violations) != keptViolations {
		t.Errorf("%d kept of %d", len(h.violations), h.broken)
	}
}
