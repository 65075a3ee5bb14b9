// Package liveness remembers who was heard of when, and by which way: the leader, the agents behind this one, and this process
// itself. All of it is about silence on this agent's own clock: it decides how soon something is tried, and must never be taken
// for proof of who leads or who is dead.
package liveness

import (
	"maps"
	"sync"
	"time"

	"github.com/leat-stream/leat/metadata/state"
)

// Agents is when each session was last heard of, by this replica or by those behind it: those who follow it, and those who
// follow them. For the leader that is everybody. Guarded by mu.
type Agents struct {
	mu    sync.Mutex
	heard map[state.UUID]time.Time
}

// NewAgents has heard of nobody.
func NewAgents() *Agents { return &Agents{heard: make(map[state.UUID]time.Time)} }

// Hear notes a sign of life at a moment.
func (a *Agents) Hear(session state.UUID, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at.After(a.heard[session]) {
		a.heard[session] = at
	}
}

// Last is when a session was last heard of; zero: never.
func (a *Agents) Last(session state.UUID) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.heard[session]
}

// Forget drops everybody who was not heard of within limit.
func (a *Agents) Forget(now time.Time, limit time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.heard, func(_ state.UUID, at time.Time) bool { return now.Sub(at) > limit })
}

// Ages is for how long everybody has been silent who was heard of within limit; the others are forgotten.
func (a *Agents) Ages(now time.Time, limit time.Duration) map[state.UUID]time.Duration {
	a.Forget(now, limit)
	a.mu.Lock()
	defer a.mu.Unlock()
	ages := make(map[state.UUID]time.Duration, len(a.heard))
	for session, at := range a.heard {
		ages[session] = max(now.Sub(at), 0)
	}
	return ages
}
