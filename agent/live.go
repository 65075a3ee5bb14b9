package agent

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/leat-stream/leat/metadata"
)

// How a new life begins.
const (
	// rebirthPause is the time between attempts that fail: the bucket may be away for a moment.
	rebirthPause = time.Second
	rebirthLimit = time.Minute
	// shortLife is a life after which something else is wrong than that the machine slept. Each such life in a row doubles the pause
	// before the next, so that an agent that cannot live costs the journal next to nothing.
	shortLife   = 30 * time.Second
	maxDoubling = 5
)

// Live runs an agent until ctx ends (nil) or it cannot go on. An agent that was taken for dead, because its machine slept or was cut
// off, finds its session closed: nothing that it had not acknowledged counts any more, and it begins anew in this process,
// under a new session and at the same addresses.
func Live(ctx context.Context, cfg Config, log *slog.Logger) error {
	said := log
	log = cfg.named(log) // of what is said between two lives
	a, err := Open(ctx, cfg, said)
	for short := 0; err == nil; {
		cfg = a.settled(cfg)
		began := time.Now()
		if err = a.Run(ctx); !errors.Is(err, metadata.ErrSessionClosed) {
			return err
		}
		if ctx.Err() != nil {
			log.Warn("stopped; the other agents had closed this one's session, and what was not acknowledged is tried again elsewhere")
			return nil
		}
		log.Warn("the other agents took this one for dead and closed its session; beginning anew")
		if short++; time.Since(began) >= shortLife {
			short = 0
		}
		if pause := pauseAfter(short); pause > 0 {
			log.Warn("this agent was taken for dead shortly after it began: others may not reach it, or find another at its peer address",
				"peer", a.others.address, "times", short, "pause", pause)
			sleep(ctx, pause)
		}
		cfg.Process.earlier++
		a, err = reopen(ctx, cfg, said)
	}
	if ctx.Err() != nil { // told to stop before anything was accepted
		log.Info("stopped before it served")
		return nil
	}
	return err
}

// settled is cfg with the addresses that the agent has: clients, and what watches it, find the next life where they found this one, and as
// it was, also at ports that were free ones.
func (a *Agent) settled(cfg Config) Config {
	cfg.Wire.Listeners = slices.Clone(cfg.Wire.Listeners)
	for i := range cfg.Wire.Listeners {
		l := &cfg.Wire.Listeners[i]
		l.Address = a.Addr(l.Name)
	}
	_, query, asked := strings.Cut(cfg.HTTP, "?")
	if cfg.HTTP = a.HTTPAddr(); asked {
		cfg.HTTP += "?" + query
	}
	return cfg
}

// pauseAfter is how long to wait after so many short lives in a row. After the first there is nothing to wait for.
func pauseAfter(short int) time.Duration {
	if short < 2 {
		return 0
	}
	return rebirthPause << min(short-2, maxDoubling)
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// reopen is Open that is tried for a while.
func reopen(ctx context.Context, cfg Config, log *slog.Logger) (*Agent, error) {
	for began := time.Now(); ; {
		a, err := Open(ctx, cfg, log)
		if err == nil || ctx.Err() != nil || time.Since(began) > rebirthLimit {
			return a, err
		}
		log.Warn("the agent cannot begin anew yet; trying again", "error", err)
		if sleep(ctx, rebirthPause); ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}
