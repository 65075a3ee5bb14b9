// Command cluster measures what several agents cost and how soon they recover, on a bucket journal (MinIO) and an etcd journal:
//
//   - how long nothing is acknowledged after the metadata leader is killed, hangs, or is told to stop,
//   - how many commits a second a leader sustains with 1, 8 and 64 agents that commit as fast as they can.
//
// Everything is a process of its own but the simulated agents of the second part, and all share the machine: compare only
// numbers of one sitting. It works on Linux. It must never tune what it measures: agents run with their defaults.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/leat-stream/leat/cmd/agentproc"
	"github.com/leat-stream/leat/metadata/journal/etcd/etcdproc"
	"github.com/leat-stream/leat/objectstore/storetest/minioproc"
)

// plan says how much to measure.
type plan struct {
	leat   string        // file of the leat binary
	rounds int           // recoveries of each kind
	length time.Duration // of each load of commits
}

func main() {
	var p plan
	flag.IntVar(&p.rounds, "rounds", 5, "recoveries of each kind, of which the table has median and maximum")
	flag.DurationVar(&p.length, "length", 5*time.Second, "how long each load of commits lasts")
	agentproc.Main("cluster", 20*time.Minute, func(ctx context.Context, leat string) error {
		if p.leat = leat; p.rounds < 1 || p.length <= 0 {
			return errors.New("-rounds and -length must be positive")
		}
		return run(ctx, p)
	})
}

// bed is what agents stand on.
type bed struct {
	dir   string
	minio *minioproc.Server
	etcd  *etcdproc.Cluster
}

// journals are the kinds of journal that several agents can share.
var journals = []string{"bucket", "etcd"}

// journal is the URL of a fresh journal of a kind.
func (b *bed) journal(kind, name string) string {
	if kind == "etcd" {
		return b.etcd.URL(name)
	}
	return "bucket:"
}

func run(ctx context.Context, p plan) (err error) {
	b := &bed{}
	if b.dir, err = os.MkdirTemp("", "leat-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if b.minio, err = minioproc.Start(ctx, filepath.Join(b.dir, "minio"), minioproc.Options{OwnGroup: true}); err != nil {
		return err
	}
	defer b.minio.Stop()
	if b.etcd, err = etcdproc.Start(ctx, filepath.Join(b.dir, "etcd"), etcdproc.Options{Members: 1}); err != nil {
		return err
	}
	defer b.etcd.Stop()
	if err = b.minio.Setenv(); err != nil { // for the driver in this process, and for the agents
		return err
	}
	fmt.Println("| the metadata leader, of 3 agents, | bucket: median / longest | etcd: median / longest |")
	fmt.Println("|---|---:|---:|")
	for _, kind := range ends {
		row := []string{kind.name}
		for _, journal := range journals {
			log.Printf("%s, %s journal", kind.name, journal)
			took, err := recoveries(ctx, p, b, journal, kind)
			if err != nil {
				return fmt.Errorf("%s, %s journal: %w", kind.name, journal, err)
			}
			slices.Sort(took)
			row = append(row, fmt.Sprintf("%s / %s", seconds(took[len(took)/2]), seconds(took[len(took)-1])))
		}
		fmt.Printf("| %s |\n", strings.Join(row, " | "))
	}
	fmt.Println()
	return measureCommits(ctx, p, b)
}

func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
