package offsets

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// growing is a door to a state of some index.
type growing struct{ st *state.State }

func (*growing) ID() state.UUID { return state.UUID{} }

func (g *growing) Do(context.Context, ...state.Op) ([]state.Result, error) {
	_, _, err := g.st.Apply(state.Entry{Index: g.st.Reader().Index() + 1})
	return nil, err
}

func (g *growing) Ask(_ context.Context, _ metadata.Freshness, read func(state.Reader)) error {
	read(g.st.Reader())
	return nil
}

func TestRequestThatWaitedWhileTheProcessStoodStillIsAsOldAsThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &growing{state.New()}
		a, ctx := NewAcceptance(g, nil), t.Context()
		now := time.Now()
		learn := func() {
			if _, err := g.Do(ctx); err != nil {
				t.Fatal(err)
			}
		}
		is := func(want uint64) {
			t.Helper()
			if got := a.Index(); got != want {
				t.Errorf("accepted at %d, want %d", got, want)
			}
		}
		pass := func(d time.Duration) {
			time.Sleep(d)
			now = time.Now()
		}
		learn()
		is(1) // nothing is known of time yet
		a.note(1, now)
		pass(tick)
		learn()
		is(2)
		a.note(2, now)

		pass(stall + 5*time.Second) // nobody ticks
		learn()
		is(2) // the tick has not come yet
		a.note(3, now)
		is(2) // it has
		pass(tick)
		a.note(3, now)
		is(2)
		pass(stall + time.Second)
		learn()
		a.note(4, now)
		is(3) // the next time: what was read until then is read
		pass(tick)
		a.note(4, now)
		pass(tick)
		a.note(4, now)
		is(4)

		pass(2 * stall)
		a.note(4, now)
		pass(tick)
		learn()
		a.note(5, now)
		is(4)
		pass(tick)
		is(5)
	})
}

func TestAcceptanceTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &growing{state.New()}
		a := NewAcceptance(g, nil)
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := g.Do(ctx); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			a.Run(ctx)
		}()
		time.Sleep(time.Minute + tick/2)
		synctest.Wait()
		if now := time.Now(); now.Sub(a.at) > tick || !a.until.IsZero() {
			t.Errorf("last tick %v ago, requests are old until %v", now.Sub(a.at), a.until)
		}
		cancel()
		<-done
	})
}
