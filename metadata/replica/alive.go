package replica

import (
	"maps"
	"sync"
	"time"

	"github.com/leat-stream/leat/metadata/state"
)

// alive is when each session was last heard of, by this replica or by those behind it. Guarded by mu.
type alive struct {
	mu    sync.Mutex
	heard map[state.UUID]time.Time
}

func newAlive() *alive { return &alive{heard: make(map[state.UUID]time.Time)} }

// hear notes a sign of life at a moment.
func (a *alive) hear(session state.UUID, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at.After(a.heard[session]) {
		a.heard[session] = at
	}
}

// last is when a session was last heard of; zero: never.
func (a *alive) last(session state.UUID) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.heard[session]
}

// forget drops everybody who was not heard of within limit.
func (a *alive) forget(now time.Time, limit time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.heard, func(_ state.UUID, at time.Time) bool { return now.Sub(at) > limit })
}

// list is everybody heard of within limit; who was not is forgotten.
func (a *alive) list(now time.Time, limit time.Duration) (list []Alive) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for session, at := range a.heard {
		if now.Sub(at) > limit {
			delete(a.heard, session)
			continue
		}
		list = append(list, Alive{Session: session, Age: max(now.Sub(at), 0)})
	}
	return list
}

// contact is when the leader of a term was last heard of, directly or through others. Guarded by mu.
type contact struct {
	mu      sync.Mutex
	term    uint64
	at      time.Time
	really  bool      // it was heard of at that moment; otherwise the term was found to begin then
	refused uint64    // term whose leader was found gone
	up      string    // address of the upstream, while there is a stream
	blocked time.Time // when the direct way to the leader was last found blocked
}

// blockedFor is how long the direct way to the leader is the last choice after it was found blocked.
const blockedFor = 10 * time.Second

// block notes that the leader was not reached directly.
func (c *contact) block(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.blocked = at
}

func (c *contact) isBlocked(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return now.Sub(c.blocked) < blockedFor
}

// upstream is where entries come from now; "": nowhere.
func (c *contact) upstream() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.up
}

func (c *contact) setUpstream(address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.up = address
}

func newContact() *contact { return &contact{at: time.Now()} }

// hear notes that the leader of term was alive at a moment.
func (c *contact) hear(term uint64, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case term > c.term:
		c.term, c.at, c.really = term, at, true
	case term == c.term && (at.After(c.at) || !c.really):
		c.at, c.really = at, true
	default:
		return
	}
	if c.refused == term {
		c.refused = 0
	}
}

// refuse notes that nothing listens where the leader of term did.
func (c *contact) refuse(term uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = max(c.refused, term)
}

// since is how long the leader of term has not been heard of, counted from the beginning of its term here if it never was; gone: its
// process is known to have ended.
func (c *contact) since(term uint64, now time.Time) (silent time.Duration, gone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(now.Sub(c.at), 0), term > 0 && c.refused >= term
}

// heard is how long ago the leader of term was really heard of; negative: never, or it is gone.
func (c *contact) heard(term uint64, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.term != term || !c.really || c.refused >= term {
		return -1
	}
	return max(now.Sub(c.at), 1) // 0 is for the leader itself
}

// begin starts the clock for a leader that was not heard of yet.
func (c *contact) begin(term uint64, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if term > c.term {
		c.term, c.at, c.really = term, now, false
	}
}
