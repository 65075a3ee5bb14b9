package sessions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/metadata/replica/liveness"
	"github.com/leat-stream/leat/metadata/state"
)

// cast is a leader of whose sessions a test decides. mu guards everything.
type cast struct {
	mu      sync.Mutex
	open    []state.Session
	gone    map[state.UUID]bool
	asked   int       // how often it was asked who is gone
	began   time.Time // of the test
	closed  []string  // which session after how long
	deposed bool      // it does not lead any more
}

func (c *cast) Sessions() []state.Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.open)
}

func (c *cast) Leads(context.Context) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.deposed
}

func (c *cast) Gone(_ context.Context, s state.Session) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	return c.gone[s.ID]
}

func (c *cast) Close(_ context.Context, id state.UUID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deposed {
		return errors.New("deposed")
	}
	c.closed = append(c.closed, fmt.Sprint(id[0], " after ", time.Since(c.began)))
	c.open = slices.DeleteFunc(c.open, func(s state.Session) bool { return s.ID == id })
	return nil
}

// keep runs a keeper over the sessions 1, opened at index 10, 2 at 20, and so on, while a test plays.
func keep(t *testing.T, count int, alone uint64, c *cast, play func(alive *liveness.Agents)) {
	synctest.Test(t, func(t *testing.T) {
		c.began = time.Now()
		for n := range count {
			id := byte(n + 1)
			c.open = append(c.open, state.Session{ID: state.UUID{id}, Peer: fmt.Sprint("peer", id), Opened: 10 * uint64(id)})
		}
		k := &Keeper{
			Leader: c, Alive: liveness.NewAgents(), Alone: alone, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
			Limits: Limits{Beat: time.Second, Patience: 5 * time.Second, SessionPatience: 10 * time.Second},
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			k.Run(ctx)
		}()
		play(k.Alive)
		stop()
		<-ended
	})
}

func (c *cast) want(t *testing.T, closed ...string) {
	t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(c.closed, closed) {
		t.Errorf("closed %q, want %q", c.closed, closed)
	}
}

func TestASilentSessionIsClosedAndOneThatIsHeardIsNot(t *testing.T) {
	c := &cast{}
	keep(t, 2, 0, c, func(alive *liveness.Agents) {
		for range 30 {
			alive.Hear(state.UUID{1}, time.Now())
			time.Sleep(time.Second)
		}
		c.want(t, "2 after 11s") // the first look after more than ten seconds
	})
}

func TestASessionWhoseProcessIsGoneIsClosedAtOnce(t *testing.T) {
	c := &cast{gone: map[state.UUID]bool{{2}: true}}
	keep(t, 3, 0, c, func(*liveness.Agents) {
		c.want(t, "2 after 0s")
		c.mu.Lock()
		asked := c.asked
		c.mu.Unlock()
		if asked < 3 { // nobody was ever heard of: all are asked
			t.Errorf("%d were asked", asked)
		}
	})
}

func TestWhoHasTheJournalAloneClosesWhatWasOpenedBefore(t *testing.T) {
	c := &cast{}
	keep(t, 3, 25, c, func(*liveness.Agents) {
		time.Sleep(time.Minute)
		c.want(t, "1 after 0s", "2 after 0s")
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.asked != 0 {
			t.Error("it asked others, and there are none")
		}
	})
}

func TestADeposedLeaderClosesNothing(t *testing.T) {
	c := &cast{deposed: true}
	keep(t, 2, 0, c, func(*liveness.Agents) {
		time.Sleep(time.Minute)
		c.want(t)
	})
}
