package wire

import (
	"context"
	"errors"
	"net"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// tiny is a broker with one topic that takes every record.
func tiny(addr func() string) handlerFunc {
	return func(_ context.Context, r Request, body kmsg.Request) func() Response {
		return func() Response {
			switch req := body.(type) {
			case *kmsg.ApiVersionsRequest:
				resp := kmsg.NewPtrApiVersionsResponse()
				for key := range int16(kmsg.MaxKey) {
					if low, high, ok := served(key); ok {
						resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: key, MinVersion: low, MaxVersion: high})
					}
				}
				return Response{Message: resp}
			case *kmsg.MetadataRequest:
				return Response{Message: tinyMetadata(addr())}
			case *kmsg.ProduceRequest:
				resp := kmsg.NewPtrProduceResponse()
				for _, t := range req.Topics {
					topic := kmsg.NewProduceResponseTopic()
					topic.Topic = t.Topic
					for _, p := range t.Partitions {
						part := kmsg.NewProduceResponseTopicPartition()
						part.Partition = p.Partition
						topic.Partitions = append(topic.Partitions, part)
					}
					resp.Topics = append(resp.Topics, topic)
				}
				return Response{Message: resp}
			}
			return Response{Close: true}
		}
	}
}

func tinyMetadata(addr string) *kmsg.MetadataResponse {
	host, port, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(port)
	resp := kmsg.NewPtrMetadataResponse()
	resp.Brokers = append(resp.Brokers, kmsg.MetadataResponseBroker{NodeID: 1, Host: host, Port: int32(n)})
	topic, part := kmsg.NewMetadataResponseTopic(), kmsg.NewMetadataResponseTopicPartition()
	topic.Topic = kmsg.StringPtr("words")
	part.Leader, part.LeaderEpoch, part.Replicas, part.ISR = 1, 0, []int32{1}, []int32{1}
	topic.Partitions = append(topic.Partitions, part)
	resp.Topics = append(resp.Topics, topic)
	return resp
}

func TestFranzGoTalksToIt(t *testing.T) {
	var s *server
	s = start(t, tiny(func() string { return s.Advertised("main") }))
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.Advertised("main")), kgo.DisableIdempotentWrite(), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for range 100 {
		cl.Produce(t.Context(), &kgo.Record{Topic: "words", Value: make([]byte, 1000)}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	resp, err := kmsg.NewPtrMetadataRequest().RequestWith(t.Context(), cl)
	if err != nil || kerr.ErrorForCode(resp.Topics[0].ErrorCode) != nil {
		t.Fatal(resp, err)
	}
	if s.metric("leat_wire_requests_total", "Produce", "11", "NONE") == 0 || s.metric("leat_wire_request_seconds", "Metadata") == 0 {
		t.Error("not counted")
	}
	if s.metric("leat_wire_received_bytes_total") < 100_000 || s.metric("leat_wire_sent_bytes_total") == 0 {
		t.Error("bytes not counted")
	}
	if _, err := kmsg.NewPtrListGroupsRequest().RequestWith(t.Context(), cl); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("a request that is not announced: %v", err)
	}
}
