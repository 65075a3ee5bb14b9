package main

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/cmd/chaos/door"
)

func TestFaultsBetweenAgentsLastAndAreUndone(t *testing.T) {
	for name, c := range map[string]struct {
		pick func(*bed, *slot, fault) []line
		want int
	}{"into": {into, 4}, "around": {around, 6}, "everywhere": {everywhere, 12}, "out of": {outOf, 1}, "between": {between, 2}} {
		synctest.Test(t, func(t *testing.T) {
			b := &bed{plan: plan{agents: 2}}
			for n := range 3 {
				b.slots = append(b.slots, &slot{number: n, door: door.New("", "", nil)})
			}
			suffering := func() (lines int) {
				for _, s := range b.slots {
					for _, now := range s.door.Suffered() {
						if now == door.Lost {
							lines++
						} else if now != (door.Trouble{}) {
							t.Errorf("%s: %+v", name, now)
						}
					}
				}
				return lines
			}
			done := make(chan error, 1)
			go func() {
				done <- troubled(c.pick, door.Lost)(t.Context(), b, b.slots[1], fault{victim: 1, other: 0, length: time.Second})
			}()
			synctest.Wait()
			if got := suffering(); got != c.want {
				t.Errorf("%s: %d lines suffer in place of %d", name, got, c.want)
			}
			if err := <-done; err != nil || suffering() != 0 {
				t.Errorf("%s: %d lines suffer when all is over, %v", name, suffering(), err)
			}
		})
	}
}
