// Command chaos shows that a cluster keeps Leat's promises while everything fails: real agents over a real MinIO (and etcd), real
// clients that produce, read, and read in groups, and a nemesis that kills, pauses and drains agents, parts them from each
// other, and cuts, slows and belies the bucket. What the clients saw is recorded and judged. The faults follow from a seed; what
// they meet does not: a seed makes the same trouble again, not the same race.
//
// It must never use anything but processes of its own on 127.0.0.1, nor forgive anything that Leat promises.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/leat-stream/leat/cmd/agentproc"
)

// The journals that agents may be run with.
const (
	bucketJournal = "bucket"
	etcdJournal   = "etcd"
)

// plan says what to run.
type plan struct {
	leat     string // file of the leat binary
	seed     uint64
	duration time.Duration // of the faults
	journal  string
	agents   int
	balancer bool
	only     map[string]bool // names of the kinds of faults; empty: all
	alone    bool            // one fault at a time
	keep     bool            // the folder, also when all is well
	calm     time.Duration   // how long producers and members live at least
	quiet    time.Duration   // longest pause between faults
}

func main() {
	p := plan{only: map[string]bool{}, calm: 20 * time.Second}
	flag.Uint64Var(&p.seed, "seed", 1, "of the faults")
	flag.DurationVar(&p.duration, "duration", time.Minute, "how long faults happen; getting ready and judging come on top")
	flag.StringVar(&p.journal, "journal", bucketJournal, "bucket or etcd")
	flag.IntVar(&p.agents, "agents", 3, "agents that run all the time")
	flag.BoolVar(&p.balancer, "balancer", false, "put HAProxy before the agents, as their only address")
	flag.BoolVar(&p.alone, "alone", false, "never a fault beside another")
	flag.BoolVar(&p.keep, "keep", false, "keep logs and data also if all is well")
	flag.DurationVar(&p.quiet, "quiet", 5*time.Second, "longest pause between faults")
	only := flag.String("only", "", "kinds of faults, separated by commas (default: all); ? lists them")
	agentproc.Main("chaos", 0, func(ctx context.Context, leat string) error {
		p.leat = leat
		return p.torment(ctx, *only)
	})
}

// torment runs the plan with the faults of these names, and prints what came out.
func (p plan) torment(ctx context.Context, only string) error {
	for name := range strings.SplitSeq(only, ",") {
		if name = strings.TrimSpace(name); name != "" {
			p.only[name] = true
		}
	}
	if p.only["?"] {
		for _, k := range kinds {
			fmt.Println(k.name)
		}
		return nil
	}
	if p.agents < 1 || p.duration <= 0 || p.quiet <= 0 || (p.journal != bucketJournal && p.journal != etcdJournal) {
		return errors.New("-agents, -duration and -quiet must be positive, -journal is bucket or etcd")
	}
	draw, err := newDrawing(p)
	if err != nil {
		return err
	}
	r, err := run(ctx, p, draw.next)
	if err != nil {
		return err
	}
	r.print(os.Stdout)
	if !r.passed() {
		return errors.New("promises were broken")
	}
	return nil
}
