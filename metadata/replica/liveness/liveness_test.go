package liveness

import (
	"testing"
	"time"

	"github.com/leat-stream/leat/metadata/state"
)

const beat = 500 * time.Millisecond

// told tells whether those behind were told since news was taken.
func told(news <-chan struct{}) bool {
	select {
	case <-news:
		return true
	default:
		return false
	}
}

func TestThoseBehindAreToldOfEachBeatAndNotOfTheSameOneAgain(t *testing.T) {
	l, now := NewLeader(beat), time.Now()
	l.Begin(7, now)
	for range 10 {
		now = now.Add(beat)
		news := l.News()
		l.Hear(7, now)
		if !told(news) {
			t.Fatal("a new sign of life was not passed on at once")
		}
		for range 100 { // what comes round in a circle of agents: each time a little younger, by what it took on the way
			news = l.News()
			l.Hear(7, now.Add(time.Millisecond))
			if told(news) {
				t.Fatal("the same sign of life was passed on again")
			}
		}
	}
}

func TestALeaderThatIsLostOrGoneIsNotHeard(t *testing.T) {
	l, now := NewLeader(beat), time.Now()
	l.Begin(7, now)
	if age := l.Heard(7, now); age >= 0 {
		t.Fatalf("heard %v ago, though it never was", age)
	}
	l.Lose(7)
	if l.Lost(7) {
		t.Fatal("lost, though it never was heard")
	}
	l.Hear(7, now)
	news := l.News()
	l.Lose(7)
	if l.Heard(7, now) >= 0 || !l.Lost(7) || !told(news) {
		t.Fatal("lost, and nobody was told")
	}
	if silent, gone := l.Silence(7, now.Add(time.Second)); silent != time.Second || gone {
		t.Fatalf("silent for %v, gone %v: what was heard before counts", silent, gone)
	}
	l.Hear(7, now.Add(-time.Second)) // by another way, on which word takes longer
	if l.Heard(7, now) != time.Second || l.Lost(7) {
		t.Fatal("still lost, though it is heard by another way")
	}
	news = l.News()
	l.Refuse(7)
	if _, gone := l.Silence(7, now); !gone || l.Heard(7, now) >= 0 || !told(news) {
		t.Fatal("gone, and nobody was told")
	}
	l.Hear(8, now)
	if _, gone := l.Silence(8, now); gone || l.Heard(8, now) < 0 {
		t.Fatal("the next leader is taken for gone")
	}
}

func TestADirectWayIsBlockedForOneTermOnly(t *testing.T) {
	l, now := NewLeader(beat), time.Now()
	l.Begin(7, now)
	l.SetBlocked(7, true)
	l.Hear(7, now)
	if !l.Blocked() {
		t.Fatal("unblocked by what came another way")
	}
	l.Begin(8, now)
	if l.Blocked() {
		t.Fatal("the way to the next leader is blocked before it was tried")
	}
	l.SetBlocked(7, true)
	if l.Blocked() {
		t.Fatal("the way to the next leader was blocked by a late answer of the last one")
	}
}

func TestAgentsAreForgottenWithTime(t *testing.T) {
	a, now := NewAgents(), time.Now()
	early, late := state.UUID{1}, state.UUID{2}
	a.Hear(early, now.Add(-10*time.Second))
	a.Hear(late, now.Add(-time.Second))
	a.Hear(late, now.Add(-5*time.Second)) // older news, by another way
	ages := a.Ages(now, 8*time.Second)
	if len(ages) != 1 || ages[late] != time.Second {
		t.Fatalf("ages are %v", ages)
	}
	if !a.Last(early).IsZero() {
		t.Fatal("it still remembers who was silent for longer than the limit")
	}
}
