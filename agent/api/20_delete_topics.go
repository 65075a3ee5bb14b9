package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/topics"
	"github.com/leat-stream/leat/agent/wire"
)

// DeleteTopics, versions 1 to 6: by name, and by id from 6 on.

func init() { on(kmsg.DeleteTopics, deleteTopics) }

func deleteTopics(ctx context.Context, s *Server, r wire.Request, req *kmsg.DeleteTopicsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
	wanted := req.Topics
	if r.Version < 6 {
		for _, name := range req.TopicNames {
			wanted = append(wanted, kmsg.DeleteTopicsRequestTopic{Topic: &name})
		}
	}
	mentions := make(map[topics.Ref]int)
	for _, t := range wanted {
		mentions[refOf(t)]++
	}
	var refs []topics.Ref
	var slots []int // of the refs in the answer
	for _, t := range wanted {
		ref := refOf(t)
		rt := kmsg.NewDeleteTopicsResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		var err error
		switch n := mentions[ref]; {
		case n == 0:
			continue // answered already
		case t.Topic == nil && ref.ID.IsZero():
			err = &topics.Error{Kind: topics.KindInvalidRequest, Message: "Neither topic name nor id were specified."}
		case t.Topic != nil && !ref.ID.IsZero():
			err = &topics.Error{Kind: topics.KindInvalidRequest, Message: "You may not specify both topic name and topic id."}
		case n > 1:
			err = errDuplicateTopic
		default:
			refs = append(refs, ref)
			slots = append(slots, len(resp.Topics))
		}
		delete(mentions, ref)
		rt.ErrorCode, rt.ErrorMessage = code(err), message(err)
		resp.Topics = append(resp.Topics, rt)
	}
	if len(refs) == 0 {
		return resp
	}
	for i, deleted := range s.Catalog.Delete(ctx, refs) {
		rt := &resp.Topics[slots[i]]
		if rt.ErrorCode, rt.ErrorMessage = adminCode(deleted.Err), message(deleted.Err); deleted.Err == nil {
			rt.Topic, rt.TopicID = &deleted.Name, deleted.ID
		}
	}
	return resp
}

// errDuplicateTopic refuses a topic that a request names more than once.
var errDuplicateTopic error = &topics.Error{Kind: topics.KindInvalidRequest, Message: "Duplicate topic name."}

func refOf(t kmsg.DeleteTopicsRequestTopic) topics.Ref {
	ref := topics.Ref{ID: t.TopicID}
	if t.Topic != nil {
		ref.Name = *t.Topic
	}
	return ref
}
