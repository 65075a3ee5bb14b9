package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/leat-stream/leat/cmd/chaos/history"
)

// recovery bounds how long clients take to finish when all faults are over: to get every record acknowledged and delivered.
const recovery = 4 * time.Minute

// run runs a plan with the faults that next answers, and judges it. An error says that it could not be run, nothing about Leat.
func run(ctx context.Context, p plan, next func() []fault) (r *report, err error) {
	dir, err := os.MkdirTemp("", "leat-chaos-")
	if err != nil {
		return nil, err
	}
	out, err := os.Create(filepath.Join(dir, "notes.log"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	r = &report{plan: p, dir: dir, history: history.New(), notes: newNotebook(out), counted: map[string]int{}}
	b, err := lay(ctx, p, dir, r.notes)
	if err != nil {
		return nil, fmt.Errorf("%w; logs are in %s", err, dir)
	}
	c := &crowd{bed: b, history: r.history, notes: r.notes, calm: p.calm}
	err = r.play(ctx, b, c, next)
	err = errors.Join(err, b.clear())
	if err != nil {
		return nil, fmt.Errorf("%w; logs are in %s", err, dir)
	}
	if err := r.readLogs(b); err != nil {
		return nil, err
	}
	if r.passed() && !p.keep {
		return r, os.RemoveAll(dir)
	}
	return r, r.save()
}

// play runs clients and nemesis.
func (r *report) play(ctx context.Context, b *bed, c *crowd, next func() []fault) error {
	if err := c.prepare(ctx); err != nil {
		return err
	}
	r.notes.starts()
	producing, stop := context.WithCancel(ctx)
	defer stop()
	last, cancel := context.WithCancel(ctx)
	defer cancel()
	clients := make(chan error, 1)
	began := time.Now()
	go func() { clients <- c.run(producing, last) }()
	wait(ctx, 2*time.Second)
	tormenting, end := context.WithTimeout(ctx, r.plan.duration)
	torment(tormenting, b, r.history, next)
	end()
	if err := settle(ctx, b); err != nil && ctx.Err() == nil {
		r.history.Accuse("all faults are over, but %v", err)
	}
	wait(ctx, 2*time.Second)
	r.notes.note("all faults are over, and all agents serve")
	stop()
	r.length = time.Since(began)
	giveUp := time.AfterFunc(recovery, cancel)
	defer giveUp.Stop()
	if err := <-clients; err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	names := slices.Collect(maps.Keys(groups))
	r.history.Finish(names)
	r.counted["requests to one agent answered"] = int(c.direct.Load())
	r.counted["requests to one agent refused or lost"] = int(c.repeated.Load())
	r.counted["fetches answered without records that are there"] = int(c.empty.Load())
	return nil
}

// report is what came out.
type report struct {
	plan    plan
	dir     string
	history *history.History
	notes   *notebook
	counted map[string]int
	length  time.Duration // for which was produced
}

func (r *report) passed() bool { return r.history.Broken == 0 }

// complaints are lines of an agent's log that count, by a part of them.
var complaints = []struct {
	part, name string
	broken     bool // never to be seen
}{
	{"leads the metadata", "elections", false},
	{"beginning anew\"", "agents taken for dead that began anew", false},
	{"level=ERROR", "errors in agents' logs", false},
	{"panic", "panics", true},
	{"differ from the leader's", "replicas that differed", true},
	{"DATA RACE", "data races", true},
}

// readLogs counts what agents said.
func (r *report) readLogs(b *bed) error {
	for _, s := range b.slots {
		r.counted["agents that ended by themselves"] += s.broken
		connections, strangers := s.door.Counts()
		r.counted["connections between agents"] += connections
		r.counted["connections to agents from strangers"] += strangers
		f, err := os.Open(s.logPath(b.dir))
		if err != nil {
			return err
		}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			for _, c := range complaints {
				if strings.Contains(lines.Text(), c.part) {
					r.counted[c.name]++
					if c.broken {
						r.history.Accuse("%s: %s", s.name, lines.Text())
					}
				}
			}
		}
		if err := errors.Join(lines.Err(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// save writes the history beside the logs.
func (r *report) save() error {
	f, err := os.Create(filepath.Join(r.dir, "history.txt"))
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	return errors.Join(r.history.List(w), w.Flush(), f.Close())
}

// print writes the report.
func (r *report) print(to io.Writer) {
	h, n := r.history, r.notes
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(to, format+"\n", args...) }
	say("seed %d, journal %s, %d agents, faults for %s, records for %.0f s", r.plan.seed, r.plan.journal, r.plan.agents, r.plan.duration, r.length.Seconds())
	say("\nfaults, the longest time around each without an acknowledgement anywhere, and the longest that one record waited for its own")
	sum := 0
	for _, kind := range slices.Sorted(maps.Keys(n.faults)) {
		say("%6d  %-34s %6.1f s %6.1f s", n.faults[kind], kind, n.worst[kind].Seconds(), n.waits[kind].Seconds())
		sum += n.faults[kind]
	}
	say("%6d  %-34s %6.1f s %6.1f s", sum, "in all", n.longest.Seconds(), n.slowest.Seconds())
	say("\n%8d  records sent\n%8d  acknowledged\n%8d  refused\n%8d  given to groups\n%8d  read at one agent", h.Sent, h.Acked, h.Failed, h.Consumed, h.Read)
	say("%8d  commits of a partition acknowledged\n%8d  answers about committed offsets\n%8d  answers about ends of logs", h.Commits, h.Watched, h.Ends)
	for _, group := range slices.Sorted(maps.Keys(h.Lag)) {
		say("%8.1f  s at most between a record's acknowledgement and group %s being given it", h.Lag[group].Seconds(), group)
	}
	for _, name := range slices.Sorted(maps.Keys(r.counted)) {
		say("%8d  %s", r.counted[name], name)
	}
	say("\nerrors that reached an application: %d kinds", len(n.errors))
	for _, text := range slices.Sorted(maps.Keys(n.errors)) {
		say("%6d  %s", n.errors[text], text)
	}
	if !r.passed() {
		say("\n%d broken promises", h.Broken)
		for _, v := range h.Violations {
			say("  %s", v)
		}
	}
	say("\n%s", map[bool]string{true: "PASS", false: "FAIL"}[r.passed()])
	if !r.passed() || r.plan.keep {
		say("logs, notes and history are in %s", r.dir)
	}
}
