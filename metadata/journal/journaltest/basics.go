package journaltest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/leat-stream/leat/metadata/journal"
)

func entriesComeBack(t *testing.T, h Harness) {
	ctx, p := testContext(t), h.Open(t)
	var r Replica
	term := lead(t, ctx, p, &r, "a")
	appendAll(t, ctx, term, &r, "one", "", "three")
	wantReplay(t, ctx, p, r)
	wantReplay(t, ctx, h.Open(t), r)
}

func emptyJournal(t *testing.T, h Harness) {
	ctx, p := testContext(t), h.Open(t)
	head, err := p.Head(ctx)
	must(t, err)
	if head.Cluster == [16]byte{} || head.Snapshot != 0 || head.Boundary != 0 || head.Format != journal.Level || head.Driver == 0 {
		t.Fatalf("head of a new journal is %+v", head)
	}
	wantReplay(t, ctx, p, nil)
	must(t, p.Tip(ctx, 0))
}

func readAnywhere(t *testing.T, h Harness) {
	ctx, p := testContext(t), h.Open(t)
	var r Replica
	appendAll(t, ctx, lead(t, ctx, p, &r, "a"), &r, "2", "3", "4")
	for from := uint64(1); from <= 6; from++ {
		got := slices.Clone(r[:min(from-1, r.Applied())])
		for e, err := range p.Read(ctx, from) {
			must(t, err)
			got = append(got, e)
		}
		wantSame(t, got, r)
	}
}

func readBrokenOff(t *testing.T, h Harness) {
	ctx, p := testContext(t), h.Open(t)
	var r Replica
	appendAll(t, ctx, lead(t, ctx, p, &r, "a"), &r, "2", "3", "4")
	n := 0
	for _, err := range p.Read(ctx, 1) {
		must(t, err)
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		t.Fatalf("loop ran %d times", n)
	}
	wantReplay(t, ctx, p, r)
}

func longJournal(t *testing.T, h Harness) {
	ctx, p := testContext(t), h.Open(t)
	var r Replica
	term := lead(t, ctx, p, &r, "a")
	for i := range 150 {
		appendAll(t, ctx, term, &r, fmt.Sprint("command ", i))
	}
	wantReplay(t, ctx, h.Open(t), r)
}

func bodyLimit(t *testing.T, h Harness) {
	ctx, p := testContext(t), h.Open(t)
	if _, err := p.Lead(ctx, 0, make([]byte, journal.MaxBody+1)); err == nil {
		t.Fatal("lead took a body that is too large")
	} else {
		wantError(t, err, journal.ErrTooLarge)
	}
	var r Replica
	term := lead(t, ctx, p, &r, "a")
	_, err := term.Append(ctx, make([]byte, journal.MaxBody+1))
	wantError(t, err, journal.ErrTooLarge)
	appendAll(t, ctx, term, &r, string(bytes.Repeat([]byte{7}, journal.MaxBody)), "after")
	wantReplay(t, ctx, p, r)
}

func twoLeadersFight(t *testing.T, h Harness) {
	ctx, a, b := testContext(t), h.Open(t), h.Open(t)
	var ra, rb Replica
	ta := lead(t, ctx, a, &ra, "a")
	appendAll(t, ctx, ta, &ra, "a1")
	for round := range 4 {
		tb := lead(t, ctx, b, &rb, fmt.Sprint("b", round))
		_, err := ta.Append(ctx, []byte("too late"))
		wantError(t, err, journal.ErrFenced)
		appendAll(t, ctx, tb, &rb, "x", "y")
		a, b, ra, rb, ta = b, a, rb, ra, tb
	}
	wantReplay(t, ctx, b, ra)
}

func fencedForEver(t *testing.T, h Harness) {
	ctx, a, b := testContext(t), h.Open(t), h.Open(t)
	var ra, rb Replica
	ta := lead(t, ctx, a, &ra, "a")
	tb := lead(t, ctx, b, &rb, "b")
	for range 3 {
		_, err := ta.Append(ctx, []byte("no"))
		wantError(t, err, journal.ErrFenced)
	}
	appendAll(t, ctx, tb, &rb, "yes")
	must(t, ra.CatchUp(ctx, a))
	_, err := ta.Append(ctx, []byte("not even now"))
	wantError(t, err, journal.ErrFenced)
	wantReplay(t, ctx, a, rb)
}

func leadBehind(t *testing.T, h Harness) {
	ctx, a, b := testContext(t), h.Open(t), h.Open(t)
	var r Replica
	term := lead(t, ctx, a, &r, "a")
	appendAll(t, ctx, term, &r, "2")
	for after := range r.Applied() {
		_, err := b.Lead(ctx, after, []byte("b"))
		wantError(t, err, journal.ErrBehind)
	}
	appendAll(t, ctx, term, &r, "3") // a failed Lead changes nothing
	wantReplay(t, ctx, b, r)
}

func leadAgain(t *testing.T, h Harness) {
	ctx, p := testContext(t), h.Open(t)
	var r Replica
	first := lead(t, ctx, p, &r, "a")
	second := lead(t, ctx, p, &r, "a")
	if first.Fence().Term == second.Fence().Term {
		t.Fatal("two fences have one id")
	}
	_, err := first.Append(ctx, []byte("no"))
	wantError(t, err, journal.ErrFenced)
	appendAll(t, ctx, second, &r, "yes")
	wantReplay(t, ctx, p, r)
}

func tip(t *testing.T, h Harness) {
	ctx, a, b := testContext(t), h.Open(t), h.Open(t)
	var r Replica
	term := lead(t, ctx, a, &r, "a")
	for _, body := range []string{"2", "3"} {
		appendAll(t, ctx, term, &r, body)
		must(t, a.Tip(ctx, r.Applied()))
		must(t, b.Tip(ctx, r.Applied()))
		for applied := range r.Applied() {
			wantError(t, b.Tip(ctx, applied), journal.ErrBehind)
		}
	}
}

func endedContext(t *testing.T, h Harness) {
	ctx, p := testContext(t), h.Open(t)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	var r Replica
	term := lead(t, ctx, p, &r, "a")
	_, err := term.Append(ended, []byte("unknown"))
	wantError(t, err, journal.ErrUnknown)
	_, err = term.Append(ctx, []byte("another"))
	wantError(t, err, journal.ErrFenced)

	appendAll(t, ctx, lead(t, ctx, p, &r, "b"), &r, "known")
	_, err = p.Head(ended)
	wantError(t, err, context.Canceled)
	wantError(t, p.Tip(ended, r.Applied()), context.Canceled)
	for _, err := range p.Read(ended, 1) {
		wantError(t, err, context.Canceled)
	}
	wantReplay(t, ctx, p, r)
}

func missingHead(t *testing.T, h Harness) {
	ctx, p := testContext(t), h.Open(t)
	var r Replica
	appendAll(t, ctx, lead(t, ctx, p, &r, "a"), &r, "2")
	q := h.Open(t) // knows nothing of a term
	h.RemoveHead(t)
	_, err := q.Head(ctx)
	wantError(t, err, journal.ErrNoHead)
	wantError(t, q.Trim(ctx, journal.Trim{Snapshot: 2, Boundary: 2, From: 1, Keep: r.IsFence}), journal.ErrNoHead)
	_, err = q.Lead(ctx, 2, []byte("b"))
	wantError(t, err, journal.ErrNoHead)
	n := 0
	for _, err := range q.Read(ctx, 1) {
		wantError(t, err, journal.ErrNoHead)
		n++
	}
	if n != 1 {
		t.Fatalf("read yielded %d times", n)
	}
}

func survivesRestart(t *testing.T, h Harness) {
	if h.Restart == nil {
		t.Skip("nothing of this driver outlives the process")
	}
	ctx, p := testContext(t), h.Open(t)
	var r Replica
	term := lead(t, ctx, p, &r, "a")
	appendAll(t, ctx, term, &r, "2", "3")
	must(t, r.Publish(ctx, p, 1, 3))
	before, err := p.Head(ctx)
	must(t, err)

	p = h.Restart(t)
	after, err := p.Head(ctx)
	must(t, err)
	if before != after {
		t.Fatalf("head was %+v, is %+v", before, after)
	}
	again := slices.Clone(r[:2])
	must(t, again.CatchUp(ctx, p))
	wantSame(t, again, r)
	appendAll(t, ctx, lead(t, ctx, p, &r, "b"), &r, "5")
	must(t, again.CatchUp(ctx, p))
	wantSame(t, again, r)
}
