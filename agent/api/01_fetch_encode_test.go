package api

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/api/versions"
	"github.com/leat-stream/leat/agent/fetch"
)

// randomFetchResponse fills what the handler may fill; with tags also what is written as tagged fields.
func randomFetchResponse(r *rand.Rand, tags bool) *kmsg.FetchResponse {
	resp := kmsg.NewPtrFetchResponse()
	resp.ThrottleMillis, resp.ErrorCode, resp.SessionID = r.Int32(), int16(r.IntN(100)), r.Int32()
	for range r.IntN(4) {
		t := kmsg.NewFetchResponseTopic()
		t.Topic = string(bytes.Repeat([]byte("t"), r.IntN(200)))
		for i := range t.TopicID {
			t.TopicID[i] = byte(r.IntN(256))
		}
		for range r.IntN(5) {
			t.Partitions = append(t.Partitions, randomFetchPartition(r, tags))
		}
		resp.Topics = append(resp.Topics, t)
	}
	if tags && r.IntN(2) == 0 {
		b := kmsg.NewFetchResponseBroker()
		b.NodeID, b.Host, b.Port = r.Int32(), "host", r.Int32()
		resp.Brokers = append(resp.Brokers, b)
	}
	return resp
}

func randomFetchPartition(r *rand.Rand, tags bool) kmsg.FetchResponseTopicPartition {
	p := kmsg.NewFetchResponseTopicPartition()
	p.Partition, p.ErrorCode, p.PreferredReadReplica = r.Int32(), int16(r.IntN(100)), r.Int32()
	p.HighWatermark, p.LastStableOffset, p.LogStartOffset = r.Int64(), -1, r.Int64()
	switch n := r.IntN(3); n {
	case 0: // null
	default:
		p.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{}
		for range (n - 1) * r.IntN(200) {
			p.AbortedTransactions = append(p.AbortedTransactions, kmsg.FetchResponseTopicPartitionAbortedTransaction{
				ProducerID: r.Int64(), FirstOffset: r.Int64(),
			})
		}
	}
	if tags && r.IntN(2) == 0 {
		p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = r.Int32(), 3
	}
	return p
}

func randomRecords(r *rand.Rand) (records fetch.Records) {
	for range r.IntN(4) {
		piece := make([]byte, 1+r.IntN(1<<uint(r.IntN(15))))
		for i := range piece {
			piece[i] = byte(r.IntN(256))
		}
		records = append(records, piece)
	}
	return records
}

func TestFetchIsEncodedAsKmsgDoes(t *testing.T) {
	low, high, ok := versions.Range(kmsg.Fetch.Int16())
	if !ok {
		t.Fatal("Fetch is not served")
	}
	r := rand.New(rand.NewPCG(1, 2))
	for version := low; version <= high; version++ {
		for round := range 200 {
			resp := randomFetchResponse(r, round%4 == 0)
			resp.Version = version
			var records []fetch.Records
			for i := range resp.Topics {
				for range resp.Topics[i].Partitions {
					records = append(records, randomRecords(r))
				}
			}
			body := encodeFetch(resp, records)
			joinRecords(resp, records)
			want := resp.AppendTo(nil)
			if body == nil && !hasTags(resp) {
				t.Fatalf("version %d, round %d: not encoded", version, round)
			}
			if body == nil {
				continue
			}
			if got := bytes.Join(body, nil); !bytes.Equal(got, want) {
				t.Fatalf("version %d, round %d:\n got %x\nwant %x", version, round, got, want)
			}
		}
	}
}

func TestFetchWithTaggedFieldsIsLeftToKmsg(t *testing.T) {
	for name, set := range map[string]func(*kmsg.FetchResponse, *kmsg.FetchResponseTopicPartition){
		"endpoints": func(r *kmsg.FetchResponse, _ *kmsg.FetchResponseTopicPartition) {
			r.Brokers = make([]kmsg.FetchResponseBroker, 1)
		},
		"current leader":  func(_ *kmsg.FetchResponse, p *kmsg.FetchResponseTopicPartition) { p.CurrentLeader.LeaderID = 1 },
		"leader epoch":    func(_ *kmsg.FetchResponse, p *kmsg.FetchResponseTopicPartition) { p.CurrentLeader.LeaderEpoch = 0 },
		"diverging epoch": func(_ *kmsg.FetchResponse, p *kmsg.FetchResponseTopicPartition) { p.DivergingEpoch.EndOffset = 7 },
		"snapshot":        func(_ *kmsg.FetchResponse, p *kmsg.FetchResponseTopicPartition) { p.SnapshotID.Epoch = 1 },
		"unknown tag":     func(_ *kmsg.FetchResponse, p *kmsg.FetchResponseTopicPartition) { p.UnknownTags.Set(9, nil) },
	} {
		resp := kmsg.NewPtrFetchResponse()
		resp.Version = 18
		topic := kmsg.NewFetchResponseTopic()
		topic.Partitions = append(topic.Partitions, kmsg.NewFetchResponseTopicPartition())
		resp.Topics = append(resp.Topics, topic)
		if encodeFetch(resp, make([]fetch.Records, 1)) == nil {
			t.Fatal("a plain response was not encoded")
		}
		set(resp, &resp.Topics[0].Partitions[0])
		if encodeFetch(resp, make([]fetch.Records, 1)) != nil {
			t.Errorf("%s would be lost", name)
		}
	}
}

func BenchmarkEncodeFetch(b *testing.B) {
	resp := kmsg.NewPtrFetchResponse()
	resp.Version = 18
	topic := kmsg.NewFetchResponseTopic()
	var records []fetch.Records
	data := make([]byte, 1<<20)
	for range 16 {
		topic.Partitions = append(topic.Partitions, kmsg.NewFetchResponseTopicPartition())
		records = append(records, fetch.Records{data[:61], data[61 : 16<<10], data[:61], data[61 : 16<<10]})
	}
	resp.Topics = append(resp.Topics, topic)
	b.ReportAllocs()
	b.SetBytes(16 * 32 << 10)
	for b.Loop() {
		encodeFetch(resp, records)
	}
}
