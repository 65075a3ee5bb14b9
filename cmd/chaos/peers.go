package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/leat-stream/leat/cmd/chaos/door"
)

// peerKinds are the faults between agents. In those of 5 to 20 s nothing is refused or reset: bytes go nowhere, and come late.
var peerKinds = []*kind{
	{name: "peer port closed", weight: 1, violent: true, beside: true, min: time.Second, max: 15 * time.Second, run: one(closed)},
	{name: "peer port of the leader closed", weight: 1, violent: true, min: time.Second, max: 15 * time.Second, run: leader(closed)},
	{name: "peer ports of two closed", weight: 1, violent: true, two: true, min: time.Second, max: 15 * time.Second, run: two(closed)},
	{name: "connections of peers reset", weight: 1, violent: true, beside: true, max: 2 * time.Second,
		run: one(troubled(everywhere, door.Trouble{Resets: 1}))},
	{name: "nobody reaches one", weight: 2, violent: true, beside: true, min: 5 * time.Second, max: 20 * time.Second,
		run: one(troubled(into, door.Lost))},
	{name: "nobody reaches the leader", weight: 2, violent: true, min: 5 * time.Second, max: 20 * time.Second,
		run: leader(troubled(into, door.Lost))},
	{name: "nobody reaches two", weight: 1, violent: true, two: true, min: 5 * time.Second, max: 20 * time.Second,
		run: two(troubled(into, door.Lost))},
	{name: "requests to the leader lost", weight: 1, violent: true, min: 5 * time.Second, max: 20 * time.Second,
		run: leader(troubled(into, door.Trouble{Holds: [2]int{door.There: 1}}))},
	{name: "answers of the leader lost", weight: 1, violent: true, min: 5 * time.Second, max: 20 * time.Second,
		run: leader(troubled(into, door.Trouble{Holds: [2]int{door.Back: 1}}))},
	{name: "answers of one lost", weight: 1, violent: true, beside: true, min: 5 * time.Second, max: 20 * time.Second,
		run: one(troubled(into, door.Trouble{Holds: [2]int{door.Back: 1}}))},
	{name: "slow peers", weight: 2, violent: true, beside: true, min: 2 * time.Second, max: 15 * time.Second,
		run: one(troubled(everywhere, door.Trouble{Delay: 100 * time.Millisecond}))}, // there and back: 200 to 500 ms
	{name: "very slow peers", weight: 1, violent: true, min: 2 * time.Second, max: 15 * time.Second,
		run: one(troubled(everywhere, door.Trouble{Delay: 200 * time.Millisecond}))},
	{name: "one cut off from the others", weight: 1, violent: true, beside: true, two: true, callers: true, min: 5 * time.Second, max: 20 * time.Second,
		run: one(troubled(around, door.Lost))},
	{name: "the leader cut off from the others", weight: 1, violent: true, two: true, callers: true, min: 5 * time.Second, max: 20 * time.Second,
		run: leader(troubled(around, door.Lost))},
	{name: "two parted", weight: 1, violent: true, beside: true, two: true, callers: true, min: 5 * time.Second, max: 20 * time.Second,
		run: one(troubled(between, door.Lost))},
	{name: "the leader and another parted", weight: 2, violent: true, two: true, callers: true, min: 5 * time.Second, max: 20 * time.Second,
		run: leader(troubled(between, door.Lost))},
	{name: "two parted by resets", weight: 1, violent: true, beside: true, two: true, callers: true, min: 5 * time.Second, max: 20 * time.Second,
		run: one(troubled(between, door.Trouble{Resets: 1}))},
	{name: "one does not reach another", weight: 1, violent: true, beside: true, two: true, callers: true, min: 5 * time.Second, max: 20 * time.Second,
		run: one(troubled(outOf, door.Lost))},
}

// two does it to two agents at once.
func two(do deed) func(context.Context, *bed, fault) error {
	return func(ctx context.Context, b *bed, f fault) error {
		var errs [2]error
		var doing sync.WaitGroup
		for i, n := range []int{f.victim, f.other} {
			doing.Go(func() { errs[i] = do(ctx, b, b.slots[n], f) })
		}
		doing.Wait()
		return errors.Join(errs[:]...)
	}
}

func closed(ctx context.Context, _ *bed, s *slot, f fault) error {
	err := s.door.Shut(true)
	wait(ctx, f.length)
	return errors.Join(err, s.door.Shut(false))
}

// line is all connections that one agent opens to another.
type line struct{ from, to int }

// troubled has the lines suffer that pick names.
func troubled(pick func(*bed, *slot, fault) []line, t door.Trouble) deed {
	return func(ctx context.Context, b *bed, s *slot, f fault) error {
		lines := pick(b, s, f)
		for _, l := range lines {
			b.slots[l.to].door.Suffer(l.from, t, 1)
		}
		wait(ctx, f.length)
		for _, l := range lines {
			b.slots[l.to].door.Suffer(l.from, t, -1)
		}
		return nil
	}
}

// into are the lines on which others reach an agent.
func into(b *bed, s *slot, _ fault) (lines []line) {
	for from := door.Stranger; from < len(b.slots); from++ {
		lines = append(lines, line{from, s.number})
	}
	return lines
}

// around are all lines from and to an agent.
func around(b *bed, s *slot, f fault) []line {
	lines := into(b, s, f)
	for to := range b.slots {
		if to != s.number {
			lines = append(lines, line{s.number, to})
		}
	}
	return lines
}

// everywhere are all lines.
func everywhere(b *bed, _ *slot, f fault) (lines []line) {
	for _, s := range b.slots {
		lines = append(lines, into(b, s, f)...)
	}
	return lines
}

// outOf is the line from an agent to another one.
func outOf(_ *bed, s *slot, f fault) []line {
	if other := f.other; other != s.number {
		return []line{{s.number, other}}
	}
	return []line{{s.number, f.victim}}
}

// between are the lines from an agent to another one and back.
func between(b *bed, s *slot, f fault) []line {
	out := outOf(b, s, f)[0]
	return []line{out, {out.to, out.from}}
}
