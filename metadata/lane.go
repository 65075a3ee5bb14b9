package metadata

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leat-stream/leat/metadata/state"
)

const (
	laneQueue    = 1024    // calls that may wait in one lane
	laneBatch    = 256     // commands of one call; what goes out together is at most half as many more, below state.MaxUnsettled
	laneBytes    = 1 << 20 // encoded size, about, at which no more commands go out together; far below a journal entry's bound
	opBytes      = 8 << 20 // encoded size, about, of the largest command: with what goes out beside it, it fits a journal entry
	resendPause  = 20 * time.Millisecond
	resendPauses = 6 // doublings of resendPause at most
)

// lane is one ordered stream. next, settled and misfits are owned by the lane's goroutine.
type lane struct {
	kind    state.Lane
	calls   chan *call
	next    uint64 // number of the next command
	settled uint64 // every number up to it is decided and answered

	misfits map[uint64]struct{} // numbers not settled yet whose commands fit no journal entry
}

// call is one Do of a caller; its operations get consecutive numbers.
type call struct {
	ops     []state.Op
	first   uint64 // number that the caller expects for ops[0]; 0: any
	results []state.Result
	err     error
	done    chan struct{}
}

func (s *Session) runLane(ctx context.Context, l *lane) error {
	for {
		var calls []*call
		select {
		case <-ctx.Done():
			return nil
		case c := <-l.calls:
			calls = append(calls, c)
		}
		calls = l.gather(calls)
		commands, err := s.number(l, calls)
		if err != nil {
			return err
		}
		var results []state.Result
		for len(commands) > 0 {
			n := portion(commands)
			part, err := s.send(ctx, l, commands[:n])
			if err != nil {
				return err
			}
			results, commands = append(results, part...), commands[n:]
		}
		if err := l.answer(calls, results); err != nil {
			return err
		}
	}
}

// gather adds what is waiting already, as far as a batch has room.
func (l *lane) gather(calls []*call) []*call {
	count := len(calls[0].ops)
	for count < laneBatch/2 {
		select {
		case c := <-l.calls:
			calls = append(calls, c)
			count += len(c.ops)
		default:
			return calls
		}
	}
	return calls
}

// portion is how many of the commands go out together: at least one, and not many more bytes than laneBytes.
func portion(commands []state.Command) int {
	size := 0
	for n, c := range commands {
		if size += state.SizeHint(c.Op); size > laneBytes && n > 0 {
			return n
		}
	}
	return len(commands)
}

func (s *Session) number(l *lane, calls []*call) ([]state.Command, error) {
	var commands []state.Command
	now := s.now().UnixMilli()
	for _, c := range calls {
		if c.first != 0 && c.first != l.next {
			return nil, fmt.Errorf("lane %d: caller numbers its command %d, the next is %d", l.kind, c.first, l.next)
		}
		for _, op := range c.ops {
			if l.kind == state.LaneObjects && !fits(op) {
				op = l.misfit(l.next)
			}
			commands = append(commands, state.Command{
				Session: s.who.Session, Lane: l.kind, Number: l.next, Settled: l.settled, Time: now, Op: op,
			})
			l.next++
		}
	}
	return commands, nil
}

// fits tells whether an op fits a journal entry, with what goes out beside it. What may be too large is encoded to know.
func fits(op state.Op) bool {
	return state.SizeHint(op) <= opBytes || len(state.EncodeEntry(state.Entry{Commands: []state.Command{{Op: op}}})) <= opBytes
}

// misfit answers what takes the number of a command that fits no journal entry, so that the lane goes on: nothing, in either lane.
func (l *lane) misfit(number uint64) state.Op {
	l.misfits[number] = struct{}{}
	return state.SkipObject{}
}

// send commits the commands, resending them unchanged while the outcome is unknown. What fits no journal entry, and so was
// certainly never committed, is taken apart; a single command then leaves its number to nothing. It fails only when the session
// is over.
func (s *Session) send(ctx context.Context, l *lane, commands []state.Command) ([]state.Result, error) {
	for try := 0; ; try++ {
		results, err := s.svc.Do(ctx, commands...)
		switch {
		case err == nil:
			return results, nil
		case errors.Is(err, ErrFenced), errors.Is(err, ErrStopped):
			return nil, err
		case ctx.Err() != nil:
			return nil, ErrStopped
		case errors.Is(err, ErrTooLarge) && len(commands) > 1:
			half := len(commands) / 2
			first, err := s.send(ctx, l, commands[:half])
			if err != nil {
				return nil, err
			}
			rest, err := s.send(ctx, l, commands[half:])
			return append(first, rest...), err
		case errors.Is(err, ErrTooLarge) && commands[0].Op != state.Op(state.SkipObject{}):
			skip := commands[0]
			skip.Op = l.misfit(skip.Number)
			commands = []state.Command{skip}
			continue
		}
		if backOff(ctx, try) != nil {
			return nil, ErrStopped
		}
	}
}

// backOff waits before attempt try+1, longer each time.
func backOff(ctx context.Context, try int) error {
	timer := time.NewTimer(resendPause << min(try, resendPauses))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// answer hands out the results. A lane-level refusal means that the session is closed, or that this code is wrong.
func (l *lane) answer(calls []*call, results []state.Result) error {
	for _, c := range calls {
		c.results, results = results[:len(c.ops):len(c.ops)], results[len(c.ops):]
		for i, r := range c.results {
			switch r.Code {
			case state.CodeSessionClosed:
				return ErrSessionClosed
			case state.CodeGap, state.CodeForgotten:
				return fmt.Errorf("lane %d: command refused with code %d: %w", l.kind, r.Code, ErrSessionClosed)
			}
			if _, misfit := l.misfits[l.settled+1+uint64(i)]; misfit {
				l.refuse(c, i)
			}
		}
		l.settled += uint64(len(c.ops))
		close(c.done)
	}
	clear(l.misfits)
	return nil
}

// refuse tells a caller that an op of its call fits no journal entry. Others of the same call may have been committed; so may this
// one, if it fitted at an earlier attempt whose answer got lost: then its number has its outcome.
func (l *lane) refuse(c *call, op int) {
	nothing := state.CodeInvalid // of what belongs to the other lane
	if l.kind == state.LaneObjects {
		nothing = state.CodeOK
	}
	switch {
	case c.results[op].Code != nothing || len(c.results[op].Batches) > 0:
	case l.kind == state.LaneObjects:
		c.results[op] = state.Result{Code: state.CodeInvalid}
	case len(c.ops) == 1:
		c.err = fmt.Errorf("%w: about %d bytes: %w", ErrTooLarge, state.SizeHint(c.ops[op]), ErrNotApplied)
	default:
		c.err = fmt.Errorf("%w: operation %d of %d, about %d bytes: %w", ErrTooLarge, op+1, len(c.ops), state.SizeHint(c.ops[op]), ErrUnknown)
	}
}
