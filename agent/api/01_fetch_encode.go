package api

import (
	"encoding/binary"
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/fetch"
)

// fetchEncoder writes a Fetch answer as kmsg does, but for the records: those stay where they are, between pieces of encoded fields,
// so that they are copied by the kernel alone.
//
//	| fields … length of the records | records | fields … length | records | … tags |
//	 └ encoded here ────────────────┘ └ as given ┘
//
// It writes versions 4 to 18 (FetchResponse.json) without tagged fields and is held to kmsg's own encoding by a test.
type fetchEncoder struct {
	version int16
	out     net.Buffers
	fields  []byte // encoded and not in out yet
}

// encodeFetch answers the encoded response, or nil if it has tagged fields, which only kmsg writes. The RecordBatches of resp are
// ignored: records holds those of each partition, in order.
func encodeFetch(resp *kmsg.FetchResponse, records []fetch.Records) net.Buffers {
	if hasTags(resp) {
		return nil
	}
	room, pieces := 32, 1
	for i := range resp.Topics {
		room += 32 + len(resp.Topics[i].Topic) + 64*len(resp.Topics[i].Partitions)
	}
	for _, r := range records {
		pieces += 1 + len(r)
	}
	e := fetchEncoder{version: resp.Version, fields: make([]byte, 0, room), out: make(net.Buffers, 0, pieces)}
	e.int32(resp.ThrottleMillis)
	if e.version >= 7 {
		e.int16(resp.ErrorCode)
		e.int32(resp.SessionID)
	}
	e.length(len(resp.Topics))
	for i := range resp.Topics {
		t := &resp.Topics[i]
		if e.version >= 13 {
			e.fields = append(e.fields, t.TopicID[:]...)
		} else {
			e.string(t.Topic)
		}
		e.length(len(t.Partitions))
		for j := range t.Partitions {
			e.partition(&t.Partitions[j], records[0])
			records = records[1:]
		}
		e.tags()
	}
	e.tags()
	return append(e.out, e.fields)
}

func (e *fetchEncoder) partition(p *kmsg.FetchResponseTopicPartition, records fetch.Records) {
	e.int32(p.Partition)
	e.int16(p.ErrorCode)
	e.int64(p.HighWatermark)
	e.int64(p.LastStableOffset)
	if e.version >= 5 {
		e.int64(p.LogStartOffset)
	}
	if p.AbortedTransactions == nil {
		e.length(-1)
	} else {
		e.length(len(p.AbortedTransactions))
	}
	for _, a := range p.AbortedTransactions {
		e.int64(a.ProducerID)
		e.int64(a.FirstOffset)
		e.tags()
	}
	if e.version >= 11 {
		e.int32(p.PreferredReadReplica)
	}
	e.length(int(records.Size()))
	if len(records) > 0 {
		e.out = append(append(e.out, e.fields), records...)
		e.fields = e.fields[len(e.fields):] // what follows goes behind it: out refers to what is there
	}
	e.tags()
}

func (e *fetchEncoder) flexible() bool { return e.version >= 12 }

func (e *fetchEncoder) int16(v int16) { e.fields = binary.BigEndian.AppendUint16(e.fields, uint16(v)) }
func (e *fetchEncoder) int32(v int32) { e.fields = binary.BigEndian.AppendUint32(e.fields, uint32(v)) }
func (e *fetchEncoder) int64(v int64) { e.fields = binary.BigEndian.AppendUint64(e.fields, uint64(v)) }

// length writes the length of an array or of bytes; -1 is null.
func (e *fetchEncoder) length(n int) {
	if e.flexible() {
		e.fields = binary.AppendUvarint(e.fields, uint64(n+1))
		return
	}
	e.int32(int32(n))
}

func (e *fetchEncoder) string(s string) {
	if e.flexible() {
		e.length(len(s))
	} else {
		e.int16(int16(len(s)))
	}
	e.fields = append(e.fields, s...)
}

// tags writes that there are none.
func (e *fetchEncoder) tags() {
	if e.flexible() {
		e.fields = append(e.fields, 0)
	}
}

// hasTags tells whether anything must be written as a tagged field.
func hasTags(resp *kmsg.FetchResponse) bool {
	if len(resp.Brokers) > 0 || resp.UnknownTags.Len() > 0 {
		return true
	}
	for i := range resp.Topics {
		t := &resp.Topics[i]
		if t.UnknownTags.Len() > 0 {
			return true
		}
		for j := range t.Partitions {
			if partitionHasTags(&t.Partitions[j]) {
				return true
			}
		}
	}
	return false
}

func partitionHasTags(p *kmsg.FetchResponseTopicPartition) bool {
	leader, diverging, snapshot := &p.CurrentLeader, &p.DivergingEpoch, &p.SnapshotID
	tags := p.UnknownTags.Len() + leader.UnknownTags.Len() + diverging.UnknownTags.Len() + snapshot.UnknownTags.Len()
	for i := range p.AbortedTransactions {
		tags += p.AbortedTransactions[i].UnknownTags.Len()
	}
	return tags > 0 || leader.LeaderID != -1 || leader.LeaderEpoch != -1 ||
		diverging.Epoch != -1 || diverging.EndOffset != -1 || snapshot.Epoch != -1 || snapshot.EndOffset != -1
}
