package agent

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// How long an agent may go without finding out that another one has fenced it: while it serves, and while nobody asks it
// anything. What it answers meanwhile is old but true; what needs more (writes, fresh reads) proves itself. A look costs one
// GET: an idle leader asks the bucket 288 times a day.
const (
	vigilInterval = 10 * time.Second
	vigilIdle     = 5 * time.Minute
)

// vigil looks at the journal now and then while this agent leads, so that a leader that only answers consumers and heartbeats, and
// that no other agent reaches, learns that it was fenced. Connected agents do not replace it: a leader that knows of others learns it from
// them, or when it closes the session of one that fell silent, which is an append. But one that was alone when another agent was
// started, and is parted from that from the beginning, knows of nobody who could be silent; it would answer consumers from an old state for good.
type vigil struct {
	wire.Handler
	served atomic.Bool // a request was begun since the last look
}

// Begin implements wire.Handler.
func (v *vigil) Begin(ctx context.Context, r wire.Request, body kmsg.Request) func() wire.Response {
	if !v.served.Load() { // written rarely: every connection's requests come through here
		v.served.Store(true)
	}
	return v.Handler.Begin(ctx, r, body)
}

// leader is what the vigil looks after: a replica.
type leader interface {
	metadata.Service
	Leading() bool
}

// run looks until ctx ends. A look that finds another leader ends the leadership; one that fails for want of the bucket says
// nothing.
func (v *vigil) run(ctx context.Context, m leader) error {
	tick := time.NewTicker(vigilInterval)
	defer tick.Stop()
	idle := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !m.Leading() {
			continue
		}
		if idle += vigilInterval; v.served.Swap(false) || idle >= vigilIdle {
			idle = 0
			_ = m.Ask(ctx, metadata.Fresh(), func(state.Reader) {})
		}
	}
}
