package liveness

import (
	"sync"
	"time"
)

// Leader is when the leader of a term was last heard of, directly or through others, and which ways to it there are. Guarded
// by mu.
type Leader struct {
	beat time.Duration

	mu      sync.Mutex
	term    uint64
	at      time.Time
	really  bool          // it was heard of at that moment; otherwise the term was found to begin then, or word of it stopped
	lost    bool          // word of it stopped coming by the way it came
	refused uint64        // term whose leader was found gone
	up      string        // address of the upstream, while there is a stream
	blocked bool          // the direct way is known not to work
	told    time.Time     // at, when those behind were last told
	news    chan struct{} // closed when they are to be told at once
}

// NewLeader has heard of no leader. Signs of life come every beat.
func NewLeader(beat time.Duration) *Leader {
	return &Leader{beat: beat, at: time.Now(), news: make(chan struct{})}
}

// Begin starts the clock for a leader that was not heard of yet.
func (l *Leader) Begin(term uint64, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if term > l.term {
		l.enter(term, now, false)
	}
}

// enter begins a term, of whose leader nothing else is known. Under mu.
func (l *Leader) enter(term uint64, at time.Time, really bool) {
	l.term, l.at, l.really, l.lost, l.blocked = term, at, really, false, false
}

// Hear notes that the leader of term was alive at a moment.
func (l *Leader) Hear(term uint64, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case term > l.term:
		l.enter(term, at, true)
	case term == l.term && (at.After(l.at) || !l.really):
		l.at, l.really, l.lost = at, true, false
	default:
		return
	}
	if l.refused == term {
		l.refused = 0
	}
	if at.Sub(l.told) >= l.beat/2 { // in a circle of agents this is never so: what comes round is no younger
		l.told = at
		l.tell()
	}
}

// Refuse notes that nothing listens where the leader of term did.
func (l *Leader) Refuse(term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if term > l.refused {
		l.refused = term
		l.tell()
	}
}

// Lose notes that the way by which the leader of term was heard of has ended: others may know more, and must not be told that this
// agent hears of it.
func (l *Leader) Lose(term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term == term && l.really {
		l.really, l.lost = false, true
		l.tell()
	}
}

// Lost tells whether the way by which the leader of term was heard of has ended, and there is no other yet.
func (l *Leader) Lost(term uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term == term && l.lost
}

// Known tells whether the leader of term was heard of, or found gone, at any time.
func (l *Leader) Known(term uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term == term && (l.really || l.lost || l.refused >= term)
}

// tell wakes those who pass it on. Under mu.
func (l *Leader) tell() {
	close(l.news)
	l.news = make(chan struct{})
}

// News is closed when those behind this agent should hear at once how the leader is: they are told as often as this agent is, so
// that a leader does not seem older by up to a beat for each agent on the way.
func (l *Leader) News() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.news
}

// Silence is how long the leader has not been heard of, counted from the beginning of its term here if it never was; gone: the
// process of the leader of term is known to have ended.
func (l *Leader) Silence(term uint64, now time.Time) (silent time.Duration, gone bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(now.Sub(l.at), 0), term > 0 && l.refused >= term
}

// Heard is how long ago the leader of term was really heard of; negative: never, or it is gone, or word of it stopped coming.
func (l *Leader) Heard(term uint64, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term != term || !l.really || l.refused >= term {
		return -1
	}
	return max(now.Sub(l.at), 1) // 0 is for the leader itself
}

// SetBlocked notes whether the leader of term can be reached directly. A new one can, until it is found otherwise.
func (l *Leader) SetBlocked(term uint64, blocked bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term == term {
		l.blocked = blocked
	}
}

// Blocked tells whether the direct way to the leader is known not to work.
func (l *Leader) Blocked() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.blocked
}

// Upstream is where entries come from now; "": nowhere.
func (l *Leader) Upstream() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up
}

// SetUpstream notes where entries come from.
func (l *Leader) SetUpstream(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up = address
}
