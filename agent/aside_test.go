package agent

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/agent/brokers"
	"github.com/leat-stream/leat/metadata/state"
)

// stage is what an agent that steps aside sees: its bucket, and the view of agents 1 (itself) to 3. mu guards everything.
type stage struct {
	t   *testing.T
	s   *aside
	log bytes.Buffer

	mu           sync.Mutex
	away         error
	agents       []brokers.Broker
	stuckChanged chan struct{}
	viewChanged  chan struct{}
	deaf         bool // nothing that is said is decided before it is false again
	heard        chan struct{}
	said         []bool // back?
	hints, asked int
	yields       int
	relief       []bool
	sheds        int // under way
}

func onStage(t *testing.T, others int, play func(g *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := &stage{t: t, stuckChanged: make(chan struct{}), viewChanged: make(chan struct{}), heard: make(chan struct{})}
		for n := range others + 1 {
			g.agents = append(g.agents, brokers.Broker{NodeID: int32(n), Session: state.UUID{byte(n + 1)}})
		}
		g.s = newAside(asideDeps{
			stuck:        func() error { g.mu.Lock(); defer g.mu.Unlock(); return g.away },
			stuckChanged: func() <-chan struct{} { g.mu.Lock(); defer g.mu.Unlock(); return g.stuckChanged },
			hint:         func() { g.mu.Lock(); defer g.mu.Unlock(); g.hints++ },
			view: func() *brokers.View {
				g.mu.Lock()
				defer g.mu.Unlock()
				return brokers.NewView(g.agents[0].Session, g.agents)
			},
			viewChanged: func() <-chan struct{} { g.mu.Lock(); defer g.mu.Unlock(); return g.viewChanged },
			say:         g.say,
			yield: func(_ context.Context, ask bool) {
				g.mu.Lock()
				defer g.mu.Unlock()
				if g.yields++; ask {
					g.asked++
				}
			},
			relieved: func(why error) { g.mu.Lock(); defer g.mu.Unlock(); g.relief = append(g.relief, why != nil) },
			shed: func(ctx context.Context) {
				g.mu.Lock()
				g.sheds++
				g.mu.Unlock()
				<-ctx.Done()
				g.mu.Lock()
				defer g.mu.Unlock()
				g.sheds--
			},
			log: slog.New(slog.NewTextHandler(&g.log, nil)),
		})
		ended := make(chan error, 1)
		go func() { ended <- g.s.run(t.Context()) }()
		synctest.Wait()
		play(g)
		g.s.end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

var errCut = errors.New("cut")

// say decides what the agent says, now or once it is heard.
func (g *stage) say(ctx context.Context, back bool) error {
	for {
		g.mu.Lock()
		deaf, heard := g.deaf, g.heard
		if !deaf {
			g.said = append(g.said, back)
			g.mu.Unlock()
			g.set(0, !back)
			return nil
		}
		g.mu.Unlock()
		select {
		case <-heard:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (g *stage) hear(yes bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.deaf = !yes; yes {
		close(g.heard)
		g.heard = make(chan struct{})
	}
}

// set has an agent be aside, or not.
func (g *stage) set(agent int, aside bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	next := append([]brokers.Broker(nil), g.agents...)
	next[agent].Leaving, next[agent].Aside = aside, aside
	g.agents = next
	close(g.viewChanged)
	g.viewChanged = make(chan struct{})
}

// cut takes the bucket away, or gives it back.
func (g *stage) cut(away bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.away = nil; away {
		g.away = errCut
	}
	close(g.stuckChanged)
	g.stuckChanged = make(chan struct{})
}

func (g *stage) counts() (asked, yields, hints int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked, g.yields, g.hints
}

// expect compares what was said (aside +, back -) and what came of it, after everything has come to rest for a while.
func (g *stage) expect(what string, after time.Duration, said, relief string) {
	g.t.Helper()
	<-time.After(after)
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	print := func(list []bool, yes, no string) (s string) {
		for _, b := range list {
			if b {
				s += yes
			} else {
				s += no
			}
		}
		return s
	}
	if got := print(g.said, "-", "+"); got != said {
		g.t.Errorf("%s: said %q, want %q", what, got, said)
	}
	if want := strings.Count(relief, "+") - strings.Count(relief, "-"); g.sheds != want && g.s.ctx.Err() == nil {
		g.t.Errorf("%s: connections are shed %d times at once", what, g.sheds)
	}
	if got := print(g.relief, "+", "-"); got != relief {
		g.t.Errorf("%s: relieved %q, want %q", what, got, relief)
	}
}

func TestAnAgentAloneStaysWhereItIs(t *testing.T) {
	onStage(t, 0, func(g *stage) {
		g.cut(true)
		g.expect("cut", time.Hour, "", "")
		if _, yields, _ := g.counts(); yields > 0 {
			t.Error("there is nobody to yield to")
		}
	})
}

func TestItStepsAsideOnceAndComesBackOnce(t *testing.T) {
	onStage(t, 2, func(g *stage) {
		g.expect("at first", time.Hour, "", "")
		g.cut(true)
		g.expect("cut", 0, "+", "+")
		g.expect("still cut", time.Hour, "+", "+")
		if asked, yields, _ := g.counts(); asked != 1 || yields < 3000 { // it may come to lead once more
			t.Errorf("asked %d times to be replaced, looked %d times", asked, yields)
		}
		g.cut(false)
		g.expect("back", 0, "+-", "+-")
		g.expect("still", time.Hour, "+-", "+-")
		if n := strings.Count(g.log.String(), "level=WARN"); n != 4 || strings.Count(g.log.String(), "\n") != n {
			t.Errorf("log:\n%s", &g.log)
		}
	})
}

func TestWhereAllStepAsideNobodyIsRelieved(t *testing.T) {
	onStage(t, 2, func(g *stage) {
		g.set(1, true)
		g.set(2, true)
		g.cut(true) // the last one of all
		g.expect("cut", time.Minute, "+", "")
		g.set(1, false)
		g.expect("another is back", time.Minute, "+", "+")
		if _, _, hints := g.counts(); hints != 1 {
			t.Errorf("%d hints that the bucket may be back", hints)
		}
		g.cut(false)
		g.expect("back", time.Minute, "+-", "+-")
	})
}

// TestWhatIsDecidedLateIsTakenBack: nothing can be said before the bucket is back, since the journal is in it.
func TestWhatIsDecidedLateIsTakenBack(t *testing.T) {
	onStage(t, 2, func(g *stage) {
		g.hear(false)
		g.cut(true)
		g.expect("cut", time.Minute, "", "")
		g.cut(false)
		g.expect("back", time.Second, "", "")
		g.hear(true)
		g.expect("heard", 0, "+-", "")
		g.expect("and so it stays", time.Hour, "+-", "")
	})
}

// TestWhatCannotBeSaidIsTriedAgainAtEase: each attempt is a command.
func TestWhatCannotBeSaidIsTriedAgainAtEase(t *testing.T) {
	onStage(t, 2, func(g *stage) {
		tries := 0
		say := g.s.say
		g.s.say = func(ctx context.Context, back bool) error {
			if tries++; tries <= 10 {
				return errCut
			}
			return say(ctx, back)
		}
		g.cut(true)
		g.expect("refused", 9500*time.Millisecond, "", "")
		g.expect("taken", time.Second, "+", "+")
		g.cut(false)
		g.expect("back", 0, "+-", "+-")
	})
}

// TestAnAgentWhoseViewSaysThatItIsAsideComesBack: whoever said so.
func TestAnAgentWhoseViewSaysThatItIsAsideComesBack(t *testing.T) {
	onStage(t, 2, func(g *stage) {
		g.expect("at first", time.Minute, "", "")
		g.set(0, true)
		g.expect("aside", 3*time.Second, "-", "")
	})
}

func TestABucketThatComesAndGoesMovesNobodyOften(t *testing.T) {
	onStage(t, 2, func(g *stage) {
		for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); {
			g.cut(true)
			time.Sleep(2 * time.Second)
			g.cut(false)
			time.Sleep(2 * time.Second)
		}
		g.mu.Lock()
		times := len(g.said)
		g.mu.Unlock()
		if times > 12 || times < 4 { // 300 times otherwise
			t.Errorf("it moved %d times in ten minutes", times)
		}
		g.cut(false)
		time.Sleep(2 * time.Minute)
		if own, _ := g.s.view().Self(); own.Aside {
			t.Error("it did not come back")
		}
	})
}

// TestAnAgentThatEndsDoesNotComeBack: it is about to leave for good, and the bucket's return changes nothing any more.
func TestAnAgentThatEndsDoesNotComeBack(t *testing.T) {
	onStage(t, 2, func(g *stage) {
		g.cut(true)
		g.expect("cut", time.Minute, "+", "+")
		g.s.end()
		g.cut(false)
		g.expect("ended", time.Minute, "+", "+")
	})
}
