package group

import (
	"context"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// CommitRequest is an OffsetCommit, its topics resolved to ids. Generation is -1 and Member "" for who is in no group.
type CommitRequest struct {
	Group, Member, Instance string
	Generation              int32
	Offsets                 []state.OffsetCommit // must not be changed afterwards
}

// Commit records offsets and answers an error for each (nil, ErrMetadataTooLarge, ErrUnknownPartition). The others are in the
// journal then. Errors of the whole request, of which nothing is committed: ErrInvalidGroupID, ErrUnknownMember,
// ErrFencedInstance, ErrIllegalGeneration, ErrRebalanceInProgress, ErrNoSuchGroup, ErrCommitTooLarge. With
// ErrCoordinatorNotAvailable it may be committed now or later. As in Kafka, the group id may be empty.
func (c *Coordinator) Commit(ctx context.Context, r CommitRequest) ([]error, error) {
	if len(r.Group) > MaxGroupID {
		return nil, ErrInvalidGroupID
	}
	if max(len(r.Member), len(r.Instance)) > MaxGroupID {
		return nil, ErrUnknownMember
	}
	// Memory knows more than the journal about who may commit: who left, who was fenced. What it allows is checked again
	// in Apply, so the order of commits and rebalances is the journal's.
	_, err := call(ctx, c, r.Group, needHeld, func(g *group, w *waiter[struct{}], now time.Time) {
		w.answer(struct{}{}, r.allowed(g, now))
	})
	if err != nil && err != errAbsent {
		return nil, err
	}
	errs := make([]error, len(r.Offsets))
	offsets := make([]state.OffsetCommit, 0, len(r.Offsets))
	size := int64(len(r.Group) + len(r.Member) + len(r.Instance))
	for i, o := range r.Offsets {
		if longer(o.Metadata, c.cfg.OffsetMetadataMax) {
			errs[i] = ErrMetadataTooLarge
			continue
		}
		size += int64(len(o.Metadata)) + 40
		offsets = append(offsets, o)
	}
	if size > c.cfg.MaxCommitBytes {
		return nil, fmt.Errorf("%w: about %d bytes, at most %d", ErrCommitTooLarge, size, c.cfg.MaxCommitBytes)
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.WriteTimeout)
	defer cancel()
	results, err := c.door.Do(ctx, state.CommitOffsets{
		Group: r.Group, Generation: r.Generation, Member: r.Member, Instance: r.Instance, Offsets: offsets,
	})
	if err != nil {
		return nil, unavailable(err)
	}
	if err := codeError(results[0].Code); err != nil {
		return nil, c.orAbsent(ctx, r.Group, err)
	}
	next := 0
	for i := range errs {
		if errs[i] != nil {
			continue
		}
		if p := results[0].Partitions; next < len(p) {
			errs[i] = codeError(p[next])
		}
		next++
	}
	c.m.commits.Add(float64(len(offsets)))
	return errs, nil
}

// orAbsent makes ErrNoSuchGroup of the refusal of a commit to a group that does not exist, as OffsetCommit from version 9 on tells it.
func (c *Coordinator) orAbsent(ctx context.Context, group string, refusal error) error {
	exists := true
	err := c.door.Ask(ctx, metadata.Local(), func(r state.Reader) { _, exists = r.Group(group) })
	if err == nil && !exists && refusal == ErrIllegalGeneration {
		return ErrNoSuchGroup
	}
	return refusal
}

// longer counts as Kafka does, in UTF-16 units.
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

// allowed checks a commit as Kafka's classic group does, and keeps the member's session.
func (r *CommitRequest) allowed(g *group, now time.Time) error {
	if r.Generation < 0 && g.phase == phaseEmpty {
		return nil
	}
	if r.Generation < 0 && r.Member == "" && r.Instance == "" {
		return ErrUnknownMember
	}
	m, err := g.validate(r.Member, r.Instance)
	switch {
	case err != nil:
		return err
	case r.Generation != g.generation:
		return ErrIllegalGeneration
	case g.phase == phaseCompleting:
		return ErrRebalanceInProgress
	}
	g.beat(m, now)
	return nil
}

// NoOffset is the offset of a partition for which a group committed none.
const NoOffset = -1

// Offsets answers what a group committed for the partitions, in their order, Offset NoOffset and LeaderEpoch -1 where it
// committed nothing; a nil want asks for all there are. A group that does not exist has committed nothing. While that cannot be
// known, the error is ErrNotCoordinator and not ErrCoordinatorNotAvailable, which consumers before Kafka 3.9 do not take
// from OffsetFetch.
func (c *Coordinator) Offsets(ctx context.Context, group string, want []state.TopicPartition) ([]state.OffsetCommit, error) {
	if len(group) > MaxGroupID {
		return nil, ErrInvalidGroupID
	}
	answer := make([]state.OffsetCommit, 0, len(want))
	err := c.door.Ask(ctx, metadata.Fresh(), func(r state.Reader) {
		if want == nil {
			for _, o := range r.Offsets(group) {
				answer = append(answer, o.OffsetCommit)
			}
		}
		for _, tp := range want {
			o, ok := r.Offset(group, tp)
			if !ok {
				o.OffsetCommit = state.OffsetCommit{TopicPartition: tp, Offset: NoOffset, LeaderEpoch: -1}
			}
			answer = append(answer, o.OffsetCommit)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotCoordinator, err)
	}
	return answer, nil
}

// expireOffsets drops the offsets of groups that nobody has been in for the retention time. It goes by the state's
// steady time where that is earlier than this agent's clock, so that a clock that runs ahead does no harm (R13).
func (c *Coordinator) expireOffsets(ctx context.Context) error {
	var known int64
	found := false
	err := c.door.Ask(ctx, metadata.Local(), func(r state.Reader) {
		known, _ = r.Time()
		for range r.Groups() {
			found = true
			break
		}
	})
	if err != nil || !found {
		return err
	}
	before := min(known, time.Now().UnixMilli()) - c.cfg.OffsetsRetention.Milliseconds()
	for {
		results, err := c.door.Do(ctx, state.ExpireOffsets{Before: before, Limit: expireBatch})
		if err != nil {
			return err
		}
		if err := codeError(results[0].Code); err != nil {
			return err
		}
		c.m.abandoned.Add(float64(results[0].Number))
		if results[0].Number < expireBatch {
			return nil
		}
	}
}
