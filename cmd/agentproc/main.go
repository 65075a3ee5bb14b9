package agentproc

import (
	"context"
	"flag"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Main is what the programs that run agents begin and end with: it adds the flag -leat, and -timeout if there is a limit, parses the
// command line, runs, and ends the program with 1 on an error. Ctrl-C, SIGTERM and the end of the time end ctx.
func Main(name string, limit time.Duration, run func(ctx context.Context, leat string) error) {
	log.SetFlags(0)
	log.SetPrefix(name + ": ")
	leat := flag.String("leat", "bin/leat", "`file` of the leat binary")
	if limit > 0 {
		flag.DurationVar(&limit, "timeout", limit, "give up after this long")
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	cancel := func() {}
	if limit > 0 {
		ctx, cancel = context.WithTimeout(ctx, limit)
	}
	err := run(ctx, *leat)
	cancel()
	stop()
	if err != nil {
		log.Fatal(err)
	}
}
