package produce

import (
	"errors"
	"fmt"
	"time"
)

// Config bounds the write path of one agent.
type Config struct {
	// FlushBytes: the open buffer seals at this size, bytes.
	FlushBytes int64
	// FlushInterval: no batch waits longer than this for its buffer to seal, as long as uploads keep up.
	FlushInterval time.Duration
	// EarlyPuts: early flushes (before size or interval) a second that are allowed on average, to bound the cost of requests;
	// EarlyBurst of them may come at once. Negative: without limit.
	EarlyPuts  float64
	EarlyBurst int
	// Uploads that run at once. With all of them busy the open buffer goes on gathering.
	Uploads int
	// UploadPatience: after this long an object that cannot be stored is given up (skipped by command) and its batches are
	// refused with a retriable error.
	UploadPatience time.Duration
	// UploadAttempt bounds one PUT; afterwards its outcome is unknown and another name is tried.
	UploadAttempt time.Duration
	// MaxBuffered: bytes between accept and commit. Beyond, accepting waits and the connections are not read.
	MaxBuffered int64
	// SealedObjects: objects between seal and commit at most. Beyond, sealing waits.
	SealedObjects int
	// PredecessorWait: a batch of an idempotent producer that arrives before its predecessor, which another agent may have, waits
	// so long for it. The default is longer than an agent that hangs keeps its session (about 8 s), since until then it may still
	// commit the predecessor; and shorter than the shortest default patience of a client (kgo, 10 s).
	PredecessorWait time.Duration
	// Clock is used for timestamps that the broker gives or checks.
	Clock func() time.Time
	// Jitter draws from [0, bound) what is added to the wait between two tries of an upload. Nil: at random. A simulation draws
	// from its seed.
	Jitter func(bound time.Duration) time.Duration
}

// Default is fit for a bucket that is paid by the request: at most EarlyPuts + 1/FlushInterval = 5 PUTs a second while less than FlushBytes
// come together in an interval, which is 66 USD a month at 0.005 USD for a thousand. Traffic of less than one flush a second is answered at once.
func Default() Config {
	return Config{
		FlushBytes: 8 << 20, FlushInterval: 250 * time.Millisecond, EarlyPuts: 1, EarlyBurst: 50,
		Uploads: 8, UploadPatience: 20 * time.Second, UploadAttempt: 10 * time.Second,
		MaxBuffered: 256 << 20, SealedObjects: 64, PredecessorWait: 9 * time.Second, Clock: time.Now,
	}
}

// Validate refuses what could not work.
func (c Config) Validate() error {
	switch {
	case c.FlushBytes < 1<<10 || c.FlushBytes > 1<<30:
		return fmt.Errorf("flush bytes %d: must be between 1 KiB and 1 GiB", c.FlushBytes)
	case c.FlushInterval < time.Millisecond || c.FlushInterval > time.Minute:
		return fmt.Errorf("flush interval %s: must be between 1ms and 1m", c.FlushInterval)
	case c.Uploads < 1 || c.SealedObjects < 1:
		return errors.New("uploads and sealed objects must be at least 1")
	case c.MaxBuffered < c.FlushBytes:
		return fmt.Errorf("buffered bytes %d: must be at least the flush bytes, %d", c.MaxBuffered, c.FlushBytes)
	case c.UploadPatience <= 0 || c.UploadAttempt <= 0:
		return errors.New("upload patience and attempt must be positive")
	case c.PredecessorWait < 0 || c.PredecessorWait > time.Minute:
		return fmt.Errorf("wait for a predecessor %s: must be between 0 and 1m", c.PredecessorWait)
	case c.Clock == nil:
		return errors.New("no clock")
	}
	return nil
}
