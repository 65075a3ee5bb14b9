package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func metadata(version int16, create bool, names ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Version, req.AllowAutoTopicCreation = version, create
	for i := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &names[i]
		req.Topics = append(req.Topics, t)
	}
	return req
}

func probeMetadata(p *probe) error {
	if err := p.topic("meta", 2); err != nil {
		return err
	}
	for v := int16(0); v <= 13; v++ {
		p.ask("one topic", metadata(v, false, "meta"))
	}
	for _, v := range []int16{0, 1, 9, 12, 13} {
		p.ask("null topics", metadata(v, false))
		none := metadata(v, false)
		none.Topics = []kmsg.MetadataRequestTopic{}
		p.ask("empty list of topics", none)
	}
	for _, v := range []int16{1, 4, 12} {
		p.ask("unknown topic, no creation", metadata(v, false, fmt.Sprintf("not%d", v)))
	}
	for _, v := range []int16{0, 1, 3, 4, 12} {
		name := fmt.Sprintf("auto%d", v)
		p.ask("unknown topic, creation allowed", metadata(v, true, name))
		time.Sleep(500 * time.Millisecond)
		p.ask("the same after half a second", metadata(v, true, name))
	}
	long := strings.Repeat("a", 249)
	for _, name := range []string{
		"a/b", ".", "..", "", long, long + "a", "a b", "ä", "a_b", "a.b", "__consumer_offsets", "__mine",
	} {
		p.ask(fmt.Sprintf("creation allowed, name %.30q (%d)", name, len(name)), metadata(12, true, name))
	}
	p.ask("bad name, no creation", metadata(12, false, "a/b"))
	p.ask("the same topic twice", metadata(12, false, "meta", "meta"))

	metadataByID(p)
	describePartitions(p)
	describeCluster(p)
	return nil
}

func metadataByID(p *probe) {
	byID := func(label string, version int16, id [16]byte, name *string) {
		req := metadata(version, true)
		t := kmsg.NewMetadataRequestTopic()
		t.TopicID, t.Topic = id, name
		req.Topics = append(req.Topics, t)
		p.ask(label, req)
	}
	byID("by id", 12, p.topics["meta"], nil)
	byID("by unknown id", 12, [16]byte{7}, nil)
	byID("id of zeros and null name", 12, [16]byte{}, nil)
	byID("by id and name", 12, p.topics["meta"], ptr("meta"))
	byID("by id", 10, p.topics["meta"], nil)
	byID("null name", 11, [16]byte{}, nil)
	ops := metadata(10, false, "meta")
	ops.IncludeClusterAuthorizedOperations, ops.IncludeTopicAuthorizedOperations = true, true
	p.ask("authorized operations", ops)

}

func describePartitions(p *probe) {
	describe := func(label string, limit int32, cursor *kmsg.DescribeTopicPartitionsRequestCursor, names ...string) {
		req := kmsg.NewPtrDescribeTopicPartitionsRequest()
		req.ResponsePartitionLimit, req.Cursor = limit, cursor
		for _, n := range names {
			t := kmsg.NewDescribeTopicPartitionsRequestTopic()
			t.Topic = n
			req.Topics = append(req.Topics, t)
		}
		p.ask(label, req)
	}
	cursor := func(topic string, partition int32) *kmsg.DescribeTopicPartitionsRequestCursor {
		c := kmsg.NewDescribeTopicPartitionsRequestCursor()
		c.Topic, c.Partition = topic, partition
		return &c
	}
	describe("one topic", 2000, nil, "meta")
	describe("two topics, one unknown, limit 1", 1, nil, "nowhere", "meta")
	describe("unknown name", 10, nil, "nowhere")
	describe("bad name", 10, nil, "a/b")
	describe("empty name", 10, nil, "")
	describe("cursor at partition 1", 10, cursor("meta", 1), "meta")
	describe("cursor beyond", 10, cursor("meta", 9), "meta")
	describe("cursor negative", 10, cursor("meta", -1), "meta")
	describe("cursor at a topic not asked for", 10, cursor("m", 0), "meta")
	describe("limit 0", 0, nil, "meta")
}

func describeCluster(p *probe) {
	for v := int16(0); v <= 2; v++ {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.Version = v
		p.ask("cluster", req)
		req.EndpointType = 2
		p.ask("cluster, endpoint type 2 (controllers)", req)
		req.EndpointType, req.IncludeClusterAuthorizedOperations, req.IncludeFencedBrokers = 1, true, true
		p.ask("cluster, authorized operations, fenced brokers", req)
	}
	bad := kmsg.NewPtrDescribeClusterRequest()
	bad.Version, bad.EndpointType = 2, 9
	p.ask("endpoint type 9", bad)
}

// edit changes a CreateTopics request and its topic.
type edit func(*kmsg.CreateTopicsRequest, *kmsg.CreateTopicsRequestTopic)

// creation builds a CreateTopics request with one topic.
func creation(version int16, name string, partitions int32, replication int16, change edit) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = version, 10_000
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, replication
	if change != nil {
		change(req, &t)
	}
	req.Topics = append(req.Topics, t)
	return req
}

func assign(partition int32, replicas ...int32) kmsg.CreateTopicsRequestTopicReplicaAssignment {
	a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
	a.Partition, a.Replicas = partition, replicas
	return a
}

func withConfig(kv ...string) edit {
	return func(_ *kmsg.CreateTopicsRequest, t *kmsg.CreateTopicsRequestTopic) {
		for i := 0; i < len(kv); i += 2 {
			c := kmsg.NewCreateTopicsRequestTopicConfig()
			c.Name, c.Value = kv[i], &kv[i+1]
			t.Configs = append(t.Configs, c)
		}
	}
}

func probeTopics(p *probe) error {
	for v := int16(2); v <= 7; v++ {
		p.ask("good", creation(v, fmt.Sprintf("create%d", v), 2, 1, withConfig("retention.ms", "1000")))
	}
	p.ask("defaults -1/-1", creation(7, "defaults", -1, -1, nil))
	p.ask("defaults -1/-1", creation(3, "defaults3", -1, -1, nil))
	p.ask("exists", creation(7, "create7", 2, 1, nil))
	p.ask("exists", creation(2, "create7", 2, 1, nil))
	for _, c := range []struct {
		partitions  int32
		replication int16
	}{{0, 1}, {-2, 1}, {1, 0}, {1, -2}, {1, 3}, {1_000_000, 1}, {10_001, 1}} {
		label := fmt.Sprintf("partitions %d, replication factor %d", c.partitions, c.replication)
		p.ask(label, creation(7, "bad", c.partitions, c.replication, nil))
	}
	for _, name := range []string{"a/b", ".", "..", "", strings.Repeat("a", 250), "a b", "ä"} {
		p.ask(fmt.Sprintf("name %.30q (%d)", name, len(name)), creation(7, name, 1, 1, nil))
	}
	p.ask("a_b", creation(7, "coll_ide", 1, 1, nil))
	p.ask("a.b collides with a_b", creation(7, "coll.ide", 1, 1, nil))
	p.ask("reserved name", creation(7, "__cluster_metadata", 1, 1, nil))
	assignments(p)
	creationEdges(p)
	growth(p)
	return deletions(p)
}

func assignments(p *probe) {
	assigned := func(as ...kmsg.CreateTopicsRequestTopicReplicaAssignment) edit {
		return func(_ *kmsg.CreateTopicsRequest, t *kmsg.CreateTopicsRequestTopic) { t.ReplicaAssignment = as }
	}
	p.ask("assignment", creation(7, "assigned", -1, -1, assigned(assign(0, 1), assign(1, 1))))
	p.ask("assignment and counts", creation(7, "bad", 2, 1, assigned(assign(0, 1), assign(1, 1))))
	p.ask("assignment and partitions", creation(7, "bad", 2, -1, assigned(assign(0, 1), assign(1, 1))))
	p.ask("assignment to unknown broker", creation(7, "bad", -1, -1, assigned(assign(0, 9))))
	p.ask("assignment to one broker twice", creation(7, "bad", -1, -1, assigned(assign(0, 1, 1))))
	p.ask("assignment with a hole", creation(7, "bad", -1, -1, assigned(assign(0, 1), assign(2, 1))))
	p.ask("assignment of one partition twice", creation(7, "bad", -1, -1, assigned(assign(0, 1), assign(0, 1))))
	p.ask("assignment without replicas", creation(7, "bad", -1, -1, assigned(assign(0))))
}

func creationEdges(p *probe) {
	p.ask("unknown config", creation(7, "bad", 1, 1, withConfig("no.such", "1")))
	p.ask("bad config value", creation(7, "bad", 1, 1, withConfig("retention.ms", "soon")))
	p.ask("bad config value", creation(4, "bad", 1, 1, withConfig("retention.ms", "soon")))
	p.ask("config twice", creation(7, "twice", 1, 1, withConfig("retention.ms", "1", "retention.ms", "2")))
	p.ask("null config value", creation(7, "bad", 1, 1, func(_ *kmsg.CreateTopicsRequest, t *kmsg.CreateTopicsRequestTopic) {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name = "retention.ms"
		t.Configs = append(t.Configs, c)
	}))
	dry := func(r *kmsg.CreateTopicsRequest, _ *kmsg.CreateTopicsRequestTopic) { r.ValidateOnly = true }
	p.ask("validate only", creation(7, "dry", 3, 1, dry))
	p.ask("validate only, exists", creation(7, "create7", 3, 1, dry))
	double := creation(7, "double", 1, 1, nil)
	double.Topics = append(double.Topics, double.Topics[0])
	p.ask("the same topic twice", double)
	mixed := creation(7, "fine", 1, 1, nil)
	mixed.Topics = append(mixed.Topics, creation(7, "a/b", 1, 1, nil).Topics...)
	p.ask("one good, one bad", mixed)
	noTopics := kmsg.NewPtrCreateTopicsRequest()
	noTopics.Version = 7
	p.ask("no topics", noTopics)
}

func growth(p *probe) {
	grow := func(label string, version int16, topic string, count int32, dry bool, assignment ...[]int32) {
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.Version, req.TimeoutMillis, req.ValidateOnly = version, 10_000, dry
		t := kmsg.NewCreatePartitionsRequestTopic()
		t.Topic, t.Count = topic, count
		for _, replicas := range assignment {
			a := kmsg.NewCreatePartitionsRequestTopicAssignment()
			a.Replicas = replicas
			t.Assignment = append(t.Assignment, a)
		}
		req.Topics = append(req.Topics, t)
		p.ask(fmt.Sprintf("%s: %s to %d", label, topic, count), req)
	}
	grow("fewer", 3, "create7", 1, false)
	grow("same", 3, "create7", 2, false)
	grow("more", 3, "create7", 3, false)
	grow("more", 0, "create6", 3, false)
	grow("zero", 3, "create7", 0, false)
	grow("negative", 3, "create7", -1, false)
	grow("unknown topic", 3, "nowhere", 3, false)
	grow("bad name", 3, "a/b", 3, false)
	grow("dry", 3, "create7", 9, true)
	grow("assignment of one for two", 3, "create7", 5, false, []int32{1})
	grow("assignment to unknown broker", 3, "create7", 4, false, []int32{7})
	grow("assignment", 3, "create7", 4, false, []int32{1})
	twice := kmsg.NewPtrCreatePartitionsRequest()
	twice.Version = 3
	t := kmsg.NewCreatePartitionsRequestTopic()
	t.Topic, t.Count = "create5", 5
	twice.Topics = append(twice.Topics, t, t)
	p.ask("the same topic twice", twice)
}

func deletions(p *probe) error {
	if err := p.topic("gone", 1); err != nil {
		return err
	}
	names := func(version int16, names ...string) *kmsg.DeleteTopicsRequest {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.Version, req.TimeoutMillis = version, 10_000
		for i := range names {
			req.TopicNames = append(req.TopicNames, names[i])
			t := kmsg.NewDeleteTopicsRequestTopic()
			t.Topic = &names[i]
			req.Topics = append(req.Topics, t)
		}
		return req
	}
	id := func(id [16]byte, name *string) *kmsg.DeleteTopicsRequest {
		req := names(6)
		t := kmsg.NewDeleteTopicsRequestTopic()
		t.TopicID, t.Topic = id, name
		req.Topics = append(req.Topics, t)
		return req
	}
	for _, v := range []int16{1, 3, 4, 5, 6} {
		p.ask("unknown", names(v, "nowhere"))
	}
	p.ask("bad name", names(6, "a/b"))
	p.ask("by unknown id", id([16]byte{9}, nil))
	p.ask("id of zeros, null name", id([16]byte{}, nil))
	p.ask("id and name", id(p.topics["gone"], ptr("gone")))
	p.ask("twice", names(6, "gone", "gone"))
	p.ask("by id", id(p.topics["gone"], nil))
	p.ask("by id again", id(p.topics["gone"], nil))
	p.ask("by name", names(6, "create2"))
	p.ask("by name", names(1, "create3"))
	p.ask("internal", names(6, "__consumer_offsets"))
	return nil
}
