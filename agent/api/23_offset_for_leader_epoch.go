package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/fetch"
	"github.com/leat-stream/leat/agent/topics"
	"github.com/leat-stream/leat/agent/wire"
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
	var ends positions
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
				ends.want(slot{len(resp.Topics), len(rt.Partitions)}, found[i].ID, p.Partition, fetch.Latest)
			}
			rp.ErrorCode = readCode(err)
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	ends.read(ctx, s, false, func(at slot, found fetch.Position, err error) {
		rp := &resp.Topics[at.topic].Partitions[at.partition]
		if rp.ErrorCode = readCode(err); rp.ErrorCode == 0 {
			rp.LeaderEpoch, rp.EndOffset = leaderEpoch, found.Offset
		}
	})
	return resp
}
