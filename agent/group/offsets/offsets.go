// Package offsets is what of committed offsets needs no coordinator: reading them, measuring their metadata, knowing how old a
// commit is, and expiring those of abandoned groups. Any agent does it for any group.
//
// The package must never judge who may commit: that is the coordinator's and Apply's.
package offsets

import (
	"context"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/leat-stream/leat/agent/group/proof"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// None is the offset of a partition for which a group committed none.
const None = -1

// Read answers what a group committed for the partitions, in their order, Offset None and LeaderEpoch -1 where it committed
// nothing; a nil want asks for all there are. A group that does not exist has committed nothing. The error is the door's.
func Read(ctx context.Context, d proof.Door, group string, want []state.TopicPartition) ([]state.OffsetCommit, error) {
	answer := make([]state.OffsetCommit, 0, len(want))
	err := d.Ask(ctx, metadata.Fresh(), func(r state.Reader) {
		if want == nil {
			for _, o := range r.Offsets(group) {
				answer = append(answer, o.OffsetCommit)
			}
		}
		for _, tp := range want {
			o, ok := r.Offset(group, tp)
			if !ok {
				o.OffsetCommit = state.OffsetCommit{TopicPartition: tp, Offset: None, LeaderEpoch: -1}
			}
			answer = append(answer, o.OffsetCommit)
		}
	})
	return answer, err
}

// NoGroup tells whether this agent knows of no group of that name.
func NoGroup(ctx context.Context, d proof.Door, group string) bool {
	exists := true
	err := d.Ask(ctx, metadata.Local(), func(r state.Reader) { _, exists = r.Group(group) })
	return err == nil && !exists
}

// Fitting is those offsets whose metadata is not longer than limit, their places in the list, and about how many bytes they take in the
// journal.
func Fitting(list []state.OffsetCommit, limit int) (fit []state.OffsetCommit, places []int, size int64) {
	for i, o := range list {
		if !longer(o.Metadata, limit) {
			fit, places, size = append(fit, o), append(places, i), size+int64(len(o.Metadata))+40
		}
	}
	return fit, places, size
}

// longer reports whether metadata is longer than limit, counted as Kafka does, in UTF-16 units.
func longer(s string, limit int) bool {
	if len(s) <= limit {
		return false
	}
	units := 0
	for _, r := range s {
		units++
		if r >= 0x10000 && r <= utf8.MaxRune {
			units++
		}
	}
	return units > limit
}

// expireBatch is how many groups one ExpireOffsets looks after.
const expireBatch = 1000

// Expire drops the offsets of groups that nobody has been in for the retention time, and groups and claims of which nothing
// is left, and answers how many lost something. It goes by the state's steady time where that is earlier than this agent's
// clock, so that a clock that runs ahead does no harm (R13). The error is the door's, or a refusal.
func Expire(ctx context.Context, d proof.Door, retention time.Duration) (lost int64, err error) {
	var known int64
	found := false
	err = d.Ask(ctx, metadata.Local(), func(r state.Reader) {
		known, _ = r.Time()
		for range r.Groups() {
			found = true
			break
		}
	})
	before := min(known, time.Now().UnixMilli()) - retention.Milliseconds()
	for found && err == nil {
		results, failed := d.Do(ctx, state.ExpireOffsets{Before: before, Limit: expireBatch})
		switch {
		case failed != nil:
			return lost, failed
		case results[0].Code != state.CodeOK:
			return lost, fmt.Errorf("expire offsets: refused as %v", results[0].Code)
		}
		lost += results[0].Number
		found = results[0].Number == expireBatch
	}
	return lost, err
}
