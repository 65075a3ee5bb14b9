package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// history is what clients saw, and the judge of it. It is safe for concurrent use. What can be judged at once is; the rest by
// finish. What a client is told belongs into it before anything else happens because of it.
//
// The promises, as they are judged:
//
//   - final: an offset holds the same record whenever and by whomever it is read, and the one that was acknowledged with it
//   - lost: every acknowledged record is in the log when all is over
//   - doubled, reordered: of each producer and partition every record is in the log once at most, in the order it was sent
//   - dense: every offset from 0 to the end holds a record
//   - fresh: an answer about the end of a log, or about a group's offsets, that was asked for after an acknowledgement (or after
//     another such answer) does not lie behind it
//   - backwards: a group's committed offsets never move back, and never pass what the group was given
//   - delivered: each group was given every record
type history struct {
	mu         sync.Mutex
	logs       map[place]*partition
	groups     map[string]map[place]*progress
	violations []string                 // at most keptViolations of a kind
	kept       map[string]int           // by kind: its format
	broken     int                      // violations in all
	lag        map[string]time.Duration // by group: the longest from a record's acknowledgement until it was given

	acked, failed, read, consumed, commits, ends, watched int // counted
}

// keptViolations is how many violations of a kind are told; the others are counted only.
const keptViolations = 10

// partition is what is known of one partition.
type partition struct {
	entries []entry
	sent    map[int32]int32 // by producer: the number of its last record
	total   int64           // records sent
	failed  map[mark]bool   // records that were refused, which may be in the log or not
	end     int64           // every answer asked for from now on must say at least that
}

// entry is one offset. The zero mark is not known yet.
type entry struct {
	mark
	acked time.Duration // when, since the beginning; 0: not acknowledged
	read  bool
}

// progress is what is known of a group in one partition.
type progress struct {
	given []bool // by offset
	floor int64  // every answer about the committed offset, asked for from now on, must say at least that
}

func newHistory() *history {
	return &history{logs: map[place]*partition{}, groups: map[string]map[place]*progress{}, lag: map[string]time.Duration{}, kept: map[string]int{}}
}

// log answers the partition. mu is held.
func (h *history) log(p place) *partition {
	l := h.logs[p]
	if l == nil {
		l = &partition{sent: map[int32]int32{}, failed: map[mark]bool{}}
		h.logs[p] = l
	}
	return l
}

// group answers the group's progress. mu is held.
func (h *history) group(name string, p place) *progress {
	if h.groups[name] == nil {
		h.groups[name] = map[place]*progress{}
	}
	g := h.groups[name][p]
	if g == nil {
		g = &progress{}
		h.groups[name][p] = g
	}
	return g
}

// violate notes a broken promise. mu is held.
func (h *history) violate(format string, args ...any) {
	h.broken++
	if h.kept[format]++; h.kept[format] <= keptViolations {
		h.violations = append(h.violations, fmt.Sprintf(format, args...))
	}
}

// accuse notes a broken promise that others found.
func (h *history) accuse(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.violate(format, args...)
}

// isBroken tells whether a promise is known to be broken.
func (h *history) isBroken() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.broken > 0
}

// sends answers the mark of the next record that the producer sends there.
func (h *history) sends(p place, producer int32) mark {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.log(p)
	l.sent[producer]++
	l.total++
	return mark{producer, l.sent[producer]}
}

// at answers what is known of an offset, or nil if there can be no such offset. mu is held.
func (h *history) at(p place, offset int64, who string) *entry {
	l := h.log(p)
	if offset < 0 || offset >= l.total {
		h.violate("%s: %s names offset %d, but only %d records were sent there", p, who, offset, l.total)
		return nil
	}
	for int64(len(l.entries)) <= offset {
		l.entries = append(l.entries, entry{})
	}
	return &l.entries[offset]
}

// isAcked: the producer was told the record's offset, since after the beginning.
func (h *history) isAcked(p place, m mark, offset int64, since time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.acked++
	e := h.at(p, offset, "an acknowledgement")
	if e == nil {
		return
	}
	if e.mark != (mark{}) && (e.mark != m || e.acked != 0) {
		h.violate("%s: %s was acknowledged at offset %d, which holds %s (acknowledged: %t)", p, m, offset, e.mark, e.acked != 0)
		return
	}
	e.mark, e.acked = m, max(since, 1)
	l := h.log(p)
	l.end = max(l.end, offset+1)
}

// isRefused: the producer was told that the record may not have been stored.
func (h *history) isRefused(p place, m mark) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed++
	h.log(p).failed[m] = true
}

// isRead: who read these bytes at that offset.
func (h *history) isRead(p place, offset int64, value []byte, who string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.read++
	h.see(p, offset, value, who)
}

// see notes what somebody read. mu is held.
func (h *history) see(p place, offset int64, value []byte, who string) {
	m, err := parse(p, value)
	if err != nil {
		h.violate("%s: %s read at offset %d: %v", p, who, offset, err)
		return
	}
	e := h.at(p, offset, who)
	switch {
	case e == nil:
	case e.mark != (mark{}) && e.mark != m:
		h.violate("%s: %s read %s at offset %d, which holds %s (acknowledged: %t, read before: %t)", p, who, m, offset, e.mark, e.acked != 0, e.read)
	default:
		e.mark, e.read = m, true
		l := h.log(p)
		l.end = max(l.end, offset+1)
	}
}

// isGiven: a member of the group was given the record, since after the beginning.
func (h *history) isGiven(group string, p place, offset int64, value []byte, who string, since time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.consumed++
	h.see(p, offset, value, who)
	g := h.group(group, p)
	if offset < 0 || offset >= h.log(p).total { // see has said so
		return
	}
	for int64(len(g.given)) <= offset {
		g.given = append(g.given, false)
	}
	if e := h.log(p).entries[offset]; !g.given[offset] && e.acked != 0 {
		h.lag[group] = max(h.lag[group], since-e.acked)
	}
	g.given[offset] = true
}

// leastEnd is what an answer about the end of the log must say that is asked for from now on.
func (h *history) leastEnd(p place) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log(p).end
}

// saysEnd: who answered the end of the log, asked for after leastEnd said least.
func (h *history) saysEnd(p place, end, least int64, who string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ends++
	l := h.log(p)
	if end < least {
		h.violate("%s: %s says that the log ends at %d, after it was known to end at %d", p, who, end, least)
	}
	if end > l.total {
		h.violate("%s: %s says that the log ends at %d, but only %d records were sent there", p, who, end, l.total)
		return
	}
	l.end = max(l.end, end)
}

// leastCommitted is what an answer about the group's offset must say that is asked for from now on.
func (h *history) leastCommitted(group string, p place) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.group(group, p).floor
}

// isCommitted: a member of the group was told that its commit counts.
func (h *history) isCommitted(group string, p place, offset int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.commits++
	h.commit(group, p, offset)
}

// saysCommitted: who answered the group's offset, asked for after leastCommitted said least.
func (h *history) saysCommitted(group string, p place, offset, least int64, who string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watched++
	if offset < least {
		h.violate("%s: %s says that group %s committed %d, after it was known to have committed %d", p, who, group, offset, least)
	}
	h.commit(group, p, offset)
}

// commit notes what is committed for certain. mu is held.
func (h *history) commit(group string, p place, offset int64) {
	g := h.group(group, p)
	if offset > int64(len(g.given)) {
		h.violate("%s: group %s committed %d, but was given %d records", p, group, offset, len(g.given))
	}
	g.floor = max(g.floor, offset)
}

// missing is how many acknowledged records the group was not given yet.
func (h *history) missing(group string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for p, l := range h.logs {
		given := h.group(group, p).given
		for offset, e := range l.entries {
			if e.mark != (mark{}) && (offset >= len(given) || !given[offset]) {
				n++
			}
		}
	}
	return n
}

// places lists the partitions that were written to, in order.
func (h *history) places() []place {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]place, 0, len(h.logs))
	for p := range h.logs {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b place) int {
		return cmpPlaces(a, b)
	})
	return all
}
