package history

import (
	"cmp"
	"fmt"
	"io"
)

func cmpPlaces(a, b Place) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}

// Finish judges what only the whole tells, after everything was read from beginning to end and every group had time to get
// everything.
func (h *History) Finish(groups []string) {
	for _, p := range h.Places() {
		h.mu.Lock()
		h.finishLog(p)
		for _, name := range groups {
			h.finishGroup(name, p)
		}
		h.mu.Unlock()
	}
}

// finishLog judges one partition. mu is held.
func (h *History) finishLog(p Place) {
	l := h.log(p)
	last := map[int32]int32{} // by producer: number of its last record in the log
	seen := map[Mark]int64{}
	for offset, e := range l.entries {
		switch {
		case e.Mark == (Mark{}):
			h.violate("%s: a gap: offset %d holds nothing, but the log ends at %d", p, offset, l.end)
			continue
		case !e.read && e.acked != 0:
			h.violate("%s: lost: %s, acknowledged %.3f s after the beginning at offset %d", p, e.Mark, e.acked.Seconds(), offset)
			continue
		}
		if first, ok := seen[e.Mark]; ok {
			h.violate("%s: doubled: %s is at offsets %d and %d", p, e.Mark, first, offset)
			continue
		}
		seen[e.Mark] = int64(offset)
		h.finishNext(l, p, e.Mark, last, int64(offset))
	}
	if int64(len(l.entries)) < l.end {
		h.violate("%s: a gap: the log ends at %d, but nothing can be read from %d on", p, l.end, len(l.entries))
	}
}

// finishNext judges one record against those of its producer before it. mu is held.
func (h *History) finishNext(l *partition, p Place, m Mark, last map[int32]int32, offset int64) {
	before := last[m.producer]
	if m.number > l.sent[m.producer] {
		h.violate("%s: %s at offset %d was never sent", p, m, offset)
		return
	}
	if m.number < before {
		h.violate("%s: reordered: %s at offset %d comes after record %d", p, m, offset, before)
		return
	}
	for skipped := before + 1; skipped < m.number; skipped++ {
		if !l.failed[Mark{m.producer, skipped}] { // it comes later or never; either breaks the order
			h.violate("%s: reordered: %s at offset %d comes before record %d", p, m, offset, skipped)
		}
	}
	last[m.producer] = m.number
}

// finishGroup judges what a group was given of one partition. mu is held.
func (h *History) finishGroup(name string, p Place) {
	given := h.group(name, p).given
	for offset, e := range h.log(p).entries {
		if e.Mark != (Mark{}) && (offset >= len(given) || !given[offset]) {
			h.violate("%s: not delivered: group %s was never given %s at offset %d", p, name, e.Mark, offset)
		}
	}
}

// List writes everything that is known, for whoever looks for a reason.
func (h *History) List(to io.Writer) error {
	for _, p := range h.Places() {
		h.mu.Lock()
		l := h.log(p)
		for offset, e := range l.entries {
			if _, err := fmt.Fprintf(to, "%s offset %d: %s, acknowledged after %.3f s, read %t\n", p, offset, e.Mark, e.acked.Seconds(), e.read); err != nil {
				h.mu.Unlock()
				return err
			}
		}
		for m := range l.failed {
			if _, err := fmt.Fprintf(to, "%s refused: %s\n", p, m); err != nil {
				h.mu.Unlock()
				return err
			}
		}
		h.mu.Unlock()
	}
	return nil
}
