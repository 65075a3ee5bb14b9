// Package history is what the clients of a chaos run saw, and the judge of it. It must never excuse what breaks a promise,
// whatever faults there were, nor call an answer wrong because of what became known only after it was asked for.
package history

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// History is what clients saw, and the judge of it. It is safe for concurrent use. What can be judged at once is; the rest by
// Finish. What a client is told belongs into it before anything else happens because of it.
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
type History struct {
	mu     sync.Mutex
	logs   map[Place]*partition
	groups map[string]map[Place]*progress
	kept   map[string]int // violations that are told, by kind: its format

	// What came out. Not to be read before everybody has ended; until then there is IsBroken.

	Violations []string                 // at most keptViolations of a kind
	Broken     int                      // violations in all
	Lag        map[string]time.Duration // by group: the longest from a record's acknowledgement until it was given

	Sent, Acked, Failed int // records, by what their producers know
	Read, Consumed      int // records, at one agent and in groups
	Commits             int // that were acknowledged, each of a partition
	Ends, Watched       int // answers about ends of logs, and about committed offsets
}

// keptViolations is how many violations of a kind are told; the others are counted only.
const keptViolations = 10

// partition is what is known of one partition.
type partition struct {
	entries []entry
	sent    map[int32]int32 // by producer: the number of its last record
	total   int64           // records sent
	failed  map[Mark]bool   // records that were refused, which may be in the log or not
	end     int64           // every answer asked for from now on must say at least that
}

// entry is one offset. The zero mark is not known yet.
type entry struct {
	Mark
	acked time.Duration // when, since the beginning; 0: not acknowledged
	read  bool
}

// progress is what is known of a group in one partition.
type progress struct {
	given []bool // by offset
	floor int64  // every answer about the committed offset, asked for from now on, must say at least that
}

// New makes a history in which nothing has happened yet.
func New() *History {
	return &History{logs: map[Place]*partition{}, groups: map[string]map[Place]*progress{}, Lag: map[string]time.Duration{}, kept: map[string]int{}}
}

// log answers the partition. mu is held.
func (h *History) log(p Place) *partition {
	l := h.logs[p]
	if l == nil {
		l = &partition{sent: map[int32]int32{}, failed: map[Mark]bool{}}
		h.logs[p] = l
	}
	return l
}

// group answers the group's progress. mu is held.
func (h *History) group(name string, p Place) *progress {
	if h.groups[name] == nil {
		h.groups[name] = map[Place]*progress{}
	}
	g := h.groups[name][p]
	if g == nil {
		g = &progress{}
		h.groups[name][p] = g
	}
	return g
}

// violate notes a broken promise. mu is held.
func (h *History) violate(format string, args ...any) {
	h.Broken++
	if h.kept[format]++; h.kept[format] <= keptViolations {
		h.Violations = append(h.Violations, fmt.Sprintf(format, args...))
	}
}

// Accuse notes a broken promise that others found.
func (h *History) Accuse(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.violate(format, args...)
}

// IsBroken tells whether a promise is known to be broken.
func (h *History) IsBroken() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.Broken > 0
}

// Sends answers the mark of the next record that the producer sends there.
func (h *History) Sends(p Place, producer int32) Mark {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.log(p)
	l.sent[producer]++
	l.total++
	h.Sent++
	return Mark{producer, l.sent[producer]}
}

// at answers what is known of an offset, or nil if there can be no such offset. mu is held.
func (h *History) at(p Place, offset int64, who string) *entry {
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

// IsAcked: the producer was told the record's offset, since after the beginning.
func (h *History) IsAcked(p Place, m Mark, offset int64, since time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Acked++
	e := h.at(p, offset, "an acknowledgement")
	if e == nil {
		return
	}
	if e.Mark != (Mark{}) && (e.Mark != m || e.acked != 0) {
		h.violate("%s: %s was acknowledged at offset %d, which holds %s (acknowledged: %t)", p, m, offset, e.Mark, e.acked != 0)
		return
	}
	e.Mark, e.acked = m, max(since, 1)
	l := h.log(p)
	l.end = max(l.end, offset+1)
}

// IsRefused: the producer was told that the record may not have been stored.
func (h *History) IsRefused(p Place, m Mark) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Failed++
	h.log(p).failed[m] = true
}

// IsRead: who read these bytes at that offset.
func (h *History) IsRead(p Place, offset int64, value []byte, who string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Read++
	h.see(p, offset, value, who)
}

// see notes what somebody read. mu is held.
func (h *History) see(p Place, offset int64, value []byte, who string) {
	m, err := parse(p, value)
	if err != nil {
		h.violate("%s: %s read at offset %d: %v", p, who, offset, err)
		return
	}
	e := h.at(p, offset, who)
	switch {
	case e == nil:
	case e.Mark != (Mark{}) && e.Mark != m:
		h.violate("%s: %s read %s at offset %d, which holds %s (acknowledged: %t, read before: %t)", p, who, m, offset, e.Mark, e.acked != 0, e.read)
	default:
		e.Mark, e.read = m, true
		l := h.log(p)
		l.end = max(l.end, offset+1)
	}
}

// IsGiven: a member of the group was given the record, since after the beginning.
func (h *History) IsGiven(group string, p Place, offset int64, value []byte, who string, since time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Consumed++
	h.see(p, offset, value, who)
	g := h.group(group, p)
	if offset < 0 || offset >= h.log(p).total { // see has said so
		return
	}
	for int64(len(g.given)) <= offset {
		g.given = append(g.given, false)
	}
	if e := h.log(p).entries[offset]; !g.given[offset] && e.acked != 0 {
		h.Lag[group] = max(h.Lag[group], since-e.acked)
	}
	g.given[offset] = true
}

// LeastEnd is what an answer about the end of the log must say that is asked for from now on.
func (h *History) LeastEnd(p Place) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log(p).end
}

// SaysEnd: who answered the end of the log, asked for after LeastEnd said least.
func (h *History) SaysEnd(p Place, end, least int64, who string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Ends++
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

// LeastCommitted is what an answer about the group's offset must say that is asked for from now on.
func (h *History) LeastCommitted(group string, p Place) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.group(group, p).floor
}

// IsCommitted: a member of the group was told that its commit counts.
func (h *History) IsCommitted(group string, p Place, offset int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Commits++
	h.commit(group, p, offset)
}

// SaysCommitted: who answered the group's offset, asked for after LeastCommitted said least.
func (h *History) SaysCommitted(group string, p Place, offset, least int64, who string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Watched++
	if offset < least {
		h.violate("%s: %s says that group %s committed %d, after it was known to have committed %d", p, who, group, offset, least)
	}
	h.commit(group, p, offset)
}

// commit notes what is committed for certain. mu is held.
func (h *History) commit(group string, p Place, offset int64) {
	g := h.group(group, p)
	if offset > int64(len(g.given)) {
		h.violate("%s: group %s committed %d, but was given %d records", p, group, offset, len(g.given))
	}
	g.floor = max(g.floor, offset)
}

// Missing is how many acknowledged records the group was not given yet.
func (h *History) Missing(group string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for p, l := range h.logs {
		given := h.group(group, p).given
		for offset, e := range l.entries {
			if e.Mark != (Mark{}) && (offset >= len(given) || !given[offset]) {
				n++
			}
		}
	}
	return n
}

// Places lists the partitions that were written to, in order.
func (h *History) Places() []Place {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]Place, 0, len(h.logs))
	for p := range h.logs {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b Place) int {
		return cmpPlaces(a, b)
	})
	return all
}
