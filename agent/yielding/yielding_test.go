package yielding

import (
	"context"
	"errors"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/metadata/journal"
)

var errCut = errors.New("the bucket is away")

// cutOff is a journal in a bucket that swallows everything but fences.
type cutOff struct {
	journal.Journal
	fence uint64
}

type cutOffTerm struct {
	journal.Term
	fence uint64
}

func (j *cutOff) Lead(context.Context, uint64, []byte) (journal.Term, error) {
	j.fence += 10
	return cutOffTerm{fence: j.fence}, nil
}

func (t cutOffTerm) Fence() journal.Entry {
	return journal.Entry{Index: t.fence, Kind: journal.KindFence}
}

func (cutOffTerm) Append(ctx context.Context, _ []byte) (journal.Entry, error) {
	<-ctx.Done()
	return journal.Entry{}, errors.Join(journal.ErrUnknown, context.Cause(ctx))
}

func (*cutOff) Tip(ctx context.Context, _ uint64) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func (*cutOff) Read(ctx context.Context, _ uint64) iter.Seq2[journal.Entry, error] {
	return func(yield func(journal.Entry, error) bool) {
		<-ctx.Done()
		yield(journal.Entry{}, context.Cause(ctx))
	}
}

func TestALeaderLetsGoOfItsAppendOnceAnotherOneLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := New(&cutOff{}, func() error { return nil })
		y.superseded(5) // it never led
		term, err := y.Lead(t.Context(), 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		appended := make(chan error, 1)
		go func() {
			_, err := term.Append(t.Context(), nil)
			appended <- err
		}()
		for _, fence := range []uint64{0, 9, 10} { // older ones, and its own
			y.superseded(fence)
			synctest.Wait()
			if len(appended) > 0 {
				t.Fatalf("fence %d ends it: %v", fence, <-appended)
			}
		}
		y.superseded(11)
		if err := <-appended; !errors.Is(err, journal.ErrUnknown) || !errors.Is(err, errSuperseded) {
			t.Error(err)
		}
		if _, err := term.Append(t.Context(), nil); !errors.Is(err, errSuperseded) {
			t.Error(err)
		}
		again, err := y.Lead(t.Context(), 11, nil) // its next term knows nothing of that
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		if _, err := again.Append(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

func TestNobodyWaitsLongForAJournalInABucketThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := error(nil)
		y := New(&cutOff{}, func() error { return away })
		read := func(ctx context.Context) (err error) {
			for _, err = range y.Read(ctx, 1) {
			}
			return err
		}
		tip := func(ctx context.Context) error { return y.Tip(ctx, 10) }
		for name, look := range map[string]func(context.Context) error{"read": read, "tip": tip} {
			for _, away = range []error{nil, errCut} {
				ctx, stop := context.WithTimeout(t.Context(), time.Minute)
				began := time.Now()
				err := look(ctx)
				stop()
				if took := time.Since(began); err == nil || away == nil && took != time.Minute || away != nil && (took != stuckPatience || !errors.Is(err, errStuckLook)) {
					t.Errorf("%s with the bucket %v away: %v after %v", name, away, err, took)
				}
			}
		}
		if _, err := y.Lead(t.Context(), 0, nil); err != nil {
			t.Fatal(err)
		}
		y.superseded(11)
		away = nil // then the bucket knows better than whoever said so
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		if err := y.Tip(ctx, 10); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a leader that was replaced, of a bucket that is there: %v", err)
		}
		away = errCut
		if err := y.Tip(t.Context(), 10); !errors.Is(err, journal.ErrBehind) {
			t.Errorf("a leader that was replaced: %v", err)
		}
		if err := y.Tip(t.Context(), 11); !errors.Is(err, errStuckLook) {
			t.Errorf("a follower that has the other's fence: %v", err)
		}
	})
}
