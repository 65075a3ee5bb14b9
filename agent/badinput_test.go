package agent_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/batch"
)

// Bad input reaches a whole running agent here; what each part makes of it is tested beside the part. After each case the
// agent must go on serving, and what was acknowledged before must still be there.

func TestBadFramesCloseTheConnectionOnly(t *testing.T) {
	r := start(t, config("mem:", ""))
	r.topic("words", 1)
	steady := r.dial() // lives through all of it
	steady.produce("words", oneBatch(t, 7))
	u16, u32 := binary.BigEndian.AppendUint16, binary.BigEndian.AppendUint32
	framed := func(b []byte) []byte { return append(u32(nil, uint32(len(b))), b...) }
	header := func(key, version uint16) []byte { return u16(u32(u16(u16(nil, key), version), 7), 0) }
	good := kmsg.NewRequestFormatter().AppendRequest(nil, produceRequest("words", oneBatch(t, 1)), 1)
	endless := append(header(3, 1), 0x7f, 0xff, 0xff, 0xff) // a list of 2^31-1 topics
	for name, b := range map[string][]byte{
		"too long":         u32(nil, 100<<20+1),
		"negative":         u32(nil, 1<<31),
		"empty":            u32(nil, 0),
		"garbage":          framed(bytes.Repeat([]byte{0xa5, 0x5a}, 500)),
		"HTTP":             []byte("GET / HTTP/1.1\r\nHost: leat\r\n\r\n"),
		"TLS":              {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3},
		"unknown API":      framed(header(999, 0)),
		"unknown version":  framed(header(3, 99)),
		"an endless list":  framed(endless),
		"half a body":      framed(good[4 : len(good)/2]),
		"an old Produce":   framed(header(0, 2)),
		"a controller API": framed(header(uint16(kmsg.Vote), 0)),
	} {
		t.Run(name, func(t *testing.T) {
			c := r.dial()
			c.write(b)
			c.closed()
			if got := steady.fetch("words", 0); got.HighWatermark != 7 || len(got.RecordBatches) == 0 {
				t.Errorf("another connection reads %+v", got)
			}
		})
	}
	c := r.dial()
	c.write(good[:len(good)-1])
	_ = c.Close() // cut off in the last byte
	versions := kmsg.NewPtrApiVersionsRequest()
	versions.SetVersion(99) // an unknown version is answered in version 0 (KIP-511)
	c = r.dial()
	c.send(versions)
	body, err := c.frame()
	if err != nil || len(body) < 6 || int16(binary.BigEndian.Uint16(body[4:])) != kerr.UnsupportedVersion.Code {
		t.Errorf("ApiVersions 99: %x, %v", body, err)
	}
	if end := steady.fetch("words", 0).HighWatermark; end != 7 {
		t.Errorf("the log ends at %d", end)
	}
	eventually(t, "no memory of requests is lost", func() bool { return strings.Contains(r.get("/metrics"), "leat_wire_memory_bytes 0\n") })
	if n := r.metric("leat_wire_panics_total"); n != 0 {
		t.Errorf("%v panics", n)
	}
}

func TestBadBatchesAreRefusedByName(t *testing.T) {
	r := start(t, config("mem:", ""))
	r.topic("words", 1)
	r.topic("small", 1, "max.message.bytes=300")
	r.topic("keyed", 1, "cleanup.policy=compact")
	c := r.dial()
	if p := c.produce("words", oneBatch(t, 3)); p.ErrorCode != 0 {
		t.Fatal(p)
	}
	const magic, crc, lastDelta, baseOffset, count = 16, 17, 23, 0, 57
	plain := func(change func(b []byte) []byte) []byte { return change(oneBatch(t, 3)) }
	zipped := func(change func(b []byte) []byte) []byte {
		return change(built(t, batch.Options{Codec: batch.Gzip}, 3))
	}
	put32 := func(at int, v uint32) func(b []byte) []byte {
		return func(b []byte) []byte { binary.BigEndian.PutUint32(b[at:], v); return reseal(b) }
	}
	late := func(o batch.Options) []byte {
		b := batch.NewBuilder(o)
		b.Append(time.Now().UnixMilli(), nil, []byte("now"))
		b.Append(time.Now().Add(2*time.Hour).UnixMilli(), nil, []byte("too late"))
		v, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	keyless := func() []byte {
		b := batch.NewBuilder(batch.Options{})
		b.Append(time.Now().UnixMilli(), nil, []byte("x"))
		v, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	invalid, corrupt := kerr.InvalidRecord, kerr.CorruptMessage
	for _, x := range []struct {
		name, topic string
		records     []byte
		want        *kerr.Error
	}{
		{"bad CRC", "words", plain(func(b []byte) []byte { b[crc] ^= 1; return b }), corrupt},
		{"a flipped bit in a value", "words", plain(func(b []byte) []byte { b[len(b)-3] ^= 4; return b }), corrupt},
		{"magic 1", "words", plain(func(b []byte) []byte { b[magic] = 1; return b }), invalid},
		{"magic 3", "words", plain(func(b []byte) []byte { b[magic] = 3; return b }), corrupt},
		{"more records announced", "words", plain(put32(count, 4)), invalid},
		{"fewer records announced", "words", plain(put32(count, 2)), invalid},
		{"2^31-1 records announced", "words", plain(put32(count, 1<<31-1)), invalid},
		{"more records announced, compressed", "words", zipped(put32(count, 4)), invalid},
		{"fewer records announced, compressed", "words", zipped(put32(count, 2)), invalid},
		{"wrong last offset", "words", plain(put32(lastDelta, 7)), invalid},
		{"wrong last offset, compressed", "words", zipped(put32(lastDelta, 7)), invalid},
		{"base offset not 0", "words", plain(func(b []byte) []byte { b[baseOffset+7] = 9; return b }), invalid},
		{"cut short", "words", plain(func(b []byte) []byte { return b[:len(b)-1] }), invalid},
		{"half a header", "words", plain(func(b []byte) []byte { return b[:30] }), invalid},
		{"no bytes", "words", []byte{}, invalid},
		{"null", "words", nil, invalid},
		{"two batches", "words", append(oneBatch(t, 1), oneBatch(t, 1)...), invalid},
		{"garbage", "words", bytes.Repeat([]byte{0xff}, 200), corrupt},
		{"too large", "small", oneBatch(t, 50), kerr.MessageTooLarge},
		{"too far in the future", "words", late(batch.Options{}), kerr.InvalidTimestamp},
		{"too far in the future, compressed", "words", late(batch.Options{Codec: batch.Zstd}), kerr.InvalidTimestamp},
		{"no key on a compacted topic", "keyed", keyless(), invalid},
		{"a slash in the name", "a/b", oneBatch(t, 1), kerr.UnknownTopicOrPartition},
		{"an empty name", "", oneBatch(t, 1), kerr.UnknownTopicOrPartition},
		{"a transaction", "words", built(t, batch.Options{Producer: &batch.Producer{ID: 1, Transactional: true}}, 1), kerr.TransactionalIDAuthorizationFailed},
		{"a control batch", "words", batch.Marker(0, 1, 0, true, 0, time.Now().UnixMilli()), nil},
	} {
		p := c.produce(x.topic, x.records)
		if x.want == nil { // refused by any name
			if p.ErrorCode == 0 {
				t.Errorf("%s: accepted", x.name)
			}
		} else if p.ErrorCode != x.want.Code {
			t.Errorf("%s: %v, want %s", x.name, kerr.ErrorForCode(p.ErrorCode), x.want.Message)
		}
		if p.ErrorCode != 0 && (p.BaseOffset != -1 || p.LogAppendTime != -1) {
			t.Errorf("%s: base offset %d, append time %d", x.name, p.BaseOffset, p.LogAppendTime)
		}
	}
	for _, topic := range []string{"small", "keyed"} {
		if end := c.fetch(topic, 0).HighWatermark; end != 0 {
			t.Errorf("%s ends at %d", topic, end)
		}
	}
	b := batch.NewBuilder(batch.Options{})
	for _, ms := range []int64{-1, -1_000_000, 0} {
		b.Append(ms, nil, []byte("long ago"))
	}
	old, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if p := c.produce("words", old); p.ErrorCode != 0 || p.BaseOffset != 3 {
		t.Errorf("timestamps before 1970: %+v", p)
	}
	if end := c.fetch("words", 0).HighWatermark; end != 6 {
		t.Errorf("words ends at %d, want 6", end)
	}
}

func TestAcksZeroTellsOfAnErrorByClosing(t *testing.T) {
	r := start(t, config("mem:", ""))
	r.topic("words", 1)
	good := produceRequest("words", oneBatch(t, 1))
	good.Acks = 0
	c := r.dial()
	c.send(good)
	if end := c.fetch("words", 0).HighWatermark; end != 1 { // the next answer is the fetch's
		t.Errorf("the log ends at %d", end)
	}
	bad := produceRequest("nowhere", oneBatch(t, 1))
	bad.Acks = 0
	c.send(bad)
	c.closed()
}

func TestOverlongGroupIDIsRefused(t *testing.T) {
	r := start(t, config("mem:", ""))
	r.topic("words", 1)
	c := r.dial()
	join := func(id string) *kmsg.JoinGroupRequest {
		req := kmsg.NewPtrJoinGroupRequest()
		req.SetVersion(9)
		req.Group, req.ProtocolType, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = id, "consumer", 10_000, 10_000
		req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte{}}}
		return req
	}
	if code := ask(c, join(strings.Repeat("g", 32767))).(*kmsg.JoinGroupResponse).ErrorCode; code != kerr.MemberIDRequired.Code {
		t.Errorf("the longest group id: error %d", code)
	}
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.SetVersion(9)
	commit.Group, commit.Generation = strings.Repeat("g", 1<<20), -1
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic, topic.Partitions = "words", []kmsg.OffsetCommitRequestTopicPartition{kmsg.NewOffsetCommitRequestTopicPartition()}
	commit.Topics = append(commit.Topics, topic)
	// Kafka closes the connection at such an id; a refusal by name says more.
	if code := ask(r.dial(), commit).(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode; code != kerr.InvalidGroupID.Code {
		t.Errorf("a commit for a group id of 1 MiB: error %d", code)
	}
	if code := ask(r.dial(), join(strings.Repeat("g", 1<<20))).(*kmsg.JoinGroupResponse).ErrorCode; code != kerr.InvalidGroupID.Code {
		t.Errorf("a group id of 1 MiB: error %d", code)
	}
	if code := ask(r.dial(), join("")).(*kmsg.JoinGroupResponse).ErrorCode; code != kerr.InvalidGroupID.Code {
		t.Errorf("an empty group id: error %d", code)
	}
	groups := kmsg.NewPtrListGroupsRequest()
	groups.SetVersion(4)
	if listed := ask(r.dial(), groups).(*kmsg.ListGroupsResponse).Groups; len(listed) > 1 {
		t.Errorf("%d groups are left", len(listed))
	}
}
