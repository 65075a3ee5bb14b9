package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/wire"
)

// CreatePartitions, versions 0 to 3. Assignments are checked for form: any agent serves any partition.

func init() { on(kmsg.CreatePartitions, createPartitions) }

func createPartitions(ctx context.Context, s *Server, _ wire.Request, req *kmsg.CreatePartitionsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
	mentions := make(map[string]int)
	for _, t := range req.Topics {
		mentions[t.Topic]++
	}
	for _, t := range req.Topics {
		n := mentions[t.Topic]
		if n == 0 {
			continue // answered already
		}
		delete(mentions, t.Topic)
		err := errDuplicateTopic
		if n == 1 {
			var assignments [][]int32
			for _, a := range t.Assignment {
				assignments = append(assignments, a.Replicas)
			}
			err = s.Catalog.Extend(ctx, t.Topic, t.Count, assignments, req.ValidateOnly)
		}
		rt := kmsg.NewCreatePartitionsResponseTopic()
		rt.Topic, rt.ErrorCode, rt.ErrorMessage = t.Topic, adminCode(err), message(err)
		if rt.ErrorCode == kerr.UnknownTopicOrPartition.Code { // for which Kafka has no text here
			rt.ErrorMessage = nil
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}
