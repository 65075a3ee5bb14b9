package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/journal/journaltest"
)

// wired opens the journal of c over a way that a test can spoil.
func wired(t *testing.T, c Config) (*Journal, *wire) {
	w := &wire{}
	return openTest(t, c, grpc.WithChainUnaryInterceptor(w.intercept)), w
}

// large is a body that takes three parts.
func large(seed string) string { return strings.Repeat(seed, 2*partSize/len(seed)+10) }

// TestEveryLostAnswerIsSettled: every write of a term is lost once and twice, before it lands and after; each is acknowledged, and
// the journal holds exactly what was acknowledged.
func TestEveryLostAnswerIsSettled(t *testing.T) {
	for _, landed := range []bool{false, true} {
		for _, times := range []int{1, 2} {
			t.Run(fmt.Sprintf("landed %v, %d times", landed, times), func(t *testing.T) {
				c := config()
				j, w := wired(t, c)
				w.losePuts(times, landed)
				term, r := lead(t, j)
				for _, body := range []string{"small", "", large("abc")} {
					// A large body has writes before its last: each of them is the one that gets lost.
					writes := 1
					if len(body) > partSize {
						writes = 4
					}
					for skip := range writes {
						w.skipThenLose(skip, times, landed)
						appendTo(t, term, r, body)
					}
				}
				w.losePuts(times, landed)
				if err := r.Publish(testContext(t), j, 1, r.Applied()+1); err != nil {
					t.Fatal(err)
				}
				appendTo(t, term, r, "after the trim")
				h, err := j.Head(testContext(t))
				if err != nil || h.Snapshot != r.Applied()-1 || h.Boundary != r.Applied() {
					t.Errorf("head %+v, %v", h, err)
				}
				late := (*r)[: r.Applied()-1 : r.Applied()-1]
				if err := (*journaltest.Replica)(&late).CatchUp(testContext(t), openTest(t, c)); err != nil || late.Applied() != r.Applied() {
					t.Errorf("after the trim %d entries are known, want %d (%v)", late.Applied(), r.Applied(), err)
				}
			})
		}
	}
}

// TestLostAppendThenAnotherLeader: the answer is lost, and before the writer looks another agent leads. It must say what became
// of its entry, whichever it is.
func TestLostAppendThenAnotherLeader(t *testing.T) {
	for _, landed := range []bool{false, true} {
		for _, body := range []string{"small", large("xyz")} {
			c := config()
			j, w := wired(t, c)
			term, r := lead(t, j)
			parts := 0
			if len(body) > partSize {
				parts = 3
			}
			w.skipThenLose(parts, 1, landed)
			reached := w.Stall("GET")
			done := make(chan error, 1)
			go func() {
				e, err := term.Append(testContext(t), []byte(body))
				if err == nil {
					*r = append(*r, e)
				}
				done <- err
			}()
			<-reached
			other := openTest(t, c)
			_, ro := lead(t, other)
			w.Resume()
			if err := <-done; landed && err != nil || !landed && !errors.Is(err, journal.ErrFenced) {
				t.Errorf("landed %v: append answered %v", landed, err)
			}
			if _, err := term.Append(testContext(t), []byte("next")); !errors.Is(err, journal.ErrFenced) {
				t.Errorf("landed %v: a deposed leader's append answered %v", landed, err)
			}
			if acknowledged := r.Applied(); landed && (acknowledged != 2 || string((*ro)[1].Body) != body) || !landed && ro.Applied() != 2 {
				t.Errorf("landed %v: %d acknowledged, another leader found %d", landed, acknowledged, ro.Applied())
			}
			wantReplay(t, j, *ro)
		}
	}
}

// TestLateRequestDoesNothing: a request that was held up for ever lands after its slot was taken, and after it was trimmed.
func TestLateRequestDoesNothing(t *testing.T) {
	c := config()
	j, w := wired(t, c)
	term, _ := lead(t, j)
	reached := w.Stall("PUT")
	done := make(chan error, 1)
	go func() { _, err := term.Append(testContext(t), []byte(large("late"))); done <- err }()
	<-reached
	other := openTest(t, c)
	theirs, ro := lead(t, other)
	appendTo(t, theirs, ro, "3", "4")
	if err := ro.Publish(testContext(t), other, 1, 5); err != nil {
		t.Fatal(err)
	}
	before := allKeys(t, other)
	w.Resume()
	if err := <-done; !errors.Is(err, journal.ErrFenced) {
		t.Errorf("append answered %v", err)
	}
	if after := allKeys(t, other); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("keys were\n%q, are\n%q", before, after)
	}
}

// allKeys answers the names of all keys of a journal, without its prefix.
func allKeys(t *testing.T, j *Journal) (all []string) {
	t.Helper()
	r, err := j.client.Get(t.Context(), string(j.keys)+"/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range r.Kvs {
		all = append(all, strings.TrimPrefix(string(kv.Key), string(j.keys)))
	}
	return all
}

// TestPartsNobodyNamesGoWithTheTrim: a leader stops between its parts, and a fence, itself in parts, gets the slot and stays.
func TestPartsNobodyNamesGoWithTheTrim(t *testing.T) {
	c := config()
	j, w := wired(t, c)
	term, r := lead(t, j)
	appendTo(t, term, r, large("two"))
	ctx, cancel := context.WithCancel(testContext(t))
	w.after(2, cancel)
	if _, err := term.Append(ctx, []byte(large("lost"))); !errors.Is(err, journal.ErrUnknown) {
		t.Fatal(err)
	}
	orphans := 0
	for _, key := range allKeys(t, j) {
		if strings.HasPrefix(key, "/part/00000000000000000003/") {
			orphans++
		}
	}
	if orphans == 0 {
		t.Fatal("no part was left: the test shows nothing")
	}
	fence, err := j.Lead(testContext(t), 2, []byte(large("fence")))
	if err != nil {
		t.Fatal(err)
	}
	*r = append(*r, fence.Fence())
	appendTo(t, fence, r, large("four"))
	wantReplay(t, j, *r)
	if err := r.Publish(testContext(t), j, 1, 5); err != nil {
		t.Fatal(err)
	}
	if got := kept(t, j); fmt.Sprint(got) != "[1 3]" {
		t.Errorf("kept %v", got)
	}
	parts := map[string]int{}
	for _, key := range allKeys(t, j) {
		if name, ok := strings.CutPrefix(key, "/part/"); ok {
			parts[name[:strings.LastIndexByte(name, '/')]]++
		}
	}
	if len(parts) != 1 {
		t.Errorf("parts left: %v, want those of the fence", parts)
	}
	e, err := j.look(t.Context(), clientv3.OpGet(j.keys.entry(3)))
	if err != nil {
		t.Fatal(err)
	}
	s, err := decodeStub(value(e.response, 2))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := j.assembleAt(t.Context(), 3, s); err != nil || len(b) != s.length {
		t.Errorf("the fence has %d bytes, %v", len(b), err)
	}
}

// assembleAt reads the parts of an entry below the boundary, which assemble refuses to.
func (j *Journal) assembleAt(ctx context.Context, index uint64, s stub) (b []byte, err error) {
	r, err := j.client.Get(ctx, j.keys.parts(index, s.id), clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	for _, kv := range r.Kvs {
		b = append(b, kv.Value...)
	}
	return b, nil
}

// TestHeadOnlyGrows: a swap that was held up finds that another agent has published more, and publishes nothing.
func TestHeadOnlyGrows(t *testing.T) {
	c := config()
	slow, w := wired(t, c)
	j := openTest(t, c)
	term, r := lead(t, j)
	appendTo(t, term, r, "2", "3")
	early := (*r)[:2:2]
	reached := w.Stall("PUT")
	done := make(chan error, 1)
	go func() { done <- early.Publish(testContext(t), slow, 1, 2) }()
	<-reached
	if err := r.Publish(testContext(t), j, 1, 4); err != nil {
		t.Fatal(err)
	}
	w.Resume()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if h, err := j.Head(testContext(t)); err != nil || h.Snapshot != 3 || h.Boundary != 4 {
		t.Errorf("head is %+v, %v", h, err)
	}
}

// TestTrimHasEtcdForget: history goes back to the trim before the newest, and not further.
func TestTrimHasEtcdForget(t *testing.T) {
	for _, compact := range []bool{true, false} {
		c := config()
		c.Compact = compact
		j := openTest(t, c)
		term, r := lead(t, j)
		var heads []int64
		for range 3 {
			e, err := j.look(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			heads = append(heads, e.headRev)
			appendTo(t, term, r, "x", "y")
			if err := r.Publish(testContext(t), j, 1, r.Applied()); err != nil {
				t.Fatal(err)
			}
		}
		at := func(revision int64) error {
			_, err := j.client.Get(t.Context(), j.keys.tip(), clientv3.WithRev(revision))
			return err
		}
		if err := at(heads[2]); err != nil {
			t.Errorf("compact %v: the newest period is gone: %v", compact, err)
		}
		if err := at(heads[2] - 1); compact == (err == nil) {
			t.Errorf("compact %v: asked for what was before: %v", compact, err)
		}
	}
}

// TestLongReadGoesByPages: more entries than a page has, of which some are longer than a page could bear.
func TestLongReadGoesByPages(t *testing.T) {
	j := openTest(t, config())
	term, r := lead(t, j)
	for i := range 2*pageEntries + 1 {
		body := fmt.Sprint(i)
		switch i {
		case 10, pageEntries - 2, pageEntries:
			body = strings.Repeat(body, partSize/len(body)*7+1)
		case 20:
			body = strings.Repeat("i", inlineLimit-journal.EntryOverhead)
		}
		appendTo(t, term, r, body)
	}
	wantReplay(t, j, *r)
}
