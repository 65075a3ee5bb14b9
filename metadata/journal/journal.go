// Package journal is the seam between the metadata state machine and durability: an ordered, gap-free sequence of
// entries, one writer at a time, fenced.
//
// Fencing is the business of this seam, not of its users (rule J7 of metadata/DESIGN.md). Drivers: mem (tests), bolt (one
// process), object (nothing but a bucket), etcd. All pass one acceptance suite, journaltest. The package must never look into
// the bodies of entries, and never let a clock or a timeout decide whether something is safe.
package journal

import (
	"context"
	"errors"
	"iter"
)

// Journal is a sequence of entries with consecutive indexes from 1 on. All methods are safe for concurrent use. Who retries:
// drivers resolve ambiguous answers themselves (J1) and repeat reads until ctx ends; an error that is returned is final
// for that call.
type Journal interface {
	// Head answers the newest published snapshot and the trim boundary. ErrNoHead if the head is missing: then nothing may
	// be served, and the boundary is never taken for 0 (J6).
	Head(ctx context.Context) (Head, error)

	// Read yields the entries from index from on, consecutive and validated (J2), up to an end that was the end at some
	// moment after Read began. ErrTrimmed (yielded last) if an entry that is needed was or may have been trimmed: reload
	// head and snapshot. Nothing that was yielded ever needs to be taken back.
	Read(ctx context.Context, from uint64) iter.Seq2[Entry, error]

	// Lead puts a fence with a fresh unique id into the slot after+1 and checks it (J3, J4). after is the index that the caller
	// has applied, every entry up to it having come validated from Read or a snapshot. ErrBehind if the slot is taken: read on,
	// apply, try again. ErrTrimmed if the journal was trimmed past what the caller knows: reload. ErrUnknown if ctx ended
	// before the fence was known to have landed: it may land later as a fence that nobody leads by; read on. body is carried
	// by the fence entry and says who leads; the caller applies Term.Fence() as entry after+1 before appending.
	Lead(ctx context.Context, after uint64, body []byte) (Term, error)

	// Tip proves that nothing was committed beyond applied at a moment after the call began; ErrBehind if something was;
	// ErrTrimmed if the caller is so late that it must reload (either answer if both are true). A leader may call it only with no append outstanding (R1).
	Tip(ctx context.Context, applied uint64) error

	// Trim publishes a snapshot that is already readable, by one compare-and-swap of head, and then deletes entries below the
	// boundary (J5). Any replica may do it, late and repeatedly: head only grows, and a Trim that is behind it publishes
	// nothing and deletes only what is below the boundary of the head it read.
	Trim(ctx context.Context, t Trim) error
}

// Term is the right to append, won by a fence, until another fence is put. Its methods are called by one goroutine at a
// time: at most one slot is outstanding (J1).
type Term interface {
	// Fence is the entry that began the term.
	Fence() Entry

	// Append commits body, at most MaxBody bytes (else ErrTooLarge, and the term goes on), as the next entry and answers it;
	// body must not be changed afterwards. ErrFenced: another leader took the slot; nothing of body was or
	// will be committed; the term is over. ErrUnknown: ctx ended before the outcome was known; the entry may be committed or
	// may land later; the term is over, and a different entry is never composed for that slot. After either, every further
	// Append answers ErrFenced.
	Append(ctx context.Context, body []byte) (Entry, error)
}

// Kind tells what an entry is.
type Kind uint8

// The kinds of entries.
const (
	KindFence    Kind = 1 // begins a term; never trimmed
	KindCommands Kind = 2 // carries commands
)

// Entry is one committed entry.
type Entry struct {
	Index uint64
	Kind  Kind
	Term  TermID // of the fence that it follows, or its own if it is a fence
	Body  []byte // opaque to the journal; must not be changed
}

// TermID is the unique random id of a fence.
type TermID [16]byte

// Head is the content of the cluster's only mutable object. Snapshot and Boundary only grow.
type Head struct {
	Format   uint16   // level of head itself
	Driver   Driver   // that holds the entries: a bucket whose truth is elsewhere says so
	Cluster  [16]byte // random id given at creation; binds journal, snapshots and data to each other
	Snapshot uint64   // index of the newest published snapshot; 0: none
	Manifest [16]byte // random part of that snapshot's manifest name
	Boundary uint64   // entries below it may be trimmed; ≤ Snapshot+1
}

// Trim is what Journal.Trim publishes and deletes.
type Trim struct {
	Snapshot uint64
	Manifest [16]byte
	Boundary uint64 // ≤ Snapshot+1; callers keep it one snapshot behind

	// Base is the manifest that the new snapshot shares shards with (zero: none). It is published only if head names Base at
	// the moment of the swap, so that shards which only older manifests name can be swept: nothing will ever name them again.
	Base [16]byte

	// From is the lowest index that may still need deleting. Every index in [From, boundary) for which Keep answers false is
	// deleted; Keep answers true for fences, as applied history (never a LIST) knows them.
	From uint64
	Keep func(index uint64) bool
}

// The errors of a journal.
var (
	ErrTrimmed = errors.New("journal entries needed are trimmed: reload the snapshot")
	ErrBehind  = errors.New("journal has entries beyond the applied index")
	ErrFenced  = errors.New("another agent leads this cluster's journal")
	ErrUnknown = errors.New("outcome of the append is unknown")
	ErrNoHead  = errors.New("the head object is missing: this is not, or no longer, a Leat cluster")
	ErrFormat  = errors.New("format is newer than this version of leat understands")
	ErrCorrupt = errors.New("journal entry is corrupt")
	ErrInUse   = errors.New("journal is in use by another process")

	// ErrTooLarge: the body is larger than MaxBody; nothing was sent.
	ErrTooLarge = errors.New("journal entry is too large")
	// ErrMismatch: this journal and this bucket do not belong to each other, or the journal is kept by another driver.
	ErrMismatch = errors.New("journal and bucket do not belong together")
)
