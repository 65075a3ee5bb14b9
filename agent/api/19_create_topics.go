package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/topicconfig"
	"github.com/leat-stream/leat/agent/topics"
	"github.com/leat-stream/leat/agent/wire"
)

// CreateTopics, versions 2 to 7. Any replication factor of at least 1 is accepted and reported.

func init() { on(kmsg.CreateTopics, createTopics) }

func createTopics(ctx context.Context, s *Server, _ wire.Request, req *kmsg.CreateTopicsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
	mentions := make(map[string]int)
	for _, t := range req.Topics {
		mentions[t.Topic]++
	}
	room := int64(topics.MaxPartitions)
	var specs []topics.Spec
	var slots []int // of the specs in the answer
	for _, t := range req.Topics {
		n := mentions[t.Topic]
		if n == 0 {
			continue // answered already
		}
		delete(mentions, t.Topic)
		var err error
		if room -= int64(max(t.NumPartitions, 1)); room < 0 {
			err = &topics.Error{Kind: topics.KindPolicy, Message: "Excessively large number of partitions per request."}
		}
		if n > 1 {
			err = errDuplicateTopic
		}
		if err == nil {
			specs = append(specs, specOf(t))
			slots = append(slots, len(resp.Topics))
		}
		resp.Topics = append(resp.Topics, createdTopic(t.Topic, topics.Created{Err: err}))
	}
	if len(specs) == 0 {
		return resp
	}
	for i, created := range s.Catalog.Create(ctx, specs, req.ValidateOnly) {
		resp.Topics[slots[i]] = createdTopic(specs[i].Name, created)
	}
	return resp
}

func createdTopic(name string, created topics.Created) kmsg.CreateTopicsResponseTopic {
	rt := kmsg.NewCreateTopicsResponseTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = name, -1, -1
	rt.Configs = []kmsg.CreateTopicsResponseTopicConfig{}
	rt.ErrorCode, rt.ErrorMessage = adminCode(created.Err), message(created.Err)
	if created.Err == nil && created.Config != nil {
		rt.TopicID, rt.NumPartitions, rt.ReplicationFactor = created.ID, created.Partitions, created.ReplicationFactor
		rt.Configs = createdConfigs(created.Found)
	}
	return rt
}

func specOf(t kmsg.CreateTopicsRequestTopic) topics.Spec {
	spec := topics.Spec{Name: t.Topic, Partitions: t.NumPartitions, ReplicationFactor: t.ReplicationFactor}
	for _, a := range t.ReplicaAssignment {
		spec.Assignments = append(spec.Assignments, topics.Assignment{Partition: a.Partition, Brokers: a.Replicas})
	}
	for _, c := range t.Configs {
		spec.Configs = append(spec.Configs, topics.Setting{Name: c.Name, Value: c.Value})
	}
	return spec
}

// createdConfigs lists every config of a new topic, as version 5 and later answer.
func createdConfigs(t topics.Found) []kmsg.CreateTopicsResponseTopicConfig {
	overrides := topics.Overrides(t.Configs)
	list := []kmsg.CreateTopicsResponseTopicConfig{}
	for _, d := range topicconfig.All() {
		value, override, _ := topicconfig.Effective(overrides, d.Name)
		c := kmsg.NewCreateTopicsResponseTopicConfig()
		c.Name, c.Value, c.Source = d.Name, &value, int8(kmsg.ConfigSourceDefaultConfig)
		if override {
			c.Source = int8(kmsg.ConfigSourceDynamicTopicConfig)
		}
		list = append(list, c)
	}
	return list
}
