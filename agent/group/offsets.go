package group

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/leat-stream/leat/agent/group/classic"
	"github.com/leat-stream/leat/agent/group/offsets"
	"github.com/leat-stream/leat/metadata/state"
)

// CommitRequest is an OffsetCommit, its topics resolved to ids. Generation is -1 and Member "" for who is in no group.
type CommitRequest struct {
	Group, Member, Instance string
	Generation              int32
	Offsets                 []state.OffsetCommit // must not be changed afterwards
	// Accepted is a journal index that this agent had applied before the request reached it (see Coordinator.Accepted): what the client
	// commits through other agents later cannot be undone by this request. 0: it reaches it now.
	Accepted uint64
}

// Accepted is the journal index for requests that reach this agent now; 0 while the metadata cannot be read.
func (c *Coordinator) Accepted() uint64 { return c.acceptance.Index() }

// Commit records offsets and answers an error for each (nil, ErrMetadataTooLarge, ErrUnknownPartition). The others are in the
// journal then. Errors of the whole request, of which nothing is committed: ErrInvalidGroupID, ErrUnknownMember,
// ErrFencedInstance, ErrIllegalGeneration, ErrRebalanceInProgress, ErrNoSuchGroup, ErrCommitTooLarge. With
// ErrCoordinatorNotAvailable it may be committed now or later; with ErrOvertaken those offsets are that nobody overtook. As in
// Kafka, the group id may be empty.
func (c *Coordinator) Commit(ctx context.Context, r CommitRequest) ([]error, error) {
	if len(r.Group) > MaxGroupID {
		return nil, ErrInvalidGroupID
	}
	if max(len(r.Member), len(r.Instance)) > MaxGroupID {
		return nil, ErrUnknownMember
	}
	if r.Accepted = cmp.Or(r.Accepted, c.Accepted()); r.Accepted == 0 { // known before anything is waited for
		return nil, ErrCoordinatorNotAvailable
	}
	// The coordinator's memory knows more than the journal about who may commit: who left, who was fenced. What it allows is
	// checked again in Apply, so the order of commits and rebalances is the journal's, and any agent may commit: a group
	// that moves is no reason to fail.
	_, err := call(ctx, c, r.Group, needHint, func(g *classic.Group, w *waiter[struct{}], now time.Time) {
		w.Answer(struct{}{}, classic.MayCommit(g, r.Generation, r.Member, r.Instance, now))
	})
	if err != nil && err != errAbsent && !errors.Is(err, ErrNotCoordinator) {
		return nil, err
	}
	commits, places, size := offsets.Fitting(r.Offsets, c.cfg.OffsetMetadataMax)
	if size += int64(len(r.Group) + len(r.Member) + len(r.Instance)); size > c.cfg.MaxCommitBytes {
		return nil, fmt.Errorf("%w: about %d bytes, at most %d", ErrCommitTooLarge, size, c.cfg.MaxCommitBytes)
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.WriteTimeout)
	defer cancel()
	results, err := c.door.Do(ctx, state.CommitOffsets{
		Group: r.Group, Generation: r.Generation, Member: r.Member, Instance: r.Instance, Offsets: commits, Accepted: r.Accepted,
	})
	if err != nil {
		return nil, unavailable(err)
	}
	switch err := codeError(results[0].Code); {
	case err == ErrIllegalGeneration && offsets.NoGroup(ctx, c.door, r.Group):
		return nil, ErrNoSuchGroup // as OffsetCommit from version 9 on tells it
	case err != nil:
		return nil, err
	}
	if slices.Contains(results[0].Partitions, state.CodeStale) {
		// Some clients look at the first partition only, and some try again only what failed as a whole: all are told the same.
		c.m.overtaken.Inc()
		return nil, ErrOvertaken
	}
	errs := slices.Repeat([]error{ErrMetadataTooLarge}, len(r.Offsets))
	for i, place := range places {
		if errs[place] = nil; i < len(results[0].Partitions) {
			errs[place] = codeError(results[0].Partitions[i])
		}
	}
	c.m.commits.Add(float64(len(commits)))
	return errs, nil
}

// Offsets answers what a group committed for the partitions, in their order, Offset offsets.None and LeaderEpoch -1 where it
// committed nothing; a nil want asks for all there are. Any agent answers. While it cannot be known, the error is
// ErrNotCoordinator and not ErrCoordinatorNotAvailable, which consumers before Kafka 3.9 do not take from OffsetFetch.
func (c *Coordinator) Offsets(ctx context.Context, group string, want []state.TopicPartition) ([]state.OffsetCommit, error) {
	if len(group) > MaxGroupID {
		return nil, ErrInvalidGroupID
	}
	answer, err := offsets.Read(ctx, c.door, group, want)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotCoordinator, err)
	}
	return answer, nil
}
