package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/fetch"
	"github.com/leat-stream/leat/agent/topics"
	"github.com/leat-stream/leat/agent/wire"
)

// ListOffsets, versions 1 to 11. The special timestamps answer as a Kafka without tiered storage does.

func init() { on(kmsg.ListOffsets, listOffsets) }

// legalFrom is the first version in which a special timestamp may be asked for.
var legalFrom = map[int64]int16{
	fetch.Latest: 1, fetch.Earliest: 1, fetch.MaxTimestamp: 7, fetch.EarliestLocal: 8, fetch.LatestTiered: 9,
	fetch.EarliestPendingUpload: 11,
}

func listOffsets(ctx context.Context, s *Server, r wire.Request, req *kmsg.ListOffsetsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
	type place struct {
		topic     string
		partition int32
	}
	mentions := make(map[place]int)
	refs := make([]topics.Ref, len(req.Topics))
	for i, t := range req.Topics {
		refs[i] = topics.Ref{Name: t.Topic}
		for _, p := range t.Partitions {
			mentions[place{t.Topic, p.Partition}]++
			refs[i].Partition = max(refs[i].Partition, p.Partition)
		}
	}
	found, errs := s.Catalog.Find(ctx, refs)
	var offsets positions
	for i, t := range req.Topics {
		rt := kmsg.NewListOffsetsResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			n := mentions[place{t.Topic, p.Partition}]
			if n == 0 {
				continue // answered already
			}
			mentions[place{t.Topic, p.Partition}] = 0
			err := errs[i]
			switch {
			case n > 1:
				err = kerr.InvalidRequest
			case err == nil:
				err = checkMoment(r.Version, req.IsolationLevel, found[i], p)
			}
			rp := kmsg.NewListOffsetsResponseTopicPartition()
			rp.Partition, rp.ErrorCode, rp.Timestamp, rp.Offset, rp.LeaderEpoch = p.Partition, readCode(err), -1, -1, -1
			if err == nil {
				offsets.want(slot{len(resp.Topics), len(rt.Partitions)}, found[i].ID, p.Partition, p.Timestamp)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	offsets.read(ctx, s, req.IsolationLevel == 1, func(at slot, found fetch.Position, err error) {
		rp := &resp.Topics[at.topic].Partitions[at.partition]
		rp.ErrorCode, rp.Timestamp, rp.Offset = readCode(err), found.Timestamp, found.Offset
		if rp.Offset >= 0 {
			rp.LeaderEpoch = leaderEpoch
		}
	})
	return resp
}

// checkMoment finds what is wrong with one partition of a request, before anything is read.
func checkMoment(version int16, isolation int8, t topics.Found, p kmsg.ListOffsetsRequestTopicPartition) error {
	from, special := legalFrom[p.Timestamp]
	switch {
	case p.Partition < 0 || p.Partition >= t.Partitions:
		return kerr.UnknownTopicOrPartition
	case version >= 4 && p.CurrentLeaderEpoch > leaderEpoch:
		return kerr.UnknownLeaderEpoch
	case p.Timestamp < 0 && (!special || version < from):
		return kerr.UnsupportedVersion
	case isolation != 0 && isolation != 1:
		return kerr.InvalidRequest
	}
	return nil
}
