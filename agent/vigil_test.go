package agent

import (
	"context"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// looks counts fresh reads.
type looks struct{ n int }

func (l *looks) Leading() bool { return true }

func (l *looks) Do(context.Context, ...state.Command) ([]state.Result, error) { return nil, nil }
func (l *looks) Watch(context.Context, uint64) iter.Seq2[state.Change, error] { return nil }
func (l *looks) Ask(_ context.Context, f metadata.Freshness, _ func(state.Reader)) error {
	if f.IsFresh() {
		l.n++
	}
	return nil
}

type nobody struct{}

func (nobody) Begin(context.Context, wire.Request, kmsg.Request) func() wire.Response {
	return func() wire.Response { return wire.Response{} }
}

func TestAnAgentThatServesLooksOftenWhetherItStillLeadsAndAnIdleOneRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, v := &looks{}, &vigil{Handler: nobody{}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- v.run(ctx, m) }()
		time.Sleep(time.Hour)
		synctest.Wait()
		if m.n != int(time.Hour/vigilIdle) {
			t.Errorf("an idle agent looked %d times in an hour", m.n)
		}
		m.n = 0
		for range 3 {
			for range 100 {
				v.Begin(t.Context(), wire.Request{}, nil)()
			}
			time.Sleep(vigilInterval)
			synctest.Wait()
		}
		if m.n != 3 {
			t.Errorf("an agent that served for three intervals looked %d times", m.n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
