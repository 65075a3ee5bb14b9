package liveness

import (
	"testing"
	"time"
)

func TestNobodyWasSilentWhileThisProcessSlept(t *testing.T) {
	const patience = 3 * time.Second
	start := time.Now()
	w := NewWaking(start)
	now := start
	for range 100 {
		now = now.Add(500 * time.Millisecond)
		if since := w.Look(now, patience); since != start {
			t.Fatalf("awake all the time, but counted from %v on", since.Sub(start))
		}
	}
	now = now.Add(time.Hour)
	if since := w.Look(now, patience); since != now {
		t.Fatalf("after an hour's sleep it counts from %v before its end", now.Sub(since))
	}
	if since := w.Look(now.Add(-time.Minute), patience); since != now { // a goroutine that took the time before the sleep
		t.Fatalf("a late look moved the beginning to %v before", now.Sub(since))
	}
	if since := w.Look(now.Add(time.Second), patience); since != now {
		t.Fatal("the next look forgot when it woke")
	}
}
