package api

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// reachEvery is the pause between two questions whether an agent can be reached, reachTimeout how long each may take, and reachTries how
	// many in a row must fail: an agent that a network parts from this one is given up 2 to 9 s later. Questions are counted, not the time,
	// so that a process that stood still gives nobody up for it.
	reachEvery   = time.Second
	reachTimeout = 2 * time.Second
	reachTries   = 3
)

// errOutOfReach: the agent that a request was passed on to cannot be reached any more. What became of the request is not known.
var errOutOfReach = errors.New("the coordinator cannot be reached any more")

// reaches are the agents that requests were passed on to which may wait for minutes, as members for each other: silence says nothing then,
// and TCP, or the keepalive of gRPC, finds much later than a client would look for another coordinator that nobody is there.
// The zero value is ready. mu guards all and the users.
type reaches struct {
	mu  sync.Mutex
	all map[string]*reach // by peer address: no more than peers that requests wait for
}

// reach asks one agent for a sign of life as long as there are users. Its goroutine ends with the last of them, who waits for it.
type reach struct {
	users int
	lost  context.Context // ends, because of errOutOfReach, when the agent is given up; or with the last user
	end   context.CancelCauseFunc
	ended chan struct{}
}

// within answers a context that also ends when the agent at a peer address is out of reach. release must be called.
func (rs *reaches) within(ctx context.Context, f Forwarder, peer string) (_ context.Context, release func()) {
	rs.mu.Lock()
	r := rs.all[peer]
	if r == nil || r.lost.Err() != nil { // of one that was given up the users are about to go
		r = &reach{ended: make(chan struct{})}
		r.lost, r.end = context.WithCancelCause(context.WithoutCancel(ctx))
		if rs.all == nil {
			rs.all = map[string]*reach{}
		}
		rs.all[peer] = r
		go r.ask(f, peer)
	}
	r.users++
	rs.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(r.lost, func() { cancel(context.Cause(r.lost)) })
	return ctx, func() {
		stop()
		cancel(nil)
		rs.mu.Lock()
		r.users--
		last := r.users == 0
		if last && rs.all[peer] == r {
			delete(rs.all, peer)
		}
		rs.mu.Unlock()
		if last {
			r.end(nil)
			<-r.ended
		}
	}
}

// ask asks until the agent is given up, or the last user is gone.
func (r *reach) ask(f Forwarder, peer string) {
	defer close(r.ended)
	pause := time.NewTimer(reachEvery)
	defer pause.Stop()
	for failed := 0; ; {
		select {
		case <-r.lost.Done():
			return
		case <-pause.C:
		}
		ctx, cancel := context.WithTimeout(r.lost, reachTimeout)
		err := f.Reach(ctx, peer)
		cancel()
		if failed++; err == nil {
			failed = 0
		}
		if failed == reachTries {
			r.end(fmt.Errorf("%w: %v", errOutOfReach, err)) // not %w: that a question was not sent says nothing about the requests
			return
		}
		pause.Reset(reachEvery)
	}
}
