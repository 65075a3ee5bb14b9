package group

import (
	"fmt"
	"time"

	"github.com/leat-stream/leat/agent/group/classic"
	"github.com/leat-stream/leat/agent/group/proof"
)

// MaxGroupID bounds the length of a group id, in bytes: the longest string that Kafka's own protocol and records hold.
const MaxGroupID = 32767

// Config holds the knobs of the coordinator; the names in the comments are Kafka's, whose defaults they have.
type Config struct {
	classic.Limits // of one group

	MaxSessionTimeout    time.Duration // group.max.session.timeout.ms
	OffsetMetadataMax    int           // offset.metadata.max.bytes, of one partition; counted as Kafka does, in UTF-16 units
	OffsetsRetention     time.Duration // offsets.retention.minutes
	OffsetsCheckInterval time.Duration // offsets.retention.check.interval.ms

	MaxCommitBytes int64         // of one OffsetCommit in the journal
	WriteTimeout   time.Duration // so long is waited for the metadata; then the outcome counts as unknown

	// ConfirmEvery is how often an agent whose groups have members looks whether their claims stand, unless it has learned so
	// by writing: at most one GET. When the last look is twice as old, members get no answers until one succeeds (R11).
	ConfirmEvery time.Duration
}

// Default answers Kafka's defaults, and bounds of memory where Kafka has none.
func Default() Config {
	return Config{
		Limits: classic.Limits{
			InitialRebalanceDelay: 3 * time.Second,
			MinSessionTimeout:     6 * time.Second,
			NewMemberTimeout:      5 * time.Minute,
			MaxSize:               10_000,
			MaxGroupBytes:         4 << 20,
			MaxNewcomerBytes:      64 << 20,
		},
		MaxSessionTimeout:    30 * time.Minute,
		OffsetMetadataMax:    4096,
		OffsetsRetention:     7 * 24 * time.Hour,
		OffsetsCheckInterval: 10 * time.Minute,
		MaxCommitBytes:       1 << 20,
		WriteTimeout:         10 * time.Second,
		ConfirmEvery:         3 * time.Second,
	}
}

// Validate reports the first value that makes no sense.
func (c Config) Validate() error {
	switch {
	case c.InitialRebalanceDelay < 0:
		return fmt.Errorf("initial rebalance delay %v is negative", c.InitialRebalanceDelay)
	case c.MinSessionTimeout <= 0 || c.MaxSessionTimeout < c.MinSessionTimeout:
		return fmt.Errorf("session timeouts from %v to %v are no range", c.MinSessionTimeout, c.MaxSessionTimeout)
	case c.ConfirmEvery <= 0 || proof.Lifetime*c.ConfirmEvery > c.MinSessionTimeout:
		return fmt.Errorf("claims confirmed every %v do not suit sessions of %v", c.ConfirmEvery, c.MinSessionTimeout)
	case c.NewMemberTimeout <= 0 || c.WriteTimeout <= 0:
		return fmt.Errorf("new member timeout %v and write timeout %v must be positive", c.NewMemberTimeout, c.WriteTimeout)
	case c.MaxSize < 1:
		return fmt.Errorf("a group of at most %d members is no group", c.MaxSize)
	case c.OffsetMetadataMax < 0 || c.OffsetMetadataMax > MaxGroupID/3: // a UTF-16 unit takes at most three bytes of UTF-8
		return fmt.Errorf("offset metadata bound %d is not between 0 and %d", c.OffsetMetadataMax, MaxGroupID/3)
	case c.OffsetsRetention <= 0 || c.OffsetsCheckInterval <= 0:
		return fmt.Errorf("offsets retention %v and its check interval %v must be positive",
			c.OffsetsRetention, c.OffsetsCheckInterval)
	case c.MaxGroupBytes <= 0 || c.MaxGroupBytes > 8<<20 || c.MaxCommitBytes <= 0 || c.MaxCommitBytes > 8<<20:
		return fmt.Errorf("bounds of %d bytes a group and %d a commit do not fit a journal entry", c.MaxGroupBytes, c.MaxCommitBytes)
	case c.MaxNewcomerBytes <= 0:
		return fmt.Errorf("newcomer bound of %d bytes lets nobody join", c.MaxNewcomerBytes)
	}
	return nil
}
