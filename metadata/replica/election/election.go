// Package election is what all agents compute alike from the same state: who stands before whom when the leader is gone, how long they
// hold back after several elections, and which agent brings entries into a zone. It only spreads agents out, and must never be needed
// for safety: whoever puts a fence leads.
package election

import (
	"encoding/binary"
	"hash/fnv"
	"time"

	"github.com/leat-stream/leat/metadata/state"
)

// Elections are spread out so that one agent fences and the others find it: each waits Pause for each of those that rank before it.
// After several fences within window everybody waits longer, up to maxBackoff.
const (
	Pause = 250 * time.Millisecond

	// Remembered is how many fences it is worth remembering.
	Remembered = 8

	window     = 30 * time.Second
	maxBackoff = 10 * time.Second
)

// Rank orders the agents of a term: the lowest stands first. It is the same everywhere, and another order in every term.
func Rank(term uint64, session state.UUID) uint64 {
	h := fnv.New64a()
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], term)
	_, _ = h.Write(session[:])
	_, _ = h.Write(b[:])
	x := h.Sum64() // whose high bits hardly depend on the term: they are mixed (the finalizer of MurmurHash3)
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// Backoff is how long to wait before an election, by when the newest fences were seen. The spread between agents comes from their
// ranks.
func Backoff(fences []time.Time, now time.Time) time.Duration {
	recent := 0
	for _, at := range fences {
		if now.Sub(at) < window {
			recent++
		}
	}
	if recent < 2 {
		return 0
	}
	return min(Pause<<min(recent, Remembered), maxBackoff)
}

// Relay is the address of the agent of a zone that follows the leader of a term for all of them: the first by rank. "" if the leader
// is in this zone, or the zone has no name or nobody who could.
func Relay(r state.Reader, term uint64, leader state.UUID, zone string) string {
	if s, ok := r.Session(leader); zone == "" || !ok || s.Zone == zone {
		return ""
	}
	var best state.Session
	for s := range r.Sessions() {
		if s.Closed || s.Leaving || s.Peer == "" || s.Zone != zone {
			continue
		}
		if best.Peer == "" || Rank(term, s.ID) < Rank(term, best.ID) {
			best = s
		}
	}
	return best.Peer
}
