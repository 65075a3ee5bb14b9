package journaltest

import (
	"slices"
	"testing"

	"github.com/leat-stream/leat/metadata/journal"
)

// twoTerms is a journal of fence 1, commands 2 and 3, fence 4, commands 5 and 6.
func twoTerms(t *testing.T, h Harness) (p Process, term journal.Term, r Replica) {
	ctx := testContext(t)
	p = h.Open(t)
	appendAll(t, ctx, lead(t, ctx, p, &r, "a"), &r, "2", "3")
	term = lead(t, ctx, p, &r, "b")
	appendAll(t, ctx, term, &r, "5", "6")
	return p, term, r
}

func wantKept(t *testing.T, h Harness, want ...uint64) {
	t.Helper()
	if got := h.Kept(t); !slices.Equal(got, want) {
		t.Fatalf("kept entries are %v, want %v", got, want)
	}
}

func wantHead(t *testing.T, j journal.Journal, snapshot, boundary uint64) {
	t.Helper()
	h, err := j.Head(testContext(t))
	must(t, err)
	if h.Snapshot != snapshot || h.Boundary != boundary || h.Manifest[0] != byte(snapshot) {
		t.Fatalf("head is %+v, want snapshot %d, boundary %d", h, snapshot, boundary)
	}
}

func trimKeepsFences(t *testing.T, h Harness) {
	p, _, r := twoTerms(t, h)
	must(t, r.Publish(testContext(t), p, 1, 6))
	wantHead(t, p, 6, 6)
	wantKept(t, h, 1, 4, 6)
	must(t, r.Publish(testContext(t), p, 6, 7))
	wantHead(t, p, 6, 7)
	wantKept(t, h, 1, 4)
	late := slices.Clone(r)
	must(t, late.CatchUp(testContext(t), p))
	wantSame(t, late, r)
}

func trimmedIsSaid(t *testing.T, h Harness) {
	ctx := testContext(t)
	p, term, r := twoTerms(t, h)
	must(t, r.Publish(ctx, p, 1, 6))
	q := h.Open(t)
	for applied := range uint64(5) {
		late := slices.Clone(r[:applied])
		wantError(t, late.CatchUp(ctx, q), journal.ErrTrimmed)
		if late.Applied() != applied {
			t.Fatalf("read yielded entries before it said that they may be trimmed: %d", late.Applied()-applied)
		}
		wantError(t, q.Tip(ctx, applied), journal.ErrTrimmed, journal.ErrBehind)
		_, err := q.Lead(ctx, applied, []byte("late"))
		wantError(t, err, journal.ErrTrimmed, journal.ErrBehind)
	}
	late := slices.Clone(r[:5]) // what a snapshot at 5 would give
	must(t, late.CatchUp(ctx, q))
	wantSame(t, late, r)
	appendAll(t, ctx, term, &r, "7")
}

func lateTrims(t *testing.T, h Harness) {
	ctx := testContext(t)
	p, _, r := twoTerms(t, h)
	early, middle := slices.Clone(r[:3]), slices.Clone(r[:5])
	must(t, middle.Publish(ctx, p, 1, 3))
	wantHead(t, p, 5, 3)
	wantKept(t, h, 1, 3, 4, 5, 6)

	must(t, early.Publish(ctx, h.Open(t), 1, 4)) // behind: publishes nothing, and deletes below the boundary in head only
	wantHead(t, p, 5, 3)
	wantKept(t, h, 1, 3, 4, 5, 6)

	for range 2 {
		must(t, r.Publish(ctx, p, 1, 6))
		wantHead(t, p, 6, 6)
		wantKept(t, h, 1, 4, 6)
	}
	must(t, middle.Publish(ctx, p, 1, 3))
	must(t, early.Publish(ctx, p, 1, 4))
	wantHead(t, p, 6, 6)
	wantKept(t, h, 1, 4, 6)
}

func trimKeepBounds(t *testing.T, h Harness) {
	ctx := testContext(t)
	p, _, r := twoTerms(t, h)
	must(t, r.Publish(ctx, p, 6, 6)) // a trimmer that died before its deletes
	early := slices.Clone(r[:3])
	// IsFence of a replica that has applied 3 entries panics beyond them; the boundary in head is far beyond.
	must(t, early.Publish(ctx, h.Open(t), 1, 4))
	wantKept(t, h, 1, 4, 5, 6)
}

func trimRefused(t *testing.T, h Harness) {
	p, _, r := twoTerms(t, h)
	if err := r.Publish(testContext(t), p, 1, 8); err == nil {
		t.Fatal("a boundary that no snapshot covers was taken")
	}
	wantHead(t, p, 0, 0)
	wantKept(t, h, 1, 2, 3, 4, 5, 6)
}

func appendAfterTrim(t *testing.T, h Harness) {
	ctx := testContext(t)
	p, term, r := twoTerms(t, h)
	must(t, r.Publish(ctx, p, 1, 7))
	appendAll(t, ctx, term, &r, "7", "8")
	must(t, p.Tip(ctx, 8))
	must(t, r.Publish(ctx, p, 7, 9))
	must(t, h.Open(t).Tip(ctx, 8))
	q := h.Open(t)
	late := slices.Clone(r) // from the snapshot
	appendAll(t, ctx, lead(t, ctx, q, &late, "c"), &late, "10")
	_, err := term.Append(ctx, []byte("no"))
	wantError(t, err, journal.ErrFenced)
	must(t, r.CatchUp(ctx, p))
	wantSame(t, r, late)
}
