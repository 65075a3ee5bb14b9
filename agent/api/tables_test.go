package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/batch"
)

func TestFetchErrors(t *testing.T) {
	s := newServer(t)
	id := s.create("t", 1)
	s.produce("t", 0, records(t, batch.Options{}, "0", "1"))
	one := func(change func(*kmsg.FetchRequest)) kmsg.Request { return edited(fetchOne(12, "t", 0, 0), change) }
	partition := func(change func(*kmsg.FetchRequestTopicPartition)) kmsg.Request {
		return one(func(r *kmsg.FetchRequest) { change(&r.Topics[0].Partitions[0]) })
	}
	byID := func(id [16]byte) kmsg.Request {
		return edited(fetchOne(17, "", 0, 0), func(r *kmsg.FetchRequest) { r.Topics[0].TopicID = id })
	}
	both := edited(fetchOne(17, "", 0, 0), func(r *kmsg.FetchRequest) {
		r.Topics[0].TopicID = [16]byte{7}
		r.Topics = append(r.Topics, r.Topics[0])
		r.Topics[1].TopicID = id
	})
	s.table([]ask{
		{"good", fetchOne(12, "t", 0, 0), "ok ok"},
		{"at the end", fetchOne(12, "t", 0, 2), "ok ok"},
		{"beyond the end", fetchOne(12, "t", 0, 3), "ok OFFSET_OUT_OF_RANGE"},
		{"at 2^62", fetchOne(12, "t", 0, 1<<62), "ok OFFSET_OUT_OF_RANGE"},
		{"at -1", fetchOne(12, "t", 0, -1), "ok OFFSET_OUT_OF_RANGE"},
		{"unknown topic", fetchOne(12, "nowhere", 0, 0), "ok " + unknownTopic},
		{"bad name", fetchOne(12, "a/b", 0, 0), "ok " + unknownTopic},
		{"unknown partition", fetchOne(12, "t", 1, 0), "ok " + unknownTopic},
		{"negative partition", fetchOne(12, "t", -1, 0), "ok " + unknownTopic},
		{"by id", byID(id), "ok ok"},
		{"unknown id", byID([16]byte{7}), "ok " + unknownID},
		{"zero id", byID([16]byte{}), "ok " + unknownID},
		{"unknown id beside a good one", both, "ok " + unknownID + " ok"},
		{"future leader epoch", partition(func(p *kmsg.FetchRequestTopicPartition) { p.CurrentLeaderEpoch = 1 }), "ok UNKNOWN_LEADER_EPOCH"},
		{"leader epoch 0", partition(func(p *kmsg.FetchRequestTopicPartition) { p.CurrentLeaderEpoch = 0 }), "ok ok"},
		{"future fetched epoch", partition(func(p *kmsg.FetchRequestTopicPartition) { p.LastFetchedEpoch = 1 }), "ok OFFSET_OUT_OF_RANGE"},
		{"follower", one(func(r *kmsg.FetchRequest) { r.ReplicaID = 1 }), "ok NOT_LEADER_FOR_PARTITION"},
		{"isolation level 7", one(func(r *kmsg.FetchRequest) { r.IsolationLevel = 7 }), "ok " + invalid},
		{"negative limit", one(func(r *kmsg.FetchRequest) { r.MaxBytes = -1 }), "ok " + invalid},
		{"negative limit of a partition", partition(func(p *kmsg.FetchRequestTopicPartition) { p.PartitionMaxBytes = -1 }), "ok " + invalid},
		{"nothing", one(func(r *kmsg.FetchRequest) { r.Topics, r.MaxWaitMillis = nil, 60_000 }), "ok"},
		{"no such session", one(func(r *kmsg.FetchRequest) { r.SessionID, r.SessionEpoch = 5, 1 }), "FETCH_SESSION_ID_NOT_FOUND"},
		{"an error is answered at once", edited(fetchOne(12, "nowhere", 0, 0), func(r *kmsg.FetchRequest) { r.MaxWaitMillis, r.MinBytes = 60_000, 1 }), "ok " + unknownTopic},
	})
	refused := s.ask(fetchOne(12, "t", 0, 9)).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	if refused.HighWatermark != -1 || refused.LastStableOffset != -1 || refused.LogStartOffset != -1 || refused.RecordBatches == nil || len(refused.RecordBatches) > 0 {
		t.Errorf("%+v", refused)
	}
	good := s.ask(fetchOne(12, "t", 0, 1)).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	v, err := batch.Single(good.RecordBatches)
	if err != nil || v.BaseOffset() != 0 || v.Count() != 2 || good.HighWatermark != 2 || good.LastStableOffset != 2 || good.LogStartOffset != 0 ||
		good.AbortedTransactions != nil || good.PreferredReadReplica != -1 {
		t.Errorf("%+v, %v", good, err)
	}
	committed := s.ask(one(func(r *kmsg.FetchRequest) { r.IsolationLevel = 1 })).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	if committed.AbortedTransactions == nil || len(committed.RecordBatches) == 0 {
		t.Errorf("%+v", committed)
	}
}

func TestFetchSessions(t *testing.T) {
	s := newServer(t)
	id := s.create("t", 1)
	begin := edited(fetchOne(12, "t", 0, 0), func(r *kmsg.FetchRequest) { r.SessionEpoch = 0 })
	first := s.ask(begin).(*kmsg.FetchResponse)
	next := func(epoch int32, change func(*kmsg.FetchRequest)) *kmsg.FetchResponse {
		req := edited(fetchOne(12, "t", 0, 0), func(r *kmsg.FetchRequest) { r.SessionID, r.SessionEpoch, r.Topics = first.SessionID, epoch, nil })
		if change != nil {
			change(req)
		}
		return s.ask(req).(*kmsg.FetchResponse)
	}
	if first.SessionID == 0 || len(first.Topics) != 1 {
		t.Fatalf("%+v", first)
	}
	if got := next(1, nil); got.SessionID != first.SessionID || len(got.Topics) != 0 {
		t.Errorf("nothing changed: %+v", got)
	}
	ids := next(2, func(r *kmsg.FetchRequest) {
		r.Version = 17
		r.Topics = edited(fetchOne(17, "", 0, 0), func(r *kmsg.FetchRequest) { r.Topics[0].TopicID = id }).Topics
	})
	if errorsOf(ids) != "FETCH_SESSION_TOPIC_ID_ERROR" || ids.SessionID != 0 {
		t.Errorf("%+v", ids)
	}
	s.produce("t", 0, records(t, batch.Options{}, "x"))
	if got := next(2, nil); len(got.Topics) != 1 || len(got.Topics[0].Partitions[0].RecordBatches) == 0 {
		t.Errorf("data: %+v", got)
	}
	if got := errorsOf(next(2, nil)); got != "INVALID_FETCH_SESSION_EPOCH" {
		t.Error(got)
	}
	forget := func(r *kmsg.FetchRequest) {
		r.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: "t", Partitions: []int32{0}}}
	}
	if got := next(3, forget); got.SessionID != 0 || len(got.Topics) != 0 {
		t.Errorf("the only partition forgotten: %+v", got)
	}
	if got := errorsOf(next(4, nil)); got != "FETCH_SESSION_ID_NOT_FOUND" {
		t.Error(got)
	}
}

func TestOffsetErrors(t *testing.T) {
	s := newServer(t)
	s.create("t", 2)
	s.produce("t", 0, records(t, batch.Options{Codec: batch.Gzip}, "0", "1", "2"))
	twice := listOne(11, "t", 0, -1)
	twice.Topics[0].Partitions = append(twice.Topics[0].Partitions, twice.Topics[0].Partitions[0])
	s.table([]ask{
		{"unknown topic", listOne(11, "nowhere", 0, -1), unknownTopic},
		{"empty name", listOne(11, "", 0, -1), unknownTopic},
		{"unknown partition", listOne(11, "t", 2, -1), unknownTopic},
		{"twice, answered once", twice, invalid},
		{"max timestamp too early", listOne(6, "t", 0, -3), "UNSUPPORTED_VERSION"},
		{"earliest local too early", listOne(7, "t", 0, -4), "UNSUPPORTED_VERSION"},
		{"latest tiered too early", listOne(8, "t", 0, -5), "UNSUPPORTED_VERSION"},
		{"pending upload too early", listOne(10, "t", 0, -6), "UNSUPPORTED_VERSION"},
		{"-7", listOne(11, "t", 0, -7), "UNSUPPORTED_VERSION"},
		{"future leader epoch", edited(listOne(11, "t", 0, -1), func(r *kmsg.ListOffsetsRequest) { r.Topics[0].Partitions[0].CurrentLeaderEpoch = 1 }), "UNKNOWN_LEADER_EPOCH"},
		{"isolation level 5", edited(listOne(11, "t", 0, -1), func(r *kmsg.ListOffsetsRequest) { r.IsolationLevel = 5 }), invalid},
		{"epoch of an unknown partition", epochOne(4, "t", 5, 0), unknownTopic},
		{"epoch with a future leader epoch", edited(epochOne(4, "t", 0, 0), func(r *kmsg.OffsetForLeaderEpochRequest) {
			r.Topics[0].Partitions[0].CurrentLeaderEpoch = 3
		}), "UNKNOWN_LEADER_EPOCH"},
	})
	for asked, want := range map[[2]int64]string{ // partition, timestamp: timestamp, offset, epoch
		{0, -1}: "-1 3 0", {0, -2}: "-1 0 0", {0, -3}: "1002 2 0", {0, -4}: "-1 0 0", {0, -5}: "-1 -1 -1", {0, -6}: "-1 -1 -1", {0, 1001}: "1001 1 0",
		{0, 0}: "1000 0 0", {0, 1003}: "-1 -1 -1", {1, -1}: "-1 0 0", {1, -2}: "-1 0 0", {1, -3}: "-1 -1 -1", {1, 0}: "-1 -1 -1",
	} {
		got := s.ask(listOne(11, "t", int32(asked[0]), asked[1])).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
		if is := fmt.Sprint(got.Timestamp, got.Offset, got.LeaderEpoch); is != want || got.ErrorCode != 0 {
			t.Errorf("%v: %s, want %s", asked, is, want)
		}
	}
	for epoch, want := range map[int32]string{0: "0 3", -1: "-1 -1", 1: "-1 -1"} {
		got := s.ask(epochOne(4, "t", 0, epoch)).(*kmsg.OffsetForLeaderEpochResponse).Topics[0].Partitions[0]
		if is := fmt.Sprint(got.LeaderEpoch, got.EndOffset); is != want || got.ErrorCode != 0 {
			t.Errorf("epoch %d: %s, want %s", epoch, is, want)
		}
	}
}

func TestMetadata(t *testing.T) {
	s := newServer(t)
	id := s.create("t", 2)
	s.create("a_b", 1)
	never := func(r *kmsg.MetadataRequest) { r.AllowAutoTopicCreation = false }
	byID := func(version int16, id [16]byte, name *string) kmsg.Request {
		return edited(describe(version), func(r *kmsg.MetadataRequest) { r.Topics = []kmsg.MetadataRequestTopic{{TopicID: id, Topic: name}} })
	}
	s.table([]ask{
		{"one", describe(12, "t"), "ok"},
		{"all", edited(describe(12), func(r *kmsg.MetadataRequest) { r.Topics = nil }), "ok ok"},
		{"none", describe(12), ""},
		{"empty means all in version 0", describe(0), "ok ok"},
		{"twice", describe(12, "t", "t"), "ok"},
		{"unknown, not to be made", edited(describe(12, "new"), never), unknownTopic},
		{"still not there", edited(describe(12, "new"), never), unknownTopic},
		{"unknown, to be made", describe(12, "new"), unknownTopic},
		{"made", edited(describe(12, "new"), never), "ok"},
		{"several to be made", describe(12, "n1", "n2"), unknownTopic + " " + unknownTopic},
		{"all made", edited(describe(12, "n1", "n2"), never), "ok ok"},
		{"bad names", describe(12, "a/b", ".", "..", "", strings.Repeat("a", 250), "ä"), strings.TrimSpace(strings.Repeat(invalidName+" ", 6))},
		{"collides", describe(12, "a.b"), unknownTopic},
		{"is not made", describe(12, "a.b"), unknownTopic},
		{"before version 4 always made", edited(describe(3, "old"), never), unknownTopic},
		{"made for it", edited(describe(12, "old"), never), "ok"},
		{"by id", byID(12, id, nil), "ok"},
		{"by unknown id", byID(12, [16]byte{7}, nil), unknownID},
		{"neither", byID(12, [16]byte{}, nil), invalid},
		{"by id too early", byID(10, id, ptr("")), invalid},
	})
	got := s.ask(describe(12, "t")).(*kmsg.MetadataResponse)
	node := s.Session.NodeID()
	p := got.Topics[0].Partitions
	if len(got.Brokers) != 1 || got.Brokers[0].Host != "127.0.0.1" || got.Brokers[0].Port != 9092 || got.Brokers[0].NodeID != node || *got.Brokers[0].Rack != "z1" ||
		got.ControllerID != node || got.ClusterID == nil || len(p) != 2 || p[1].Leader != node || p[1].LeaderEpoch != 0 || len(p[1].ISR) != 1 {
		t.Errorf("%+v", got)
	}
	asked := s.ask(edited(describe(9, "t", "__consumer_offsets"), func(r *kmsg.MetadataRequest) {
		r.IncludeClusterAuthorizedOperations, r.IncludeTopicAuthorizedOperations = true, true
	})).(*kmsg.MetadataResponse)
	if asked.AuthorizedOperations != 8096 || asked.Topics[0].AuthorizedOperations != 3576 || !asked.Topics[1].IsInternal {
		t.Errorf("%+v", asked)
	}
}

func TestDescribeTopicPartitions(t *testing.T) {
	s := newServer(t)
	s.create("b", 3)
	s.create("a", 2)
	page := func(limit int32, cursor *kmsg.DescribeTopicPartitionsRequestCursor, names ...string) string {
		req := kmsg.NewPtrDescribeTopicPartitionsRequest()
		req.ResponsePartitionLimit, req.Cursor = limit, cursor
		for _, name := range names {
			req.Topics = append(req.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: name})
		}
		resp := s.ask(req).(*kmsg.DescribeTopicPartitionsResponse)
		out := ""
		for _, topic := range resp.Topics {
			out += *topic.Topic + ":" + errorName(topic.ErrorCode)
			for _, p := range topic.Partitions {
				out += fmt.Sprint(" ", p.Partition)
			}
			out += "; "
		}
		if resp.NextCursor != nil {
			out += fmt.Sprintf("next %s-%d", resp.NextCursor.Topic, resp.NextCursor.Partition)
		}
		return strings.TrimSpace(out)
	}
	at := func(topic string, partition int32) *kmsg.DescribeTopicPartitionsRequestCursor {
		return &kmsg.DescribeTopicPartitionsRequestCursor{Topic: topic, Partition: partition}
	}
	for _, tt := range []struct{ got, want string }{
		{page(100, nil), "a:ok 0 1; b:ok 0 1 2;"},
		{page(100, nil, "b", "nowhere", "a", "a/b"), "a:ok 0 1; a/b:" + invalidName + "; b:ok 0 1 2; nowhere:" + unknownTopic + ";"},
		{page(1, nil), "a:ok 0; next a-1"},
		{page(0, nil), "a:ok 0; next a-1"},
		{page(2, nil), "a:ok 0 1; next b-0"},
		{page(2, at("b", 0)), "b:ok 0 1; next b-2"},
		{page(2, at("b", 2)), "b:ok 2;"},
		{page(2, at("b", 9)), "b:ok;"},
		{page(2, at("b", -1), "b"), "b:" + invalid + ";"},
		{page(2, at("a", 0), "b"), "b:" + invalid + ";"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}

func TestTopicErrors(t *testing.T) {
	s := newServer(t)
	id := s.create("t", 2)
	s.create("doomed", 1)
	twice := createOne(7, "x", 1, 1)
	twice.Topics = append(twice.Topics, twice.Topics[0])
	many := createOne(7, "x", 6000, 1)
	many.Topics = append(many.Topics, kmsg.CreateTopicsRequestTopic{Topic: "y", NumPartitions: 6000, ReplicationFactor: 1})
	validate := edited(createOne(7, "x", 1, 1), func(r *kmsg.CreateTopicsRequest) { r.ValidateOnly = true })
	extendTwice := extendOne(3, "t", 3)
	extendTwice.Topics = append(extendTwice.Topics, extendTwice.Topics[0])
	deleteTwice := deleteOne(6, ptr("t"), [16]byte{})
	deleteTwice.Topics = append(deleteTwice.Topics, deleteTwice.Topics[0])
	s.table([]ask{
		{"exists", createOne(7, "t", 1, 1), "TOPIC_ALREADY_EXISTS"},
		{"bad name", createOne(7, "a/b", 1, 1), invalidName},
		{"no partitions", createOne(7, "x", 0, 1), "INVALID_PARTITIONS"},
		{"no replicas", createOne(7, "x", 1, 0), "INVALID_REPLICATION_FACTOR"},
		{"too many partitions", createOne(7, "x", 10_001, 1), "POLICY_VIOLATION"},
		{"too many in the request", edited(many, func(r *kmsg.CreateTopicsRequest) { r.ValidateOnly = true }), "ok POLICY_VIOLATION"},
		{"twice", twice, invalid},
		{"no topics", edited(createOne(7, "x", 1, 1), func(r *kmsg.CreateTopicsRequest) { r.Topics = nil }), ""},
		{"validate only", validate, "ok"},
		{"nothing was made", edited(describe(12, "x"), func(r *kmsg.MetadataRequest) { r.AllowAutoTopicCreation = false }), unknownTopic},
		{"fewer", extendOne(3, "t", 1), "INVALID_PARTITIONS"},
		{"the same", extendOne(3, "t", 2), "INVALID_PARTITIONS"},
		{"of nothing", extendOne(3, "nowhere", 2), unknownTopic},
		{"extended twice", extendTwice, invalid},
		{"deleted twice", deleteTwice, invalid},
		{"unknown", deleteOne(6, ptr("nowhere"), [16]byte{}), unknownTopic},
		{"unknown id", deleteOne(6, nil, [16]byte{7}), unknownID},
		{"neither", deleteOne(6, nil, [16]byte{}), invalid},
		{"both", deleteOne(6, ptr("t"), id), invalid},
		{"by id", deleteOne(6, nil, id), "ok"},
		{"gone", deleteOne(6, ptr("t"), [16]byte{}), unknownTopic},
	})
	made := s.ask(createOne(7, "made", -1, -1)).(*kmsg.CreateTopicsResponse).Topics[0]
	if made.NumPartitions != 1 || made.ReplicationFactor != 1 || len(made.Configs) != 33 || made.TopicID == [16]byte{} || made.ErrorMessage != nil {
		t.Errorf("%+v", made)
	}
	refused := s.ask(createOne(7, "made", 4, 1)).(*kmsg.CreateTopicsResponse).Topics[0]
	if refused.NumPartitions != -1 || refused.ReplicationFactor != -1 || len(refused.Configs) != 0 || *refused.ErrorMessage != "Topic 'made' already exists." {
		t.Errorf("%+v", refused)
	}
	if got := s.ask(extendOne(3, "nowhere", 2)).(*kmsg.CreatePartitionsResponse).Topics[0]; got.ErrorMessage != nil {
		t.Errorf("%+v", got)
	}
}

func TestConfigErrors(t *testing.T) {
	s := newServer(t)
	s.create("t", 1)
	node := fmt.Sprint(s.Session.NodeID())
	const topic, broker = kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker
	set := func(name, config string, value *string) kmsg.Request {
		return alterOne(1, topic, name, config, kmsg.IncrementalAlterConfigOpSet, value)
	}
	twice := alterOne(1, topic, "t", "retention.ms", kmsg.IncrementalAlterConfigOpSet, ptr("5"))
	twice.Resources = append(twice.Resources, twice.Resources[0])
	s.table([]ask{
		{"topic", describeConfig(4, topic, "t"), "ok"},
		{"unknown topic", describeConfig(4, topic, "nowhere"), unknownTopic},
		{"bad name", describeConfig(4, topic, "a/b"), invalidName},
		{"this broker", describeConfig(4, broker, node), "ok"},
		{"default broker", describeConfig(4, broker, ""), "ok"},
		{"another broker", describeConfig(4, broker, "99"), invalid},
		{"no broker", describeConfig(4, broker, "x"), invalid},
		{"unknown type", describeConfig(4, 77, "t"), invalid},
		{"set", set("t", "retention.ms", ptr("5")), "ok"},
		{"unknown name", set("t", "no.such", ptr("5")), "INVALID_CONFIG"},
		{"bad value", set("t", "retention.ms", ptr("soon")), "INVALID_CONFIG"},
		{"null", set("t", "retention.ms", nil), invalid},
		{"append to what is no list", alterOne(1, topic, "t", "retention.ms", kmsg.IncrementalAlterConfigOpAppend, ptr("5")), "INVALID_CONFIG"},
		{"unknown operation", alterOne(1, topic, "t", "retention.ms", 9, ptr("5")), invalid},
		{"of an unknown topic", set("nowhere", "retention.ms", ptr("5")), unknownTopic},
		{"of a bad name", set("a/b", "retention.ms", ptr("5")), invalidName},
		{"of no name", set("", "retention.ms", ptr("5")), invalid},
		{"of this broker", alterOne(1, broker, node, "node.id", kmsg.IncrementalAlterConfigOpSet, ptr("5")), invalid},
		{"of another type", alterOne(1, 77, "t", "retention.ms", kmsg.IncrementalAlterConfigOpSet, ptr("5")), invalid},
		{"twice", twice, invalid + " " + invalid},
	})
	req := describeConfig(4, topic, "t")
	req.IncludeSynonyms = true
	req.Resources[0].ConfigNames = []string{"retention.ms", "no.such"}
	got := s.ask(req).(*kmsg.DescribeConfigsResponse).Resources[0]
	if len(got.Configs) != 1 || *got.Configs[0].Value != "5" || got.Configs[0].Source != kmsg.ConfigSourceDynamicTopicConfig ||
		len(got.Configs[0].ConfigSynonyms) != 1 || got.Configs[0].Documentation != nil || *got.ErrorMessage != "" {
		t.Errorf("%+v", got)
	}
	if all := s.ask(describeConfig(4, topic, "t")).(*kmsg.DescribeConfigsResponse).Resources[0]; len(all.Configs) != 33 || len(all.Configs[0].ConfigSynonyms) > 0 {
		t.Errorf("%d configs", len(all.Configs))
	}
}
