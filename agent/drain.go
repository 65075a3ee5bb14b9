package agent

import (
	"context"
	"time"
)

// How an agent that is told to stop spends its last seconds. Supervisors give ten or more before they kill.
const (
	// leaveTime is how long clients have to go elsewhere while they are still served. They are told at their next request.
	leaveTime = 4 * time.Second
	// drainTime is how long what was accepted may then take to be answered.
	drainTime = 4 * time.Second
	// farewell bounds each of the commands around them.
	farewell = time.Second
)

// drain ends an agent's service: first clients go elsewhere, then connections stop being read, what was accepted is flushed,
// committed and answered, and the session is closed. stop ends the connections, done says that they have ended.
func (a *Agent) drain(base context.Context, stop func(), done <-chan error) error {
	a.web.ready(false)
	a.log.Info("draining")
	a.depart(base)
	stop()
	if base.Err() == nil {
		a.waiters.Release()
		ctx, cancel := context.WithTimeout(base, drainTime)
		defer cancel()
		if err := a.producer.Drain(ctx); err != nil {
			a.log.Warn("drain ended before everything was acknowledged", "error", err)
		}
	}
	if err := <-done; err != nil {
		return err
	}
	if base.Err() != nil {
		return context.Cause(base)
	}
	closing, cancel := context.WithTimeout(base, farewell)
	defer cancel()
	return a.session.Close(closing)
}

// depart sends clients to other agents, if there are any, and hands over what only one agent does.
func (a *Agent) depart(base context.Context) {
	defer a.groups.Release() // also without others: requests that wait for members must not hold up the drain
	if !a.others.exist() {
		return
	}
	leaving, cancel := context.WithTimeout(base, farewell)
	defer cancel()
	if err := a.session.Leave(leaving); err != nil {
		a.log.Warn("the other agents could not be told that this one leaves", "error", err)
	}
	a.groups.Release()
	if err := a.replica.Resign(leaving); err != nil {
		a.log.Warn("the metadata could not be handed over; the other agents will elect a leader", "error", err)
	}
	ctx, stop := context.WithTimeout(base, leaveTime)
	defer stop()
	a.server.Shed(ctx, leaveTime)
}

// exist tells whether another agent can take over.
func (n *neighbours) exist() bool {
	v := n.view.Load().View()
	own, _ := v.Self()
	for _, b := range v.All() {
		if b.Session != own.Session {
			return true
		}
	}
	return false
}

// coordinates tells whether this agent coordinates a group.
func (n *neighbours) coordinates(group string) bool {
	v := n.view.Load().View()
	own, _ := v.Self()
	b, ok := v.Coordinator(group)
	return ok && b.Session == own.Session
}
