package main

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// produce is a produce request with one partition. From version 13 on the topic is named by its id.
func (p *probe) produce(version, acks int16, topic string, partition int32, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = version, acks, 5000
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID = topic, p.topics[topic]
	q := kmsg.NewProduceRequestTopicPartition()
	q.Partition, q.Records = partition, records
	t.Partitions = append(t.Partitions, q)
	req.Topics = append(req.Topics, t)
	return req
}

func probeProduce(p *probe) error {
	if err := p.topic("produce", 1); err != nil {
		return err
	}
	produceVersions(p)
	produceBroken(p)
	produceTimes(p)
	if err := produceTopics(p); err != nil {
		return err
	}
	produceAcks(p)
	return produceIdempotent(p)
}

func produceVersions(p *probe) {
	for _, v := range []int16{0, 1, 2} {
		p.ask("version below 3, magic 1", p.produce(v, 1, "produce", 0, messageSet(1)))
	}
	for v := int16(3); v <= 13; v++ {
		p.ask("good batch", p.produce(v, -1, "produce", 0, ofN(2).bytes()))
	}
}

type brokenBatch struct {
	label   string
	records []byte
}

// altered is a good batch of three records with one thing changed.
func altered(change func(*batch)) []byte {
	b := ofN(3)
	change(&b)
	return b.bytes()
}

func produceBroken(p *probe) {
	for _, c := range append(brokenCounts(), brokenBits()...) {
		p.ask(c.label, p.produce(12, -1, "produce", 0, c.records))
	}
	for _, v := range []int16{3, 6, 7} {
		zstd := ofN(1)
		zstd.attrs = 4
		p.ask("zstd bit (body is not zstd)", p.produce(v, -1, "produce", 0, zstd.bytes()))
	}
}

func brokenCounts() []brokenBatch {
	b := altered
	two := append(ofN(1).bytes(), ofN(1).bytes()...)
	good := ofN(3).bytes()
	return []brokenBatch{
		{"bad CRC", b(func(x *batch) { x.crcXor = 1 })},
		{"magic 0", messageSet(0)},
		{"magic 1", messageSet(1)},
		{"magic 3", b(func(x *batch) { x.magic = ptr(int8(3)) })},
		{"batch v2 with magic byte 1", b(func(x *batch) { x.magic = ptr(int8(1)) })},
		{"count 2, three records", b(func(x *batch) { x.count = ptr(int32(2)) })},
		{"count 2, last delta 1, three records", b(func(x *batch) { x.count, x.lastDelta = ptr(int32(2)), ptr(int32(1)) })},
		{"count 4, three records", b(func(x *batch) { x.count = ptr(int32(4)) })},
		{"count 4, last delta 3, three records", b(func(x *batch) { x.count, x.lastDelta = ptr(int32(4)), ptr(int32(3)) })},
		{"count 4, last delta 3, three records, gzip", b(func(x *batch) {
			x.count, x.lastDelta, x.gzip = ptr(int32(4)), ptr(int32(3)), true
		})},
		{"count 2, last delta 1, three records, gzip", b(func(x *batch) {
			x.count, x.lastDelta, x.gzip = ptr(int32(2)), ptr(int32(1)), true
		})},
		{"last delta 5, three records", b(func(x *batch) { x.lastDelta = ptr(int32(5)) })},
		{"last delta -1, three records", b(func(x *batch) { x.lastDelta = ptr(int32(-1)) })},
		{"count -1", b(func(x *batch) { x.count = ptr(int32(-1)) })},
		{"no records in the batch", batch{}.bytes()},
		{"no records, last delta 0", batch{lastDelta: ptr(int32(0))}.bytes()},
		{"two batches", two},
		{"null records", nil},
		{"empty records", []byte{}},
		{"batch cut short", good[:len(good)-4]},
		{"half a header", good[:20]},
		{"length too small (10)", b(func(x *batch) { x.lenXor = int32(len(good)-12) ^ 10 })},
		{"length negative", b(func(x *batch) { x.lenXor = -1 << 31 })},
		{"good batch and 5 bytes after it", append(append([]byte{}, good...), 1, 2, 3, 4, 5)},
		{"bytes after the last record", b(func(x *batch) { x.trailing = []byte{1, 2, 3} })},
		{"bytes after the last record, gzip", b(func(x *batch) { x.trailing, x.gzip = []byte{1, 2, 3}, true })},
	}
}

func brokenBits() []brokenBatch {
	b := altered
	return []brokenBatch{
		{"gzip bit, not gzip", b(func(x *batch) { x.attrs = 1 })},
		{"compression type 5", b(func(x *batch) { x.attrs = 5 })},
		{"control bit", b(func(x *batch) { x.attrs = 0x20 })},
		{"transactional bit without producer id", b(func(x *batch) { x.attrs = 0x10 })},
		{"transactional and control bits, producer id 4711", b(func(x *batch) { x.attrs, x.pid = 0x30, ptr(int64(4711)) })},
		{"delete horizon bit", b(func(x *batch) { x.attrs = 0x40 })},
		{"unused attribute bits", b(func(x *batch) { x.attrs = 0x80 })},
		{"timestamp type bit", b(func(x *batch) { x.attrs = 0x08 })},
		{"base offset 77", b(func(x *batch) { x.base = 77 })},
		{"base offset -5", b(func(x *batch) { x.base = -5 })},
		{"offset deltas 0 0 0", b(func(x *batch) {
			x.records[1].offDelta, x.records[2].offDelta = ptr(int64(0)), ptr(int64(0))
		})},
		{"offset deltas 0 2 1", b(func(x *batch) {
			x.records[1].offDelta, x.records[2].offDelta = ptr(int64(2)), ptr(int64(1))
		})},
		{"offset deltas 0 2 5, last delta 5", b(func(x *batch) {
			x.records[1].offDelta, x.records[2].offDelta, x.lastDelta = ptr(int64(2)), ptr(int64(5)), ptr(int32(5))
		})},
		{"offset deltas 0 2 1, gzip", b(func(x *batch) {
			x.records[1].offDelta, x.records[2].offDelta, x.gzip = ptr(int64(2)), ptr(int64(1)), true
		})},
		{"record with a null value", b(func(x *batch) { x.records[0].val = nil })},
		{"sequence 5 without producer id", b(func(x *batch) { x.seq = ptr(int32(5)) })},
	}
}

func produceTimes(p *probe) {
	now := time.Now().UnixMilli()
	hour := int64(3_600_000)
	for _, c := range []struct {
		label        string
		first, maxTs int64
	}{
		{"timestamp 59 minutes ahead", now + hour - 60_000, now + hour - 60_000},
		{"timestamp 61 minutes ahead", now + hour + 60_000, now + hour + 60_000},
		{"timestamp -1", -1, -1},
		{"timestamp -2", -2, -2},
		{"timestamp -1000000", -1_000_000, -1_000_000},
		{"timestamp 0", 0, 0},
		{"header max timestamp 61 minutes ahead, records now", now, now + hour + 60_000},
		{"header max timestamp 0, records now", now, 0},
	} {
		b := ofN(1)
		b.firstTs, b.maxTs = &c.first, &c.maxTs
		p.ask(c.label, p.produce(12, -1, "produce", 0, b.bytes()))
		b.gzip = true
		p.ask(c.label+", gzip", p.produce(12, -1, "produce", 0, b.bytes()))
	}
	b := ofN(2)
	b.records[1].tsDelta = hour + 60_000
	p.ask("second record 61 minutes ahead, header max now", p.produce(12, -1, "produce", 0, b.bytes()))
	b.gzip = true
	p.ask("second record 61 minutes ahead, header max now, gzip", p.produce(12, -1, "produce", 0, b.bytes()))
}

func produceTopics(p *probe) error {
	p.ask("unknown topic", p.produce(12, -1, "nowhere", 0, ofN(1).bytes()))
	p.ask("unknown topic id", p.produce(13, -1, "nowhere", 0, ofN(1).bytes()))
	p.ask("unknown partition", p.produce(12, -1, "produce", 7, ofN(1).bytes()))
	p.ask("unknown partition", p.produce(13, -1, "produce", 7, ofN(1).bytes()))
	p.ask("negative partition", p.produce(12, -1, "produce", -1, ofN(1).bytes()))
	p.ask("invalid topic name", p.produce(12, -1, "a/b", 0, ofN(1).bytes()))
	p.ask("empty topic name", p.produce(12, -1, "", 0, ofN(1).bytes()))
	p.ask("internal topic name", p.produce(12, -1, "__consumer_offsets", 0, ofN(1).bytes()))
	twice := p.produce(12, -1, "produce", 0, ofN(1).bytes())
	twice.Topics[0].Partitions = append(twice.Topics[0].Partitions, twice.Topics[0].Partitions[0])
	p.ask("the same partition twice", twice)
	txn := p.produce(12, -1, "produce", 0, ofN(1).bytes())
	txn.TransactionID = ptr("t")
	p.ask("transactional id, ordinary batch", txn)
	b := ofN(1)
	b.attrs, b.pid = 0x10, ptr(int64(4712))
	p.ask("transactional batch, no transactional id", p.produce(12, -1, "produce", 0, b.bytes()))

	if err := produceSizes(p); err != nil {
		return err
	}
	return produceConfigs(p)
}

func produceSizes(p *probe) error {
	huge := ofN(1)
	huge.records[0].val = make([]byte, 1_048_588)
	p.ask("batch above max.message.bytes", p.produce(12, -1, "produce", 0, huge.bytes()))
	if err := p.topic("segment", 1, "segment.bytes", "1048576", "max.message.bytes", "3000000"); err != nil {
		return err
	}
	p.ask("batch below max.message.bytes, above segment.bytes", p.produce(12, -1, "segment", 0, huge.bytes()))
	if err := p.topic("limit", 1, "max.message.bytes", "80"); err != nil {
		return err
	}
	exact := ofN(1)
	exact.records[0].val = make([]byte, 80-len(ofN(1).bytes())+5)
	p.ask(fmt.Sprintf("batch of %d bytes, limit 80", len(exact.bytes())), p.produce(12, -1, "limit", 0, exact.bytes()))
	exact.records[0].val = append(exact.records[0].val, 0)
	p.ask(fmt.Sprintf("batch of %d bytes, limit 80", len(exact.bytes())), p.produce(12, -1, "limit", 0, exact.bytes()))
	return nil
}

func produceConfigs(p *probe) error {
	small := ofN(1)
	if err := p.topic("compacted", 1, "cleanup.policy", "compact"); err != nil {
		return err
	}
	small.records[0].key = nil
	p.ask("no key, compacted topic", p.produce(12, -1, "compacted", 0, small.bytes()))
	small.gzip = true
	p.ask("no key, compacted topic, gzip", p.produce(12, -1, "compacted", 0, small.bytes()))
	mixed := ofN(3)
	mixed.records[1].key = nil
	p.ask("second of three has no key, compacted topic", p.produce(12, -1, "compacted", 0, mixed.bytes()))
	p.ask("second of three has no key, compacted topic, v6", p.produce(6, -1, "compacted", 0, mixed.bytes()))
	empty := ofN(1)
	empty.records[0].key = []byte{}
	p.ask("empty key, compacted topic", p.produce(12, -1, "compacted", 0, empty.bytes()))

	if err := p.topic("appendtime", 1, "message.timestamp.type", "LogAppendTime"); err != nil {
		return err
	}
	late := ofN(2)
	late.firstTs = ptr(int64(5))
	p.ask("timestamp 5, LogAppendTime", p.produce(12, -1, "appendtime", 0, late.bytes()))
	ahead := ofN(2)
	ahead.firstTs = ptr(time.Now().UnixMilli() + 7_200_000)
	p.ask("two hours ahead, LogAppendTime", p.produce(12, -1, "appendtime", 0, ahead.bytes()))
	p.ask("what was stored, LogAppendTime", fetchOne(12, "appendtime", 0, 0))

	if err := p.topic("zipped", 1, "compression.type", "gzip", "max.message.bytes", "300"); err != nil {
		return err
	}
	p.ask("uncompressed into a gzip topic", p.produce(12, -1, "zipped", 0, ofN(3).bytes()))
	wide := ofN(1)
	wide.records[0].val = make([]byte, 1000)
	p.ask("1000 zeros uncompressed into a gzip topic of 300 bytes", p.produce(12, -1, "zipped", 0, wide.bytes()))
	p.ask("what was stored, gzip topic", fetchOne(12, "zipped", 0, 0))
	return nil
}

func produceAcks(p *probe) {
	for _, acks := range []int16{2, -2, 1} {
		p.ask(fmt.Sprintf("acks=%d", acks), p.produce(12, acks, "produce", 0, ofN(1).bytes()))
	}
	good := p.produce(12, 0, "produce", 0, ofN(1).bytes())
	bad := p.produce(12, 0, "nowhere", 0, ofN(1).bytes())
	crc := ofN(1)
	crc.crcXor = 1
	for _, c := range []struct {
		label string
		req   *kmsg.ProduceRequest
	}{
		{"acks=0, good", good}, {"acks=0, unknown topic", bad},
		{"acks=0, bad CRC", p.produce(12, 0, "produce", 0, crc.bytes())},
	} {
		p.close()
		if err := p.dial(); err != nil {
			p.say("%s → %v", c.label, err)
			continue
		}
		if err := p.conn.Send(c.req); err != nil {
			p.say("%s → %v", c.label, err)
			continue
		}
		p.ask(c.label+", then ListOffsets on the same connection", listOffsets(7, "produce", 0, -1, 0))
	}
}

func produceIdempotent(p *probe) error {
	if err := p.topic("idem", 2); err != nil {
		return err
	}
	ir := kmsg.NewPtrInitProducerIDRequest()
	ir.Version = 5
	ir.TransactionTimeoutMillis = 60_000
	first := int64(-1)
	for range 100 { // the broker may still be fetching its first block of ids
		if first >= 0 {
			break
		}
		resp, err := p.quiet(ir)
		if err != nil {
			return err
		}
		first = resp.(*kmsg.InitProducerIDResponse).ProducerID
	}
	send := func(label string, partition int32, pid int64, epoch int16, seq int32, n int) {
		b := ofN(n)
		b.pid, b.epoch, b.seq = &pid, epoch, &seq
		head := fmt.Sprintf("%s: partition %d epoch %d sequence %d count %d", label, partition, epoch, seq, n)
		p.ask(head, p.produce(12, -1, "idem", partition, b.bytes()))
	}
	send("new id at 0", 0, first, 0, 0, 4)
	send("epoch in the future, partition new to the id", 1, first, 4, 0, 1)
	send("epoch then lower, same partition", 1, first, 2, 0, 1)
	for i := range int32(7) {
		send("in order", 0, first, 0, i*2+4, 2)
	}
	send("duplicate of the newest", 0, first, 0, 16, 2)
	send("duplicate of the fifth newest", 0, first, 0, 8, 2)
	send("duplicate of the sixth newest", 0, first, 0, 6, 2)
	send("part of a duplicate", 0, first, 0, 16, 1)
	send("overlap", 0, first, 0, 17, 2)
	send("gap", 0, first, 0, 40, 2)
	send("next", 0, first, 0, 18, 2)
	send("newer epoch, not at 0", 0, first, 1, 5, 1)
	send("newer epoch at 0", 0, first, 1, 0, 1)
	send("old epoch, next", 0, first, 0, 20, 1)
	send("old epoch, duplicate", 0, first, 0, 18, 2)
	send("newer epoch, duplicate", 0, first, 1, 0, 1)
	send("two epochs on, at 0", 0, first, 3, 0, 1)
	send("unknown id at 0", 1, first+999_000, 0, 0, 1)
	send("unknown id not at 0", 1, first+999_001, 0, 9, 1)
	send("unknown id, epoch 7, not at 0", 1, first+999_002, 7, 9, 1)
	send("near the end of the sequences", 1, first+999_003, 0, 2147483646, 1)
	send("up to the last sequence", 1, first+999_003, 0, 2147483647, 1)
	send("wraps to 0", 1, first+999_003, 0, 0, 1)
	send("near the end again", 1, first+999_004, 0, 2147483645, 2)
	send("batch across the wrap", 1, first+999_004, 0, 2147483647, 3)
	send("after the wrap", 1, first+999_004, 0, 2, 1)
	send("duplicate across the wrap", 1, first+999_004, 0, 2147483647, 3)
	send("negative sequence", 1, first+999_005, 0, -1, 1)
	send("negative epoch", 1, first+999_006, -1, 0, 1)
	two := ofN(1)
	two.pid, two.seq = ptr(first), ptr(int32(0))
	next := two
	next.seq = ptr(int32(1))
	p.ask("two idempotent batches in one partition", p.produce(12, -1, "idem", 1, append(two.bytes(), next.bytes()...)))
	return nil
}

func probeProducerID(p *probe) error {
	ask := func(label string, version int16, txn *string, timeout int32, id int64, epoch int16) int64 {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.Version, req.TransactionalID, req.TransactionTimeoutMillis = version, txn, timeout
		req.ProducerID, req.ProducerEpoch = id, epoch
		resp, err := p.quiet(req)
		if err != nil {
			p.say("%s [InitProducerID v%d] → %v", label, version, err)
			return -1
		}
		r := resp.(*kmsg.InitProducerIDResponse)
		got := r.ProducerID
		if got > 0 {
			r.ProducerID = 1 // whatever is next
		}
		p.say("%s [InitProducerID v%d] → %s", label, version, render(r))
		return got
	}
	for range 100 {
		if ask("until the first id is there", 5, nil, 60_000, -1, -1) >= 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	for v := int16(0); v <= 5; v++ {
		ask("idempotent", v, nil, 60_000, -1, -1)
	}
	ask("timeout 0", 5, nil, 0, -1, -1)
	ask("timeout -1", 5, nil, -1, -1, -1)
	id := ask("timeout 2^31-1", 5, nil, 1<<31-1, -1, -1)
	ask("bump: id and epoch given", 5, nil, 60_000, id, 0)
	ask("id given, epoch not", 5, nil, 60_000, id, -1)
	ask("unknown id given", 5, nil, 60_000, 1<<40, 3)
	ask("empty transactional id", 5, ptr(""), 60_000, -1, -1)
	return nil
}
