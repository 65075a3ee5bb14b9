package api

import (
	"cmp"
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/topics"
	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/metadata/state"
)

// DescribeTopicPartitions, version 0 (KIP-966): Metadata for topics with very many partitions, a page at a time.

func init() { on(kmsg.DescribeTopicPartitions, describeTopicPartitions) }

// describeLimit is the most partitions of one page (Kafka: max.request.partition.size.limit).
const describeLimit = 2000

func describeTopicPartitions(ctx context.Context, s *Server, r wire.Request, req *kmsg.DescribeTopicPartitionsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse)
	cluster := s.cluster(r)
	wanted, err := describedTopics(ctx, s, req)
	if err != nil {
		s.Log.Warn("topics could not be listed", "error", err)
	}
	room := min(max(req.ResponsePartitionLimit, 1), describeLimit)
	for _, t := range wanted {
		rt := kmsg.NewDescribeTopicPartitionsResponseTopic()
		rt.ErrorCode, rt.Topic, rt.TopicID = code(t.err), t.name, t.found.ID
		rt.IsInternal, rt.AuthorizedOperations = topics.Internal(*t.name), topicOperations
		if rt.ErrorCode == kerr.InvalidRequest.Code {
			rt.AuthorizedOperations = noOperations
		}
		first := int32(0)
		if req.Cursor != nil && req.Cursor.Topic == *t.name {
			first = req.Cursor.Partition
		}
		if t.err == nil && room == 0 {
			resp.NextCursor = nextCursor(*t.name, first)
			break
		}
		for p := first; t.err == nil && p < t.found.Partitions; p++ {
			if room == 0 {
				resp.NextCursor = nextCursor(*t.name, p)
				break
			}
			replicas := cluster.replicas(t.found.ID, p)
			rt.Partitions = append(rt.Partitions, kmsg.DescribeTopicPartitionsResponseTopicPartition{
				Partition: p, LeaderID: replicas[0], LeaderEpoch: leaderEpoch, Replicas: replicas, ISR: replicas,
				EligibleLeaderReplicas: []int32{}, LastKnownELR: []int32{}, OfflineReplicas: []int32{},
			})
			room--
		}
		resp.Topics = append(resp.Topics, rt)
		if resp.NextCursor != nil {
			break
		}
	}
	return resp
}

func nextCursor(topic string, partition int32) *kmsg.DescribeTopicPartitionsResponseNextCursor {
	return &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: topic, Partition: partition}
}

// describedTopics answers the topics from the cursor on, ordered by name.
func describedTopics(ctx context.Context, s *Server, req *kmsg.DescribeTopicPartitionsRequest) ([]named, error) {
	var list []named
	if len(req.Topics) == 0 {
		all, err := s.Catalog.All(ctx)
		if err != nil {
			return nil, err
		}
		for _, t := range all {
			list = append(list, named{name: &t.Name, found: topics.Found{Topic: t}})
		}
	} else {
		var refs []topics.Ref
		for _, t := range req.Topics {
			refs = append(refs, topics.Ref{Name: t.Topic})
		}
		found, errs := s.Catalog.Find(ctx, refs)
		for i, ref := range refs {
			n := named{ref: ref, name: &refs[i].Name, found: found[i], err: errs[i]}
			if err := topics.CheckName(ref.Name); err != nil {
				n.err = err
			}
			list = append(list, n)
		}
	}
	slices.SortFunc(list, func(a, b named) int { return cmp.Compare(*a.name, *b.name) })
	list = slices.CompactFunc(list, func(a, b named) bool { return *a.name == *b.name })
	if c := req.Cursor; c != nil {
		if c.Partition < 0 || len(list) > 0 && len(req.Topics) > 0 && c.Topic < *list[0].name {
			return refused(list, kerr.InvalidRequest), nil
		}
		list = slices.DeleteFunc(list, func(n named) bool { return *n.name < c.Topic })
	}
	return list, nil
}

func refused(list []named, err error) []named {
	for i := range list {
		list[i].found, list[i].err = topics.Found{Topic: state.Topic{}}, err
	}
	return list
}
