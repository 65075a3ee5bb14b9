package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/group"
	"github.com/leat-stream/leat/agent/topics"
	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// OffsetFetch, versions 1 to 10: one group up to 7, several from 8 on, topics by id from 10 on. Nothing is ever pending, so
// require_stable changes nothing.

func init() { on(kmsg.OffsetFetch, offsetFetch) }

func offsetFetch(ctx context.Context, s *Server, r wire.Request, req *kmsg.OffsetFetchRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
	if r.Version >= 8 {
		for _, g := range req.Groups {
			resp.Groups = append(resp.Groups, groupOffsets(ctx, s, g, r.Version >= 10))
		}
		return resp
	}
	single := kmsg.OffsetFetchRequestGroup{Group: req.Group}
	if req.Topics != nil || r.Version < 2 {
		single.Topics = []kmsg.OffsetFetchRequestGroupTopic{}
	}
	for _, t := range req.Topics {
		single.Topics = append(single.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: t.Topic, Partitions: t.Partitions})
	}
	g := groupOffsets(ctx, s, single, false)
	resp.ErrorCode = g.ErrorCode
	for _, t := range g.Topics {
		rt := kmsg.OffsetFetchResponseTopic{Topic: t.Topic}
		for _, p := range t.Partitions {
			rt.Partitions = append(rt.Partitions, kmsg.OffsetFetchResponseTopicPartition(p))
		}
		resp.Topics = append(resp.Topics, rt)
	}
	if g.ErrorCode != 0 && r.Version < 2 { // which has no place for it but the partitions
		for _, t := range single.Topics {
			resp.Topics = append(resp.Topics, failedOffsets(t, g.ErrorCode))
		}
	}
	return resp
}

func failedOffsets(t kmsg.OffsetFetchRequestGroupTopic, errorCode int16) kmsg.OffsetFetchResponseTopic {
	rt := kmsg.OffsetFetchResponseTopic{Topic: t.Topic}
	for _, p := range t.Partitions {
		rt.Partitions = append(rt.Partitions, kmsg.OffsetFetchResponseTopicPartition{
			Partition: p, Offset: -1, LeaderEpoch: -1, Metadata: new(string), ErrorCode: errorCode,
		})
	}
	return rt
}

// groupOffsets answers the offsets of one group; all of them if it names no topics.
func groupOffsets(ctx context.Context, s *Server, g kmsg.OffsetFetchRequestGroup, byID bool) kmsg.OffsetFetchResponseGroup {
	answer := kmsg.OffsetFetchResponseGroup{Group: g.Group, Topics: []kmsg.OffsetFetchResponseGroupTopic{}}
	if g.Topics == nil {
		all, err := allOffsets(ctx, s, g.Group)
		answer.Topics, answer.ErrorCode = all, code(err)
		return answer
	}
	refs := make([]topics.Ref, len(g.Topics))
	for i, t := range g.Topics {
		refs[i] = topicRef(byID, t.Topic, t.TopicID)
	}
	found, errs := s.Catalog.Find(ctx, refs)
	for _, err := range errs {
		if known := (*topics.Error)(nil); err != nil && !errors.As(err, &known) { // whether there is such a topic: to say that nothing was committed would be a guess (R7)
			answer.ErrorCode = code(fmt.Errorf("%w: %w", group.ErrNotCoordinator, err))
			return answer
		}
	}
	want := []state.TopicPartition{}
	for i, t := range g.Topics {
		for _, p := range t.Partitions {
			if errs[i] == nil {
				want = append(want, state.TopicPartition{Topic: found[i].ID, Partition: p})
			}
		}
	}
	offsets, err := s.Coordinator.Offsets(ctx, g.Group, want)
	if err != nil {
		answer.ErrorCode = code(err)
		return answer
	}
	for i, t := range g.Topics {
		rt := kmsg.OffsetFetchResponseGroupTopic{Topic: t.Topic, TopicID: t.TopicID}
		for _, p := range t.Partitions {
			rp := kmsg.OffsetFetchResponseGroupTopicPartition{Partition: p, Offset: -1, LeaderEpoch: -1, Metadata: new(string)}
			if errs[i] == nil {
				rp = committed(offsets[0])
				offsets = offsets[1:]
			} else if byID {
				rp.ErrorCode = code(errs[i])
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		answer.Topics = append(answer.Topics, rt)
	}
	return answer
}

func committed(o state.OffsetCommit) kmsg.OffsetFetchResponseGroupTopicPartition {
	return kmsg.OffsetFetchResponseGroupTopicPartition{
		Partition: o.Partition, Offset: o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: &o.Metadata,
	}
}

// allOffsets answers everything that a group committed, by topic.
func allOffsets(ctx context.Context, s *Server, id string) ([]kmsg.OffsetFetchResponseGroupTopic, error) {
	offsets, err := s.Coordinator.Offsets(ctx, id, nil)
	if err != nil {
		return nil, err
	}
	var list []kmsg.OffsetFetchResponseGroupTopic
	err = s.Session.Ask(ctx, metadata.Local(), func(r state.Reader) {
		for _, o := range offsets { // ordered by topic and partition
			t, ok := r.Topic(o.Topic)
			if !ok {
				continue // deleted in between, and its offsets with it
			}
			if n := len(list); n == 0 || list[n-1].TopicID != t.ID {
				list = append(list, kmsg.OffsetFetchResponseGroupTopic{Topic: t.Name, TopicID: t.ID})
			}
			last := &list[len(list)-1]
			last.Partitions = append(last.Partitions, committed(o))
		}
	})
	return list, err
}
