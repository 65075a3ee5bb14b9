package produce

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// halt is whether objects are uploaded at all. mu guards the rest; until Halt and after Resume, halted is a context that has not ended.
type halt struct {
	mu     sync.Mutex
	halted context.Context // ends when it begins, and its cause is why; nil: it never began
	begin  context.CancelCauseFunc
}

// begun is the context that ends when the present halt begins, at once if it has. Its cause matches ErrStorage.
func (h *halt) begun() context.Context {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.current()
}

// current is begun; mu is held.
func (h *halt) current() context.Context {
	if h.halted == nil {
		h.halted, h.begin = context.WithCancelCause(context.Background())
	}
	return h.halted
}

// why is the reason of the halt, nil if there is none.
func (h *halt) why() error { return context.Cause(h.begun()) }

// Halt gives up, until Resume, every object that is not stored yet, refuses the batches that wait for their predecessors, and accepts
// no more: all of them get an error that matches ErrStorage and why, since another agent should have them now. An upload that is
// under way is broken off and its object skipped by command, so that whatever lands late is garbage, and what a producer sends again
// is neither lost nor doubled. Objects that are stored already are committed. Batches that come while it is halted are refused
// before they are accepted.
func (p *Producer) Halt(why error) {
	p.halt.mu.Lock()
	halted := p.halt.current()
	p.halt.begin(fmt.Errorf("%w: %w", ErrStorage, why))
	p.halt.mu.Unlock()
	p.buf.mu.Lock()
	early := slices.Clone(p.buf.lobby.line)
	p.buf.mu.Unlock()
	p.buf.dismissAll(early, context.Cause(halted))
}

// Resume ends a halt, if there is one.
func (p *Producer) Resume() {
	p.halt.mu.Lock()
	defer p.halt.mu.Unlock()
	if p.halt.halted != nil && p.halt.halted.Err() != nil {
		p.halt.halted = nil
	}
}
