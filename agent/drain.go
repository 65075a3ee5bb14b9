package agent

import (
	"context"
	"fmt"
	"time"
)

// How an agent that is told to stop spends its last seconds, whatever bucket and clients do: all of it takes less than the ten that
// supervisors give before they kill.
const (
	// endTime bounds everything. What leaveTime and drainTime do not need, which is most of them as a rule, is left for the command that
	// closes the session; farewell at least.
	endTime  = 9 * time.Second
	farewell = time.Second
	// leaveTime is how long clients have to go elsewhere while they are still served. They are told at their next request.
	leaveTime = 4 * time.Second
	// drainTime is how long what was accepted may then take to be answered.
	drainTime = 4 * time.Second
	// handOverTime bounds the commands at the beginning. It is a part of leaveTime.
	handOverTime = 2 * time.Second
)

// drain ends an agent's service: first clients go elsewhere, then connections stop being read, what was accepted is flushed,
// committed and answered, and the session is closed. stop ends the connections, done says that they have ended.
func (a *Agent) drain(base context.Context, stop func(), done <-chan error) error {
	ends := time.Now().Add(endTime)
	a.web.ready(false)
	a.log.Info("draining")
	a.others.aside.end()
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
	closing, cancel := context.WithTimeout(base, max(time.Until(ends), farewell))
	defer cancel()
	if err := a.session.Close(closing); err != nil {
		return fmt.Errorf("the session could not be closed, which the other agents will do once they reach the journal: %w", err)
	}
	return nil
}

// depart sends clients to other agents, if there are any, and hands over what only one agent does.
func (a *Agent) depart(base context.Context) {
	defer a.groups.Release() // also without others: requests that wait for members must not hold up the drain
	if !a.others.exist() {
		return
	}
	ends := time.Now().Add(leaveTime)
	ctx, stop := context.WithDeadline(base, ends)
	defer stop()
	a.handOver(ctx)
	a.server.Shed(ctx, time.Until(ends))
}

// handOver tells the other agents, and gives them groups and metadata. If the journal does not even take that this one leaves, the
// metadata cannot be handed over either.
func (a *Agent) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, handOverTime)
	defer cancel()
	err := a.session.Leave(ctx)
	a.groups.Release()
	if err != nil {
		a.log.Warn("the other agents could not be told that this one leaves; they will find out", "error", err)
		return
	}
	if err := a.replica.Resign(ctx); err != nil {
		a.log.Warn("the metadata could not be handed over; the other agents will elect a leader", "error", err)
	}
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
	return n.view.Load().View().Coordinates(group)
}
