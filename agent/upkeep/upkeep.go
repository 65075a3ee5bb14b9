// Package upkeep is the work that nobody waits for: so far, forgetting idempotent producers that have been idle for long.
//
// Every job's result is a command whose effect depends on the state alone, so a job that ran twice or too late changes
// nothing that it should not. It must never delete what the state may still refer to, and never decide by a clock what is
// safe, only how soon.
package upkeep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// Session is the part of metadata.Session that upkeep needs.
type Session interface {
	// Do commits ops and answers once they are applied here.
	Do(ctx context.Context, ops ...state.Op) ([]state.Result, error)
	// Ask looks at one state that is as fresh as f demands.
	Ask(ctx context.Context, f metadata.Freshness, read func(state.Reader)) error
}

// Config says how often, and how long.
type Config struct {
	Interval         time.Duration // between two looks; each costs one journal entry
	ProducerIdle     time.Duration // an id that wrote nothing for so long is forgotten (Kafka: producer.id.expiration.ms)
	ProducersAtATime int32         // in one command
}

// Default follows Kafka, with a longer interval, since a look costs a request.
func Default() Config {
	return Config{Interval: time.Hour, ProducerIdle: 24 * time.Hour, ProducersAtATime: 1000}
}

// Validate refuses what could not work.
func (c Config) Validate() error {
	if c.Interval <= 0 || c.ProducerIdle <= 0 || c.ProducersAtATime < 1 {
		return errors.New("upkeep: interval, producer idle time and number must be positive")
	}
	return nil
}

// Run works until ctx ends. What fails is tried again at the next interval.
func Run(ctx context.Context, cfg Config, s Session, now func() time.Time, log *slog.Logger) error {
	tick := time.NewTicker(cfg.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		forgotten, err := expireProducers(ctx, cfg, s, now, log)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			log.Warn("idle producers could not be forgotten; the next look will try again", "error", err)
		} else if forgotten > 0 {
			log.Info("forgot idle producers", "count", forgotten)
		}
	}
}

// expireProducers forgets producers that have been idle for too long. It goes by the state's steady time where that is
// earlier than this machine's clock, so that a clock that runs ahead does no harm (R13).
func expireProducers(ctx context.Context, cfg Config, s Session, now func() time.Time, log *slog.Logger) (forgotten int64, err error) {
	var steady, latest int64
	if err := s.Ask(ctx, metadata.Local(), func(r state.Reader) { steady, latest = r.Time() }); err != nil {
		return 0, err
	}
	if ahead := time.Duration(latest-steady) * time.Millisecond; ahead > state.MaxTimeStep {
		log.Warn("time jumped ahead: nothing expires until it has moved on steadily since; is a clock wrong?",
			"by", ahead, "steady", time.UnixMilli(steady).UTC(), "for", state.ConfirmAfter)
	}
	before := min(steady, now().UnixMilli()) - cfg.ProducerIdle.Milliseconds()
	for {
		results, err := s.Do(ctx, state.ExpireProducers{Before: before, Limit: cfg.ProducersAtATime})
		if err != nil {
			return forgotten, err
		}
		if results[0].Code != state.CodeOK {
			return forgotten, fmt.Errorf("expire producers: metadata answered %v", results[0].Code)
		}
		forgotten += results[0].Number
		if results[0].Number < int64(cfg.ProducersAtATime) {
			return forgotten, nil
		}
	}
}
