package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/fetch"
	"github.com/leat-stream/leat/agent/topics"
	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/metadata/state"
)

// OffsetForLeaderEpoch, versions 2 to 4. The leader epoch is 0 for the life of a topic, and ends at the watermark.

func init() { on(kmsg.OffsetForLeaderEpoch, offsetForLeaderEpoch) }

func offsetForLeaderEpoch(ctx context.Context, s *Server, _ wire.Request, req *kmsg.OffsetForLeaderEpochRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	refs := make([]topics.Ref, len(req.Topics))
	for i, t := range req.Topics {
		refs[i] = topics.Ref{Name: t.Topic}
		for _, p := range t.Partitions {
			refs[i].Partition = max(refs[i].Partition, p.Partition)
		}
	}
	found, errs := s.Catalog.Find(ctx, refs)
	var moments []fetch.Moment
	var slots []listing
	for i, t := range req.Topics {
		rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			rp.Partition, rp.LeaderEpoch, rp.EndOffset = p.Partition, -1, -1
			err := errs[i]
			switch {
			case err != nil:
			case p.Partition < 0 || p.Partition >= found[i].Partitions:
				err = kerr.UnknownTopicOrPartition
			case p.CurrentLeaderEpoch > leaderEpoch:
				err = kerr.UnknownLeaderEpoch
			case p.LeaderEpoch == leaderEpoch:
				tp := state.TopicPartition{Topic: found[i].ID, Partition: p.Partition}
				moments = append(moments, fetch.Moment{TP: tp, Timestamp: fetch.Latest})
				slots = append(slots, listing{topic: len(resp.Topics), partition: len(rt.Partitions)})
			}
			rp.ErrorCode = readCode(err)
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	if len(moments) == 0 {
		return resp
	}
	ends, endErrs := s.Fetcher.Positions(ctx, moments, false)
	for i, slot := range slots {
		rp := &resp.Topics[slot.topic].Partitions[slot.partition]
		if rp.ErrorCode = readCode(endErrs[i]); rp.ErrorCode == 0 {
			rp.LeaderEpoch, rp.EndOffset = leaderEpoch, ends[i].Offset
		}
	}
	return resp
}
