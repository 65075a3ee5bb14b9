package group

import (
	"context"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// orphan is a group of which the journal may know members, that this agent should coordinate and that no actor holds. Its
// members cannot be expected to call, since all may have died: it is adopted.
type orphan struct {
	notBefore time.Time // until then the group is left to the agent that claimed it from this one
	losses    int       // how often in a row that happened
}

const (
	// lossMemory is how long a group must be held after a loss for the next not to count as one in a row.
	lossMemory = time.Minute
	// maxDoublings bounds how long a group is left alone after losses: adoptInterval, doubled so often.
	maxDoublings = 5
)

// survey finds the groups that have members, and takes over those that are this agent's.
func (c *Coordinator) survey(ctx context.Context, f metadata.Freshness) bool {
	var found []string
	err := c.door.Ask(ctx, f, func(r state.Reader) {
		for id := range r.Groups() {
			if peopled(r, id) {
				found = append(found, id)
			}
		}
	})
	if err != nil {
		return false
	}
	c.mu.Lock()
	for _, id := range found {
		if _, known := c.orphans[id]; !known {
			c.orphans[id] = orphan{}
		}
	}
	c.mu.Unlock()
	c.adopt()
	return true
}

// adopt starts actors for the orphans.
func (c *Coordinator) adopt() {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, o := range c.orphans {
		switch {
		case c.groups[id] != nil || !c.mine(id):
			delete(c.orphans, id)
		case now.Before(o.notBefore):
		case !c.start(id):
			return
		}
	}
}

// lost says when a group may be claimed again that was lost, though the view says that it is this agent's: soon, if a write
// failed. If somebody else claimed it, two agents see different views. The one with the older view learns of the newer (the
// claim is taken back only after a fresh look, see actor.load), so this ends; meanwhile the agents must not tear the group
// back and forth.
func (a *actor) lost(stolen bool) orphan {
	if !stolen {
		return orphan{losses: a.times.losses}
	}
	now := time.Now()
	if now.Sub(a.times.began) > lossMemory {
		a.times.losses = 0
	}
	pause := adoptInterval << min(a.times.losses, maxDoublings)
	return orphan{notBefore: now.Add(pause), losses: a.times.losses + 1}
}

// reconsider has every actor look whether the group is still its own. A new view is a reason to try again what was lost.
func (c *Coordinator) reconsider() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.groups {
		a.nudge()
	}
	for id, o := range c.orphans {
		o.notBefore = time.Time{}
		c.orphans[id] = o
	}
}

// follow looks at every change of a group, so that a lost claim is noticed though nobody calls, and a group whose members came
// after a survey is held by somebody. It ends with ctx or the replica.
func (c *Coordinator) follow(ctx context.Context) {
	var since uint64
	if c.door.Ask(ctx, metadata.Local(), func(r state.Reader) { since = r.Index() }) != nil {
		return
	}
	for change, err := range c.deps.Watch(ctx, since) {
		switch {
		case err != nil:
			return
		case change.Kind == state.ChangeGroup:
			c.look(ctx, change.Group)
		case change.Kind == state.ChangeAll:
			c.reconsider()
			c.survey(ctx, metadata.Local())
		}
	}
}

// look looks at a group that changed.
func (c *Coordinator) look(ctx context.Context, id string) {
	c.mu.Lock()
	a := c.groups[id]
	c.mu.Unlock()
	if a != nil {
		a.nudge()
		return
	}
	found := false
	if !c.mine(id) || c.door.Ask(ctx, metadata.Local(), func(r state.Reader) { found = peopled(r, id) }) != nil || !found {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.orphans[id]; !known {
		c.orphans[id] = orphan{} // adopt drops it if it is held meanwhile
	}
}

// peopled reports whether the journal knows members of a group.
func peopled(r state.Reader, id string) bool {
	g, _ := r.Group(id)
	return len(g.Members) > 0
}
