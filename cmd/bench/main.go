// Command bench measures what an agent does a second and what that costs in processor time, on the file store and on a real
// MinIO, beside the raw cost of storing objects of the same size without Leat. The agent, MinIO and the load generator
// (kgo, in this process) are processes of their own and share the machine, so compare only numbers of one sitting. It works
// on Linux, where the kernel tells what processes use. It must never tune what it measures: the agent runs with its defaults.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"os"
	"time"

	"github.com/leat-stream/leat/cmd/agentproc"
)

// plan says how long to measure.
type plan struct {
	leat   string        // file of the leat binary
	rounds int           // the table has the medians
	length time.Duration // of each load
}

func main() {
	var p plan
	flag.IntVar(&p.rounds, "rounds", 3, "rounds, of which the table has the medians")
	flag.DurationVar(&p.length, "length", 3*time.Second, "how long each load lasts")
	agentproc.Main("bench", 15*time.Minute, func(ctx context.Context, leat string) error {
		if p.leat = leat; p.rounds < 1 || p.length <= 0 {
			return errors.New("-rounds and -length must be positive")
		}
		return run(ctx, p)
	})
}

// run measures on each store in turn, so that what else happens on the machine meets all of them.
func run(ctx context.Context, p plan) error {
	results := results{}
	for round := range p.rounds {
		for _, store := range []string{fileStore, minioStore} {
			log.Printf("round %d of %d: %s", round+1, p.rounds, store)
			if err := measure(ctx, p, store, results); err != nil {
				return err
			}
		}
	}
	results.print(os.Stdout, p)
	return nil
}
