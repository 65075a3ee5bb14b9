package agent

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/leat-stream/leat/metadata"
)

// How a new life begins, when it cannot at once: the bucket may be away for a moment.
const (
	rebirthPause = time.Second
	rebirthLimit = time.Minute
)

// Live runs an agent until ctx ends (nil) or it cannot go on. An agent that was taken for dead, because its machine slept or was cut
// off, finds its session closed: nothing that it had not acknowledged counts any more, and it begins anew in this process,
// under a new session and at the same addresses.
func Live(ctx context.Context, cfg Config, log *slog.Logger) error {
	a, err := Open(ctx, cfg, log)
	if err != nil {
		return err
	}
	for {
		cfg.Wire.Listeners = slices.Clone(cfg.Wire.Listeners)
		for i := range cfg.Wire.Listeners { // clients come back to where they were, also to ports that were free ones
			l := &cfg.Wire.Listeners[i]
			l.Address = a.Addr(l.Name)
		}
		err = a.Run(ctx)
		if !errors.Is(err, metadata.ErrSessionClosed) || ctx.Err() != nil {
			return err
		}
		log.Warn("the other agents took this one for dead and closed its session; beginning anew")
		if a, err = reopen(ctx, cfg, log); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// reopen is Open that is tried for a while.
func reopen(ctx context.Context, cfg Config, log *slog.Logger) (*Agent, error) {
	for began := time.Now(); ; {
		a, err := Open(ctx, cfg, log)
		if err == nil || time.Since(began) > rebirthLimit {
			return a, err
		}
		log.Warn("the agent cannot begin anew yet; trying again", "error", err)
		timer := time.NewTimer(rebirthPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
	}
}
