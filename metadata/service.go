// Package metadata is the door to Leat's metadata: commands in, consistent reads and a stream of changes out.
//
// Behind the door a deterministic state machine (metadata/state) is fed by a journal (metadata/journal) in a shell that
// runs it (metadata/replica). Callers never see which agent leads, which driver keeps the journal, or an entry of it.
// A new feature adds a command to metadata/state, never a method here.
package metadata

import (
	"context"
	"errors"
	"iter"

	"github.com/leat-stream/leat/metadata/state"
)

// Service is the metadata service as an agent sees it. All methods are safe for concurrent use.
type Service interface {
	// Do commits the commands, in order and in one journal entry where possible, and answers one result for each once the LOCAL
	// replica has applied them: a read on this agent then sees them. Callers number the commands (use Session, which does).
	// An error means that the outcome of all of them is unknown, unless it is ErrNotApplied; resend the same commands
	// unchanged, or give the session up. ctx bounds the wait, not the effect.
	Do(ctx context.Context, commands ...state.Command) ([]state.Result, error)

	// Ask lets read look at one consistent state that is at least as fresh as f demands. read must be quick, must not block,
	// must not keep the Reader, and may be called once only. What a Reader hands out are copies or immutable.
	Ask(ctx context.Context, f Freshness, read func(state.Reader)) error

	// Watch yields what changed in entries after since, in order, without loss; if that much is not remembered (or the
	// watcher falls behind by more than a bound), one state.ChangeAll takes the place of what is missing. It ends with ctx, and
	// with an error when the replica stops.
	Watch(ctx context.Context, since uint64) iter.Seq2[state.Change, error]
}

// Freshness says how recent a read must be.
type Freshness struct {
	kind  uint8
	index uint64
}

// Local: whatever this replica has applied; costs nothing. Enough for reads that may be a little late, and for positive
// answers about what cannot be taken back.
func Local() Freshness { return Freshness{} }

// At waits until index has been applied here.
func At(index uint64) Freshness { return Freshness{kind: 1, index: index} }

// Fresh sees every command that was committed before the call began (rule R1). Needed for ListOffsets, OffsetFetch, and for every
// negative verdict (rule R7).
func Fresh() Freshness { return Freshness{kind: 2} }

// Index answers the index of an At, else 0.
func (f Freshness) Index() uint64 { return f.index }

// IsFresh reports whether f is Fresh.
func (f Freshness) IsFresh() bool { return f.kind == 2 }

// The errors of the service.
var (
	// ErrFenced: another agent leads this cluster; this process must stop serving and exit.
	ErrFenced = errors.New("fenced: another agent leads this cluster")
	// ErrUnknown: the outcome is unknown; the commands may be committed now or later.
	ErrUnknown = errors.New("outcome of the command is unknown")
	// ErrNotApplied: certainly not committed, now or later.
	ErrNotApplied = errors.New("command was not committed")
	// ErrTooLarge: the command fits no journal entry. It comes with ErrNotApplied; trying again does not help.
	ErrTooLarge = errors.New("command is too large")
	// ErrUnavailable: the journal cannot be reached right now, so freshness cannot be proven. Retriable.
	ErrUnavailable = errors.New("metadata unavailable")
	// ErrStopped: the replica has stopped.
	ErrStopped = errors.New("metadata replica stopped")
)
