package chunks

import (
	"sync"
	"time"
)

// Bounds of what is remembered about peers.
const (
	maxAvoided  = 256 // peers; at the bound, the one that may be asked soonest is forgotten
	maxDoubling = 4   // of the time that a peer is avoided
	slowInARow  = 3   // answers that came too late count as one failure
)

// avoided are the peers that failed lately. It decides what a read costs, never whether it succeeds.
//
// mu guards peers. A peer that answers is forgotten.
type avoided struct {
	pause time.Duration

	mu    sync.Mutex
	peers map[string]*lapse
}

// lapse is what is held against one peer.
type lapse struct {
	failures int       // in a row
	slow     int       // in a row, since the last failure
	until    time.Time // it is not asked
	probing  bool      // since it may be asked again, one read asks it
}

func newAvoided(pause time.Duration) *avoided {
	return &avoided{pause: pause, peers: map[string]*lapse{}}
}

// avoids reports whether the peer should not be asked now.
func (a *avoided) avoids(peer string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.peers[peer]
	return l != nil && time.Now().Before(l.until)
}

// allow reports whether the peer may be asked now. After a failure, one read at a time finds out whether it is well again.
func (a *avoided) allow(peer string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.peers[peer]
	if l == nil || l.failures == 0 {
		return true
	}
	now := time.Now()
	if now.Before(l.until) {
		return false
	}
	l.until, l.probing = now.Add(a.pause), true
	return true
}

// answered forgets what was held against a peer.
func (a *avoided) answered(peer string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.peers, peer)
}

// failed avoids a peer for a while, twice as long as the time before.
func (a *avoided) failed(peer string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fail(a.lapse(peer))
}

// slow notes that the bucket answered first.
func (a *avoided) slow(peer string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.lapse(peer)
	if l.slow++; l.slow >= slowInARow || l.probing {
		a.fail(l)
	}
}

// fail counts a failure; those of other reads that were under way count as one with it. Under mu.
func (a *avoided) fail(l *lapse) {
	now := time.Now()
	if now.Before(l.until) && !l.probing {
		return
	}
	l.until = now.Add(a.pause << min(l.failures, maxDoubling))
	l.failures++
	l.slow, l.probing = 0, false
}

// lapse answers the entry of a peer, making room for a new one. Under mu.
func (a *avoided) lapse(peer string) *lapse {
	if l := a.peers[peer]; l != nil {
		return l
	}
	if len(a.peers) >= maxAvoided {
		var first string
		var soonest time.Time
		for p, l := range a.peers {
			if first == "" || l.until.Before(soonest) {
				first, soonest = p, l.until
			}
		}
		delete(a.peers, first)
	}
	l := &lapse{}
	a.peers[peer] = l
	return l
}

// count answers how many peers are not asked now.
func (a *avoided) count() float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	now, n := time.Now(), 0
	for _, l := range a.peers {
		if now.Before(l.until) {
			n++
		}
	}
	return float64(n)
}
