package produce

import (
	"context"
	"sync"

	"github.com/leat-stream/leat/metadata/state"
)

// Outcome is what became of one partition's records in a request.
type Outcome struct {
	// Err: the batch was refused at accept, or given up; nil if the metadata decided about it. It matches one of the errors
	// of accept.go or of agent/batch, or ErrStorage, or a metadata error (then the outcome may be unknown).
	Err  error
	Code state.Code // what the metadata decided; CodeOK: acknowledged

	Base       int64 // base offset, -1 if refused
	LogStart   int64 // -1 if unknown
	AppendTime int64 // ms since the epoch for topics with LogAppendTime, else -1; -1 if refused
}

// refusal is the outcome of a batch that got no offset because of err.
func refusal(err error) Outcome { return Outcome{Err: err, Base: -1, LogStart: -1, AppendTime: -1} }

// Pending is one produce request that was accepted, or refused in part. Its outcomes come in any order; Wait answers them
// in the order of the request.
type Pending struct {
	mu       sync.Mutex
	outcomes []Outcome
	open     int
	done     chan struct{}
}

func newPending(slots int) *Pending {
	p := &Pending{outcomes: make([]Outcome, slots), open: slots, done: make(chan struct{})}
	if slots == 0 {
		close(p.done)
	}
	return p
}

// resolve sets one outcome, once.
func (p *Pending) resolve(slot int, o Outcome) {
	p.mu.Lock()
	p.outcomes[slot] = o
	p.open--
	last := p.open == 0
	p.mu.Unlock()
	if last {
		close(p.done)
	}
}

// Done is closed when every outcome is known.
func (p *Pending) Done() <-chan struct{} { return p.done }

// Wait answers the outcomes when all are known, or ctx's error: then what is still open is unknown, and may yet succeed.
func (p *Pending) Wait(ctx context.Context) ([]Outcome, error) {
	select {
	case <-p.done:
		return p.outcomes, nil
	case <-ctx.Done():
		select {
		case <-p.done:
			return p.outcomes, nil
		default:
			return nil, context.Cause(ctx)
		}
	}
}
