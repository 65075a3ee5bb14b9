package replica

import (
	"context"
	"errors"
	"time"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/state"
)

// Peers is how a replica reaches the replicas of other agents, by the address in their sessions. All methods are safe for
// concurrent use. Nothing that a peer says is needed for safety: entries that it hands out were committed, and everything
// else only decides how soon something happens. An error that matches ErrRefused says that nothing listens there any
// more; ErrNotLeader that the peer neither leads nor hears of a leader. Any other error of a call says nothing about
// whether the peer did what it was asked to.
type Peers interface {
	// Status asks what the replica at address knows. It answers, or fails, soon: about half a second.
	Status(ctx context.Context, address string) (Status, error)

	// Propose has the leader commit commands. It is not repeated.
	Propose(ctx context.Context, address string, p Proposal) (Proposed, error)

	// Tip answers an index that nothing was committed beyond at a moment after the call began (rule R1).
	Tip(ctx context.Context, address string, hops int) (index uint64, err error)

	// Follow opens a stream of committed entries, which lives until it is closed, ctx ends, or it fails.
	Follow(ctx context.Context, address string, f Follow) (Feed, error)

	// TakeOver asks the replica at address to take the lead after the fence at index term. It answers once it leads.
	TakeOver(ctx context.Context, address string, term uint64) error
}

// Feed is a follower's end of a Follow stream. Send and Recv may be called at the same time, neither concurrently with itself.
type Feed interface {
	// Send tells the upstream who is alive behind this stream.
	Send(Beat) error
	// Recv waits for the next push.
	Recv() (Push, error)
	// Close ends the stream; Recv then fails.
	Close()
}

// Status is what a replica says about itself.
type Status struct {
	Session state.UUID    // of the process that answers
	Applied uint64        // newest index that it has applied
	Term    uint64        // index of the newest fence that it has applied
	Heard   time.Duration // how long ago the leader of that term was heard of, directly or through others; 0: it leads; negative: never
}

// Proposal is commands for the leader.
type Proposal struct {
	Hops     int    // replicas that passed it on already; at most maxHops
	Commands []byte // state.EncodeEntry of an entry with only these commands
}

// Proposed is what became of a proposal that was committed and applied by the leader.
type Proposed struct {
	Index   uint64 // of the entry that holds them: an agent that has applied it answers as if it had committed them itself
	Results []byte // state.EncodeResults: one for each command
}

// Follow is what a follower asks for.
type Follow struct {
	Session state.UUID // of the follower
	From    uint64     // first index that it needs
}

// Beat goes upstream now and then: who is alive behind this stream. It lets the leader know when a session is dead.
type Beat struct {
	Alive []Alive
}

// Alive is one session that was heard of.
type Alive struct {
	Session state.UUID
	Age     time.Duration // since it was heard of
}

// Push goes downstream: an entry, or a beat without one. It carries either as soon as there is something to say.
type Push struct {
	Entry   *journal.Entry // committed; nil in a beat
	Applied uint64         // newest index that the upstream has applied
	Term    uint64         // index of the newest fence that the upstream has applied
	Heard   time.Duration  // as in Status
	// Missing: the upstream does not remember entries as old as the follower needs. It reads the journal, up to Applied at
	// least, and goes on from there.
	Missing bool
}

// The errors of peers.
var (
	// ErrRefused: nothing listens at the address: the process that did is gone.
	ErrRefused = errors.New("peer refuses connections")
	// ErrNotLeader: the peer neither leads nor reaches a leader. Nothing was done.
	ErrNotLeader = errors.New("peer reaches no metadata leader")
)

// maxHops bounds how often a proposal, or a question for the tip, is passed on, so that it cannot go in circles. Each hop is a
// connection between two agents that is missing.
const maxHops = 8
