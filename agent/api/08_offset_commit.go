package api

import (
	"cmp"
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/group"
	"github.com/leat-stream/leat/agent/topics"
	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/metadata/state"
)

// OffsetCommit, versions 2 to 10; topics by id from 10 on. The retention time of versions 2 to 4 is ignored, as Kafka has
// done since version 2.1 of its own when offsets.retention.minutes decides.

func init() { on(kmsg.OffsetCommit, offsetCommit) }

func offsetCommit(ctx context.Context, s *Server, r wire.Request, req *kmsg.OffsetCommitRequest) kmsg.Response {
	accepted := cmp.Or(r.Mark, s.Coordinator.Accepted()) // before anything is waited for
	resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	refs := make([]topics.Ref, len(req.Topics))
	for i, t := range req.Topics {
		refs[i] = topicRef(r.Version >= 10, t.Topic, t.TopicID)
		for _, p := range t.Partitions {
			refs[i].Partition = max(refs[i].Partition, p.Partition)
		}
	}
	found, errs := s.Catalog.Find(ctx, refs)
	commit := group.CommitRequest{
		Group: req.Group, Member: req.MemberID, Instance: text(req.InstanceID), Generation: req.Generation, Accepted: accepted,
	}
	var slots []*int16
	for i, t := range req.Topics {
		rt := kmsg.NewOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		rt.Partitions = make([]kmsg.OffsetCommitResponseTopicPartition, len(t.Partitions))
		for n, p := range t.Partitions {
			rp := &rt.Partitions[n]
			rp.Partition = p.Partition
			switch {
			case errs[i] != nil:
				rp.ErrorCode = code(errs[i])
			case p.Partition < 0 || p.Partition >= found[i].Partitions:
				rp.ErrorCode = kerr.UnknownTopicOrPartition.Code
			default:
				o := state.OffsetCommit{
					TopicPartition: state.TopicPartition{Topic: found[i].ID, Partition: p.Partition},
					Offset:         p.Offset, LeaderEpoch: -1, Metadata: text(p.Metadata),
				}
				if r.Version >= 6 {
					o.LeaderEpoch = p.LeaderEpoch
				}
				commit.Offsets = append(commit.Offsets, o)
				slots = append(slots, &rp.ErrorCode)
			}
		}
		resp.Topics = append(resp.Topics, rt)
	}
	partErrs, err := s.Coordinator.Commit(ctx, commit)
	if errors.Is(err, group.ErrNoSuchGroup) && r.Version < 9 {
		err = group.ErrIllegalGeneration
	}
	for i, slot := range slots {
		*slot = code(err)
		if err == nil {
			*slot = code(partErrs[i])
		}
	}
	return resp
}

// topicRef names a topic by id or by name, as the version does.
func topicRef(byID bool, name string, id [16]byte) topics.Ref {
	switch {
	case !byID:
		return topics.Ref{Name: name}
	case id == [16]byte{}:
		return topics.Ref{ID: state.UUID{15: 1}} // no topic has it
	}
	return topics.Ref{ID: id}
}

// text is a nullable string, null being empty.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// optional is a string of which the empty one is null.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
