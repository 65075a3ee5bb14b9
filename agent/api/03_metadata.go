package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/topics"
	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/metadata/state"
)

// Metadata, versions 0 to 13. A topic that is not there is made if the client and the configuration allow it; as in Kafka
// the answer still says UNKNOWN_TOPIC_OR_PARTITION, and the client's next try finds it. Leaders are advice: agents of the client's
// zone, so that it stays within; each partition has one replica in every zone.

func init() { on(kmsg.Metadata, describeTopics) }

func describeTopics(ctx context.Context, s *Server, r wire.Request, req *kmsg.MetadataRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.MetadataResponse)
	id, cluster := s.clusterID(), s.cluster(r)
	for _, m := range cluster.members {
		resp.Brokers = append(resp.Brokers, kmsg.MetadataResponseBroker{NodeID: m.node, Host: m.host, Port: m.port, Rack: m.rack})
	}
	resp.ClusterID, resp.ControllerID, resp.AuthorizedOperations = &id, cluster.controller, noOperations
	if req.IncludeClusterAuthorizedOperations {
		resp.AuthorizedOperations = clusterOperations
	}
	operations := noOperations
	if req.IncludeTopicAuthorizedOperations {
		operations = topicOperations
	}
	if req.Topics == nil || r.Version == 0 && len(req.Topics) == 0 {
		all, err := s.Catalog.All(ctx)
		if err != nil {
			if resp.ErrorCode = code(err); r.Version < 13 {
				return nil // nowhere to put the error, and a list without topics would be a lie: the client asks again
			}
		}
		for _, t := range all {
			resp.Topics = append(resp.Topics, describedTopic(t, &cluster, operations))
		}
		return resp
	}
	create := r.Version < 4 || req.AllowAutoTopicCreation
	for _, t := range namedTopics(ctx, s, r.Version, req, create) {
		if t.err != nil {
			resp.Topics = append(resp.Topics, failedTopic(t, operations))
			continue
		}
		resp.Topics = append(resp.Topics, describedTopic(t.found.Topic, &cluster, operations))
	}
	return resp
}

// named is one topic that a request asks for.
type named struct {
	ref   topics.Ref
	name  *string
	found topics.Found
	err   error
}

// namedTopics looks up what a request asks for, each topic once, and makes what may be made.
func namedTopics(ctx context.Context, s *Server, version int16, req *kmsg.MetadataRequest, create bool) []named {
	var list []named
	var refs []topics.Ref
	seen := make(map[topics.Ref]bool)
	for _, t := range req.Topics {
		n := named{ref: topics.Ref{ID: t.TopicID}, name: t.Topic}
		if n.ref.ID.IsZero() && t.Topic != nil {
			n.ref.Name = *t.Topic
		}
		if seen[n.ref] {
			continue
		}
		seen[n.ref] = true
		switch {
		case version < 12 && (!n.ref.ID.IsZero() || t.Topic == nil), n.ref.ID.IsZero() && t.Topic == nil:
			n.err = kerr.InvalidRequest
		case n.ref.ID.IsZero():
			n.err = topics.CheckName(n.ref.Name)
		}
		list = append(list, n)
		refs = append(refs, n.ref)
	}
	found, errs := s.Catalog.Find(ctx, refs)
	var missing []string
	for i := range list {
		n := &list[i]
		if n.err != nil {
			continue
		}
		n.found, n.err = found[i], errs[i]
		if n.err != nil && n.ref.ID.IsZero() && create && code(n.err) == kerr.UnknownTopicOrPartition.Code {
			missing = append(missing, n.ref.Name)
		}
	}
	if len(missing) > 0 {
		for i, err := range s.Catalog.AutoCreate(ctx, missing) {
			if err != nil {
				s.Log.Debug("topic was not made for a client that asked for it", "topic", missing[i], "error", err)
			}
		}
	}
	return list
}

func describedTopic(t state.Topic, c *cluster, operations int32) kmsg.MetadataResponseTopic {
	rt := kmsg.NewMetadataResponseTopic()
	rt.Topic, rt.TopicID, rt.IsInternal, rt.AuthorizedOperations = &t.Name, t.ID, topics.Internal(t.Name), operations
	rt.Partitions = make([]kmsg.MetadataResponseTopicPartition, t.Partitions)
	for i := range rt.Partitions {
		replicas := c.replicas(t.ID, int32(i))
		rt.Partitions[i] = kmsg.MetadataResponseTopicPartition{
			Partition: int32(i), Leader: replicas[0], LeaderEpoch: leaderEpoch, Replicas: replicas, ISR: replicas, OfflineReplicas: []int32{},
		}
	}
	return rt
}

func failedTopic(n named, operations int32) kmsg.MetadataResponseTopic {
	rt := kmsg.NewMetadataResponseTopic()
	rt.ErrorCode, rt.Topic, rt.TopicID, rt.AuthorizedOperations = code(n.err), n.name, n.ref.ID, operations
	if !n.ref.ID.IsZero() {
		rt.Topic = nil
	}
	if rt.Topic != nil {
		rt.IsInternal = topics.Internal(*rt.Topic)
	}
	return rt
}
