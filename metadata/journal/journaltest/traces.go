package journaltest

import (
	"errors"
	"slices"
	"testing"

	"github.com/leat-stream/leat/metadata/journal"
)

// The four traces of metadata/DESIGN.md in which a careless journal breaks. A driver without a Wire cannot get into the
// state that the trace needs: there the test shows that it refuses the step that would lead into it.

// V1LostAck: L sends c2 to slot 2, it lands, the answer is lost. A follower reads it, snapshots, trims slot 2. L reads back
// "nothing there". It must not take that for "not applied" and give slot 2 to c3.
func V1LostAck(t *testing.T, h Harness) {
	ctx, l, f := testContext(t), h.Open(t), h.Open(t)
	var rl, rf Replica
	term := lead(t, ctx, l, &rl, "L")
	if l.Wire == nil {
		appendAll(t, ctx, term, &rl, "c2")
		must(t, rf.CatchUp(ctx, f))
		must(t, rf.Publish(ctx, f, 1, 3))
		_, err := h.Open(t).Lead(ctx, 1, []byte("takes slot 2 for empty"))
		wantError(t, err, journal.ErrTrimmed, journal.ErrBehind)
		appendAll(t, ctx, term, &rl, "c3")
		must(t, rf.CatchUp(ctx, f))
		wantSame(t, rf, rl)
		return
	}

	l.Wire.LosePut(true)
	reached := l.Wire.Stall("GET")
	type answer struct {
		e   journal.Entry
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		e, err := term.Append(ctx, []byte("c2"))
		answers <- answer{e, err}
	}()
	<-reached
	must(t, rf.CatchUp(ctx, f))
	must(t, rf.Publish(ctx, f, 1, 3))
	wantKept(t, h, 1)
	l.Wire.Resume()

	a := <-answers
	if a.err == nil {
		if !equal(a.e, rf[1]) {
			t.Fatalf("acknowledged %+v, committed is %+v", a.e, rf[1])
		}
	} else {
		wantError(t, a.err, journal.ErrUnknown)
		if errors.Is(a.err, journal.ErrFenced) {
			t.Fatalf("c2 is committed, L says that it never will be: %v", a.err)
		}
	}
	if e, err := term.Append(ctx, []byte("c3")); err == nil && e.Index == 2 {
		t.Fatal("slot 2 was given to c3")
	}
	// Whoever comes next goes on after c2.
	next := slices.Clone(rf)
	appendAll(t, ctx, lead(t, ctx, h.Open(t), &next, "next"), &next, "c4")
	must(t, rf.CatchUp(ctx, f))
	wantSame(t, rf, next)
	if string(rf[1].Body) != "c2" {
		t.Fatalf("entry 2 is %+v", rf[1])
	}
}

// V2DivergedReplica: c2 is acked, snapshotted, trimmed. A stalled candidate puts its fence into slot 2, which looks empty. A
// slow follower must not apply that fence.
func V2DivergedReplica(t *testing.T, h Harness) { junkFence(t, h) }

// junkFence plays V2 and answers what the replica that is up to date has applied.
func junkFence(t *testing.T, h Harness) (current Replica, term journal.Term) {
	ctx, l, f, c, slow := testContext(t), h.Open(t), h.Open(t), h.Open(t), h.Open(t)
	var rl, rf, rc, rs Replica
	term = lead(t, ctx, l, &rl, "L")
	must(t, rc.CatchUp(ctx, c))
	must(t, rs.CatchUp(ctx, slow))

	done := make(chan error, 1)
	if c.Wire != nil {
		reached := c.Wire.Stall("PUT")
		go func() { _, err := c.Lead(ctx, rc.Applied(), []byte("junk")); done <- err }()
		<-reached
	}
	appendAll(t, ctx, term, &rl, "c2")
	must(t, rf.CatchUp(ctx, f))
	must(t, rf.Publish(ctx, f, 1, 3))
	wantKept(t, h, 1)
	if c.Wire != nil {
		c.Wire.Resume()
		wantError(t, <-done, journal.ErrTrimmed)
		wantKept(t, h, 1, 2) // the junk is there
	} else {
		_, err := c.Lead(ctx, rc.Applied(), []byte("junk"))
		wantError(t, err, journal.ErrTrimmed)
		wantKept(t, h, 1)
	}

	wantError(t, rs.CatchUp(ctx, slow), journal.ErrTrimmed)
	wantSame(t, rs, rl[:1])
	return rl, term
}

// V3WrongBase: after V2, another candidate reads the junk fence as entry 2 and would fence slot 3, at which the boundary shows
// nothing wrong. It must not lead without c2.
func V3WrongBase(t *testing.T, h Harness) {
	current, term := junkFence(t, h)
	ctx, d := testContext(t), h.Open(t)
	rd := slices.Clone(current[:1])
	_, err := d.Lead(ctx, rd.Applied(), []byte("D"))
	wantError(t, err, journal.ErrTrimmed, journal.ErrBehind)
	wantError(t, rd.CatchUp(ctx, d), journal.ErrTrimmed)
	wantSame(t, rd, current[:1])

	rd = slices.Clone(current) // the snapshot, which is what ErrTrimmed asks for
	appendAll(t, ctx, lead(t, ctx, d, &rd, "D"), &rd, "c4")
	_, err = term.Append(ctx, []byte("no"))
	wantError(t, err, journal.ErrFenced)
	must(t, current.CatchUp(ctx, h.Open(t)))
	wantSame(t, current, rd)
}

// V4StaleRead: a deposed leader, unaware, must not answer that its index is the newest, whether the entries it misses are
// still there or trimmed.
func V4StaleRead(t *testing.T, h Harness) {
	ctx, a, b := testContext(t), h.Open(t), h.Open(t)
	var ra, rb Replica
	term := lead(t, ctx, a, &ra, "a")
	appendAll(t, ctx, term, &ra, "2")
	must(t, a.Tip(ctx, ra.Applied()))
	tb := lead(t, ctx, b, &rb, "b")
	wantError(t, a.Tip(ctx, ra.Applied()), journal.ErrBehind)
	appendAll(t, ctx, tb, &rb, "4", "5")
	wantError(t, a.Tip(ctx, ra.Applied()), journal.ErrBehind)
	must(t, rb.Publish(ctx, b, 1, 6))
	wantError(t, a.Tip(ctx, ra.Applied()), journal.ErrBehind, journal.ErrTrimmed)
	_, err := term.Append(ctx, []byte("no"))
	wantError(t, err, journal.ErrFenced, journal.ErrUnknown)
}
