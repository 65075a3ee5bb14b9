package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/api/versions"
	"github.com/leat-stream/leat/agent/batch"
)

// goodRequests answers, for each key, a request of a version that must succeed.
func goodRequests(t *testing.T, s *server) map[int16]func(version int16) kmsg.Request {
	id := s.create("good", 2)
	return map[int16]func(int16) kmsg.Request{
		0: func(v int16) kmsg.Request {
			return edited(produceOne(v, "good", 1, records(t, batch.Options{}, "v")), func(r *kmsg.ProduceRequest) { r.Topics[0].TopicID = id })
		},
		1: func(v int16) kmsg.Request {
			return edited(fetchOne(v, "good", 1, 0), func(r *kmsg.FetchRequest) { r.Topics[0].TopicID = id })
		},
		2: func(v int16) kmsg.Request { return listOne(v, "good", 1, -1) },
		3: func(v int16) kmsg.Request { return describe(v, "good") },
		8: func(v int16) kmsg.Request {
			return edited(commitOne(v, "good-group", "good", 0), func(r *kmsg.OffsetCommitRequest) { r.Topics[0].TopicID = id })
		},
		9: func(v int16) kmsg.Request {
			req := kmsg.NewPtrOffsetFetchRequest()
			req.Version, req.Group = v, "good-group"
			req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "good", Partitions: []int32{0}}}
			req.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "good-group", MemberEpoch: -1, Topics: []kmsg.OffsetFetchRequestGroupTopic{
				{Topic: "good", TopicID: id, Partitions: []int32{0}},
			}}}
			return req
		},
		10: func(v int16) kmsg.Request {
			return edited(kmsg.NewPtrFindCoordinatorRequest(), func(r *kmsg.FindCoordinatorRequest) {
				r.Version, r.CoordinatorKey, r.CoordinatorKeys = v, "g", []string{"g"}
			})
		},
		15: func(v int16) kmsg.Request {
			return edited(kmsg.NewPtrDescribeGroupsRequest(), func(r *kmsg.DescribeGroupsRequest) { r.Version, r.Groups = v, []string{"good-group"} })
		},
		16: func(v int16) kmsg.Request {
			return edited(kmsg.NewPtrListGroupsRequest(), func(r *kmsg.ListGroupsRequest) { r.Version = v })
		},
		18: func(v int16) kmsg.Request {
			return edited(kmsg.NewPtrApiVersionsRequest(), func(r *kmsg.ApiVersionsRequest) {
				r.Version, r.ClientSoftwareName, r.ClientSoftwareVersion = v, "test", "1.0"
			})
		},
		19: func(v int16) kmsg.Request { return createOne(v, fmt.Sprint("made", v), 1, 1) },
		20: func(v int16) kmsg.Request {
			name := fmt.Sprint("doomed", v)
			s.create(name, 1)
			return deleteOne(v, &name, [16]byte{})
		},
		22: func(v int16) kmsg.Request {
			return edited(kmsg.NewPtrInitProducerIDRequest(), func(r *kmsg.InitProducerIDRequest) { r.Version, r.ProducerID, r.ProducerEpoch = v, -1, -1 })
		},
		23: func(v int16) kmsg.Request { return epochOne(v, "good", 0, 0) },
		32: func(v int16) kmsg.Request { return describeConfig(v, kmsg.ConfigResourceTypeTopic, "good") },
		37: func(v int16) kmsg.Request { return extendOne(v, "good", 3+int32(v)) },
		42: func(v int16) kmsg.Request {
			s.ask(commitOne(7, fmt.Sprint("dead", v), "good", 0))
			return edited(kmsg.NewPtrDeleteGroupsRequest(), func(r *kmsg.DeleteGroupsRequest) { r.Version, r.Groups = v, []string{fmt.Sprint("dead", v)} })
		},
		44: func(v int16) kmsg.Request {
			return alterOne(v, kmsg.ConfigResourceTypeTopic, "good", "retention.ms", kmsg.IncrementalAlterConfigOpSet, ptr("5"))
		},
		60: func(v int16) kmsg.Request {
			return edited(kmsg.NewPtrDescribeClusterRequest(), func(r *kmsg.DescribeClusterRequest) { r.Version, r.EndpointType = v, 1 })
		},
		75: func(v int16) kmsg.Request {
			return edited(kmsg.NewPtrDescribeTopicPartitionsRequest(), func(r *kmsg.DescribeTopicPartitionsRequest) {
				r.Version, r.ResponsePartitionLimit = v, 100
				r.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "good"}}
			})
		},
	}
}

// TestEveryServedVersionSucceeds asks each call in each version; groups' members have a test of their own.
func TestEveryServedVersionSucceeds(t *testing.T) {
	s := newServer(t)
	members := map[int16]bool{11: true, 12: true, 13: true, 14: true}
	good := goodRequests(t, s)
	for _, v := range versions.Announced() {
		if members[v.Key] {
			continue
		}
		request := good[v.Key]
		if request == nil {
			t.Errorf("%s is not asked", v.Name)
			continue
		}
		for version := v.Served; version <= v.Max; version++ {
			req := request(version)
			if got := errorsOf(s.ask(req)); strings.Trim(got, "ok ") != "" {
				t.Errorf("%s: %s", versionsLabel(req), got)
			}
		}
	}
}

func listOne(version int16, topic string, partition int32, timestamp int64) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = version, -1
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.Timestamp, p.CurrentLeaderEpoch = partition, timestamp, -1
	req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: topic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{p}}}
	return req
}

func describe(version int16, names ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Version, req.AllowAutoTopicCreation, req.Topics = version, true, []kmsg.MetadataRequestTopic{}
	for i := range names {
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: &names[i]})
	}
	return req
}

func commitOne(version int16, group, topic string, partition int32) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.Generation = version, group, -1
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = partition, 7
	req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
	return req
}

func createOne(version int16, name string, partitions int32, factor int16) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = version
	req.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: name, NumPartitions: partitions, ReplicationFactor: factor}}
	return req
}

func deleteOne(version int16, name *string, id [16]byte) *kmsg.DeleteTopicsRequest {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version = version
	if name != nil {
		req.TopicNames = []string{*name}
	}
	req.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: name, TopicID: id}}
	return req
}

func epochOne(version int16, topic string, partition, epoch int32) *kmsg.OffsetForLeaderEpochRequest {
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.Version, req.ReplicaID = version, -2
	p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	p.Partition, p.LeaderEpoch, p.CurrentLeaderEpoch = partition, epoch, -1
	req.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{p}}}
	return req
}

func describeConfig(version int16, kind kmsg.ConfigResourceType, name string) *kmsg.DescribeConfigsRequest {
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version = version
	req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kind, ResourceName: name}}
	return req
}

func alterOne(version int16, kind kmsg.ConfigResourceType, name, config string, op kmsg.IncrementalAlterConfigOp, value *string) *kmsg.IncrementalAlterConfigsRequest {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version = version
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kind, name
	r.Configs = []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: config, Op: op, Value: value}}
	req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{r}
	return req
}

func extendOne(version int16, topic string, count int32) *kmsg.CreatePartitionsRequest {
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.Version = version
	req.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: topic, Count: count}}
	return req
}

// ask is one row of a table: a request and the errors of its answer, as errorsOf prints them.
type ask struct {
	label  string
	req    kmsg.Request
	errors string
}

func (s *server) table(rows []ask) {
	s.t.Helper()
	for _, row := range rows {
		if got := errorsOf(s.ask(row.req)); got != row.errors {
			s.t.Errorf("%s, %s: %s, want %s", versionsLabel(row.req), row.label, got, row.errors)
		}
	}
}

const (
	unknownTopic = "UNKNOWN_TOPIC_OR_PARTITION"
	unknownID    = "UNKNOWN_TOPIC_ID"
	invalid      = "INVALID_REQUEST"
	invalidName  = "INVALID_TOPIC_EXCEPTION"
)

// TestProduceErrors, and the tables below, hold what Apache Kafka 4.3 was recorded to answer, except where PROTOCOL.md says otherwise.
func TestProduceErrors(t *testing.T) {
	s := newServer(t)
	s.create("t", 2)
	s.create("small", 1, "max.message.bytes", "80")
	s.create("compacted", 1, "cleanup.policy", "compact")
	s.create("tiny", 1, "segment.bytes", "1048576", "max.message.bytes", "4000000")
	s.create("zipped", 1, "compression.type", "gzip", "max.message.bytes", "300")
	plain := func(o batch.Options, values ...string) []byte { return records(t, o, values...) }
	one := func(version int16, topic string, partition int32, bytes []byte) *kmsg.ProduceRequest {
		return produceOne(version, topic, partition, bytes)
	}
	broken := plain(batch.Options{}, "x")
	broken[len(broken)-1] ^= 1
	keyless := batch.NewBuilder(batch.Options{})
	keyless.Append(1, nil, []byte("x"))
	noKey, _ := keyless.Build()
	transaction := plain(batch.Options{Producer: &batch.Producer{ID: 1, Transactional: true}}, "x")
	late := batch.NewBuilder(batch.Options{})
	late.Append(1<<50, []byte("k"), nil)
	tooLate, _ := late.Build()
	idempotent := func(id int64, epoch int16, sequence int32) []byte {
		return plain(batch.Options{Producer: &batch.Producer{ID: id, Epoch: epoch, BaseSequence: sequence}}, "x")
	}
	twice := one(12, "t", 0, plain(batch.Options{}, "first"))
	twice.Topics[0].Partitions = append(twice.Topics[0].Partitions, kmsg.ProduceRequestTopicPartition{Records: plain(batch.Options{}, "last")})
	s.table([]ask{
		{"good", one(12, "t", 0, plain(batch.Options{}, "x")), "ok"},
		{"bad checksum", one(12, "t", 0, broken), "CORRUPT_MESSAGE"},
		{"null records", one(12, "t", 0, nil), "INVALID_RECORD"},
		{"two batches", one(12, "t", 0, append(plain(batch.Options{}, "x"), plain(batch.Options{}, "y")...)), "INVALID_RECORD"},
		{"zstd before version 7", one(6, "t", 0, plain(batch.Options{Codec: batch.Zstd}, "x")), "UNSUPPORTED_COMPRESSION_TYPE"},
		{"zstd", one(7, "t", 0, plain(batch.Options{Codec: batch.Zstd}, "x")), "ok"},
		{"transactional", one(12, "t", 0, transaction), "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"},
		{"too late", one(12, "t", 0, tooLate), "INVALID_TIMESTAMP"},
		{"too large", one(12, "small", 0, plain(batch.Options{}, "xxxxxxxxxxxxxxxxxxxxx")), "MESSAGE_TOO_LARGE"},
		{"larger than a segment", one(12, "tiny", 0, plain(batch.Options{}, strings.Repeat("x", 2<<20))), "RECORD_LIST_TOO_LARGE"},
		{"too large before compression", one(12, "zipped", 0, plain(batch.Options{}, strings.Repeat("x", 1000))), "MESSAGE_TOO_LARGE"},
		{"no key", one(12, "compacted", 0, noKey), "INVALID_RECORD"},
		{"unknown topic", one(12, "nowhere", 0, plain(batch.Options{}, "x")), unknownTopic},
		{"bad name", one(12, "a/b", 0, plain(batch.Options{}, "x")), unknownTopic},
		{"unknown partition", one(12, "t", 2, plain(batch.Options{}, "x")), unknownTopic},
		{"negative partition", one(12, "t", -1, plain(batch.Options{}, "x")), unknownTopic},
		{"unknown id", one(13, "", 0, plain(batch.Options{}, "x")), unknownID},
		{"same partition twice", twice, "ok"},
		{"acks 2", edited(one(12, "t", 0, plain(batch.Options{}, "x")), func(r *kmsg.ProduceRequest) { r.Acks = 2 }), "INVALID_REQUIRED_ACKS"},
		{"acks 1", edited(one(12, "t", 0, plain(batch.Options{}, "x")), func(r *kmsg.ProduceRequest) { r.Acks = 1 }), "ok"},
		{"acks 0, good: no answer", edited(one(12, "t", 0, plain(batch.Options{}, "x")), func(r *kmsg.ProduceRequest) { r.Acks = 0 }), "closed"},
		{"producer begins", one(12, "t", 1, idempotent(5, 0, 0)), "ok"},
		{"duplicate", one(12, "t", 1, idempotent(5, 0, 0)), "ok"},
		{"gap", one(12, "t", 1, idempotent(5, 0, 9)), "OUT_OF_ORDER_SEQUENCE_NUMBER"},
		{"newer epoch", one(12, "t", 1, idempotent(5, 3, 0)), "ok"},
		{"older epoch", one(12, "t", 1, idempotent(5, 2, 0)), "INVALID_PRODUCER_EPOCH"},
		{"unknown producer", one(12, "t", 1, idempotent(6, 0, 9)), "UNKNOWN_PRODUCER_ID"},
		{"negative epoch", one(12, "t", 1, idempotent(7, -1, 0)), "INVALID_RECORD"},
		{"negative sequence", one(12, "t", 1, idempotent(7, 0, -1)), "INVALID_RECORD"},
	})
}

func TestProduceAnswers(t *testing.T) {
	s := newServer(t)
	s.create("t", 1)
	s.create("stamped", 1, "message.timestamp.type", "LogAppendTime")
	first := s.produce("t", 0, records(t, batch.Options{}, "0", "1", "2"))
	second := s.produce("t", 0, records(t, batch.Options{}, "3"))
	if first.BaseOffset != 0 || second.BaseOffset != 3 || second.LogStartOffset != 0 || second.LogAppendTime != -1 {
		t.Errorf("%+v, %+v", first, second)
	}
	if stamped := s.produce("stamped", 0, records(t, batch.Options{}, "0")); stamped.LogAppendTime < 1_600_000_000_000 {
		t.Errorf("%+v", stamped)
	}
	refused := s.produce("stamped", 0, records(t, batch.Options{Producer: &batch.Producer{ID: 4, BaseSequence: 9}}, "0"))
	if refused.ErrorCode == 0 || refused.BaseOffset != -1 || refused.LogAppendTime != -1 || refused.LogStartOffset != 0 {
		t.Errorf("refused by the metadata: %+v", refused)
	}
	if early := s.produce("t", 0, nil); early.BaseOffset != -1 || early.LogAppendTime != -1 || early.LogStartOffset != -1 {
		t.Errorf("refused at accept: %+v", early)
	}
	late := batch.NewBuilder(batch.Options{})
	late.Append(1000, nil, nil)
	late.Append(1<<50, nil, nil)
	bytes, _ := late.Build()
	if got := s.produce("t", 0, bytes); len(got.ErrorRecords) != 1 || got.ErrorRecords[0].RelativeOffset != 1 || got.ErrorRecords[0].ErrorMessage == nil ||
		got.ErrorMessage == nil || *got.ErrorMessage != "One or more records have been rejected due to invalid timestamp" {
		t.Errorf("%+v", got)
	}
	// The last of two mentions of a partition is the one that is stored, in one answer.
	twice := produceOne(12, "t", 0, records(t, batch.Options{}, "lost"))
	twice.Topics[0].Partitions = append(twice.Topics[0].Partitions, kmsg.ProduceRequestTopicPartition{Records: records(t, batch.Options{}, "kept")})
	s.ask(twice)
	got := s.ask(fetchOne(12, "t", 0, 4)).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	if got.HighWatermark != 5 || !strings.Contains(string(got.RecordBatches), "kept") {
		t.Errorf("%+v", got)
	}
	for acks, closed := range map[string]bool{"good": false, "nowhere": true} {
		topic := map[string]string{"good": "t", "nowhere": "nowhere"}[acks]
		req := edited(produceOne(12, topic, 0, records(t, batch.Options{}, "x")), func(r *kmsg.ProduceRequest) { r.Acks = 0 })
		if got := s.begin(req)(); got.Close != closed || got.NoReply == closed || got.Message != nil {
			t.Errorf("acks=0, %s: %+v", topic, got)
		}
	}
}

// TestPipelinedProducesKeepTheirOrder begins all before any is finished, as a connection does.
func TestPipelinedProducesKeepTheirOrder(t *testing.T) {
	s := newServer(t)
	s.create("t", 1)
	var offsets []int64
	finish := make([]func() int64, 5)
	for i := range finish {
		answer := s.begin(produceOne(12, "t", 0, records(t, batch.Options{Producer: &batch.Producer{ID: 3, BaseSequence: int32(i)}}, "x")))
		finish[i] = func() int64 {
			return answer().Message.(*kmsg.ProduceResponse).Topics[0].Partitions[0].BaseOffset
		}
	}
	for _, f := range finish {
		offsets = append(offsets, f())
	}
	if fmt.Sprint(offsets) != "[0 1 2 3 4]" {
		t.Error(offsets)
	}
}
