// Package journaltest is the acceptance suite of journal.Journal: every driver runs it, so that what the replica relies on
// is the same whatever holds the entries. It must never know a driver.
package journaltest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/leat-stream/leat/metadata/journal"
)

// Harness is one fresh, empty journal of the driver under test.
type Harness struct {
	// Open answers one more process that has the journal open. A driver whose journal belongs to one process answers the same
	// one again: its several leaders are then several terms.
	Open func(t *testing.T) Process

	// Restart gives up all processes as a crash would and answers a new one. nil: nothing outlives the process.
	Restart func(t *testing.T) Process

	// RemoveHead makes the head disappear behind the driver's back.
	RemoveHead func(t *testing.T)

	// Kept answers the indexes of the entries that are still stored, in order.
	Kept func(t *testing.T) []uint64
}

// Process is a journal as one process has it.
type Process struct {
	journal.Journal

	// Wire is the way between that process and its entries; nil if there is none on which a request could get stuck or an
	// answer get lost.
	Wire Wire
}

// Wire lets a test hold up or spoil the requests of one process. Its methods act on what the process sends afterwards.
type Wire interface {
	// Stall stops the process before it sends its next request of that kind ("GET", "PUT", "DELETE"; "" is any), and closes
	// reached when it is there. Requests that follow wait too.
	Stall(kind string) (reached <-chan struct{})
	// Resume lets go of what Stall stopped.
	Resume()
	// LosePut makes the answer to the next PUT get lost; the PUT itself lands if landed says so.
	LosePut(landed bool)
}

// patience bounds a test that has gone wrong; nothing waits for it to pass.
const patience = 20 * time.Second

// Run runs the suite but for the traces V1–V4, which stand beside it as functions of their own.
func Run(t *testing.T, fresh func(t *testing.T) Harness) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, h Harness)
	}{
		{"EntriesComeBackInOrder", entriesComeBack},
		{"NothingBeforeTheFirstLead", emptyJournal},
		{"ReadFromTheMiddleAndBeyondTheEnd", readAnywhere},
		{"ReadCanBeBrokenOff", readBrokenOff},
		{"LongJournalIsReadWhole", longJournal},
		{"LargestBodyFitsAndLargerIsRefused", bodyLimit},
		{"TwoLeadersFight", twoLeadersFight},
		{"FencedStaysFenced", fencedForEver},
		{"LeadNeedsTheNewestEntry", leadBehind},
		{"LeadAgainAfterOwnTerm", leadAgain},
		{"TipSeesWhatWasCommitted", tip},
		{"TrimKeepsFences", trimKeepsFences},
		{"TrimmedIsSaidNotGuessed", trimmedIsSaid},
		{"LateAndRepeatedTrimsAreHarmless", lateTrims},
		{"TrimIsNeverAskedBeyondItsSnapshot", trimKeepBounds},
		{"BoundaryBeyondSnapshotIsRefused", trimRefused},
		{"AppendsGoOnAfterTrim", appendAfterTrim},
		{"EndedContextEndsTheTerm", endedContext},
		{"MissingHeadStopsEverything", missingHead},
		{"EntriesSurviveRestart", survivesRestart},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, fresh(t)) })
	}
}

// Replica is what a process knows: the entries that it applied, by index from 1 on. The suite's snapshots are copies of it.
type Replica []journal.Entry

// Applied is the index of the newest entry applied.
func (r Replica) Applied() uint64 { return uint64(len(r)) }

// IsFence is Trim.Keep as applied history knows it.
func (r Replica) IsFence(index uint64) bool { return r[index-1].Kind == journal.KindFence }

// CatchUp applies what Read yields.
func (r *Replica) CatchUp(ctx context.Context, j journal.Journal) error {
	for e, err := range j.Read(ctx, r.Applied()+1) {
		if err != nil {
			return err
		}
		if e.Index != r.Applied()+1 {
			return fmt.Errorf("read yielded entry %d after %d", e.Index, r.Applied())
		}
		*r = append(*r, e)
	}
	return nil
}

// Publish trims with a snapshot of all that r has applied.
func (r Replica) Publish(ctx context.Context, j journal.Journal, from, boundary uint64) error {
	var manifest [16]byte
	manifest[0] = byte(r.Applied())
	return j.Trim(ctx, journal.Trim{Snapshot: r.Applied(), Manifest: manifest, Boundary: boundary, From: from, Keep: r.IsFence})
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// lead catches r up and leads; it tries again when another entry came in between.
func lead(t *testing.T, ctx context.Context, j journal.Journal, r *Replica, who string) journal.Term {
	t.Helper()
	must(t, r.CatchUp(ctx, j))
	term, err := j.Lead(ctx, r.Applied(), []byte(who))
	must(t, err)
	f := term.Fence()
	if f.Index != r.Applied()+1 || f.Kind != journal.KindFence || string(f.Body) != who || f.Term == (journal.TermID{}) {
		t.Fatalf("fence after %d is %+v", r.Applied(), f)
	}
	*r = append(*r, f)
	return term
}

func appendAll(t *testing.T, ctx context.Context, term journal.Term, r *Replica, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		e, err := term.Append(ctx, []byte(body))
		must(t, err)
		want := journal.Entry{Index: r.Applied() + 1, Kind: journal.KindCommands, Term: term.Fence().Term, Body: []byte(body)}
		if !equal(e, want) {
			t.Fatalf("append answered %+v, want %+v", e, want)
		}
		*r = append(*r, e)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err error, any ...error) {
	t.Helper()
	for _, want := range any {
		if errors.Is(err, want) {
			return
		}
	}
	t.Fatalf("got %v, want %v", err, any)
}

func equal(a, b journal.Entry) bool {
	return a.Index == b.Index && a.Kind == b.Kind && a.Term == b.Term && string(a.Body) == string(b.Body)
}

func wantSame(t *testing.T, got, want Replica) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("replica has %d entries, want %d", len(got), len(want))
	}
	for i := range got {
		if !equal(got[i], want[i]) {
			t.Fatalf("entry %d is %+v, want %+v", i+1, got[i], want[i])
		}
	}
}

// wantReplay checks that a replica that starts from nothing applies exactly want.
func wantReplay(t *testing.T, ctx context.Context, j journal.Journal, want Replica) {
	t.Helper()
	var r Replica
	must(t, r.CatchUp(ctx, j))
	wantSame(t, r, want)
}
