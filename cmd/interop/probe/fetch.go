package main

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fetchOne asks for one partition of a topic by name (up to version 12) with generous limits and no wait.
func fetchOne(version int16, topic string, partition int32, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxBytes, req.SessionEpoch = version, 50<<20, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic = topic
	q := kmsg.NewFetchRequestTopicPartition()
	q.Partition, q.FetchOffset, q.PartitionMaxBytes, q.CurrentLeaderEpoch = partition, offset, 1<<20, -1
	t.Partitions = append(t.Partitions, q)
	req.Topics = append(req.Topics, t)
	return req
}

// fetchID is fetchOne for the versions that name topics by id.
func (p *probe) fetchID(version int16, topic string, partition int32, offset int64) *kmsg.FetchRequest {
	req := fetchOne(version, "", partition, offset)
	req.Topics[0].TopicID = p.topics[topic]
	return req
}

func probeFetch(p *probe) error {
	if err := p.topic("fetch", 2); err != nil {
		return err
	}
	p.ask("empty partition, offset 0", fetchOne(12, "fetch", 0, 0))
	for range 3 {
		b := ofN(4)
		b.records[0].val = make([]byte, 1000)
		if _, err := p.quiet(p.produce(12, -1, "fetch", 0, b.bytes())); err != nil {
			return err
		}
	}
	fetchVersions(p)
	fetchOffsets(p)
	fetchLimits(p)
	fetchWaits(p)
	fetchSessions(p)
	return nil
}

func fetchVersions(p *probe) {
	for v := int16(4); v <= 12; v++ {
		p.ask("offset 0", fetchOne(v, "fetch", 0, 0))
	}
	for v := int16(13); v <= 18; v++ {
		p.ask("offset 0", p.fetchID(v, "fetch", 0, 0))
	}
}

func fetchOffsets(p *probe) {
	for _, offset := range []int64{2, 4, 11, 12, 13, 1 << 62, -1, -2, -100} {
		p.ask(fmt.Sprintf("offset %d", offset), fetchOne(12, "fetch", 0, offset))
	}
	p.ask("offset 1<<62", p.fetchID(17, "fetch", 0, 1<<62))
	p.ask("unknown topic", fetchOne(12, "nowhere", 0, 0))
	p.ask("invalid topic name", fetchOne(12, "a/b", 0, 0))
	p.ask("unknown partition", fetchOne(12, "fetch", 9, 0))
	p.ask("unknown partition", p.fetchID(17, "fetch", 9, 0))
	unknown := p.fetchID(17, "fetch", 0, 0)
	unknown.Topics[0].TopicID = [16]byte{1, 2, 3}
	p.ask("unknown topic id", unknown)
	unknown.Topics = append(unknown.Topics, p.fetchID(17, "fetch", 0, 0).Topics...)
	p.ask("unknown topic id and a good one", unknown)
	zero := p.fetchID(17, "fetch", 0, 0)
	zero.Topics[0].TopicID = [16]byte{}
	p.ask("topic id of zeros", zero)
	twice := fetchOne(12, "fetch", 0, 0)
	twice.Topics[0].Partitions = append(twice.Topics[0].Partitions, twice.Topics[0].Partitions[0])
	p.ask("the same partition twice", twice)
	for _, epoch := range []int32{0, 1, -2} {
		req := fetchOne(12, "fetch", 0, 0)
		req.Topics[0].Partitions[0].CurrentLeaderEpoch = epoch
		p.ask(fmt.Sprintf("current leader epoch %d", epoch), req)
	}
	for _, epoch := range []int32{0, 1} {
		req := fetchOne(12, "fetch", 0, 4)
		req.Topics[0].Partitions[0].LastFetchedEpoch = epoch
		p.ask(fmt.Sprintf("last fetched epoch %d", epoch), req)
	}
	follower := fetchOne(12, "fetch", 0, 0)
	follower.ReplicaID = 1
	p.ask("replica id 1", follower)
	follower.ReplicaID = 77
	p.ask("replica id 77", follower)
	committed := fetchOne(12, "fetch", 0, 0)
	committed.IsolationLevel = 1
	p.ask("read committed", committed)
	committed.IsolationLevel = 7
	p.ask("isolation level 7", committed)
	rack := fetchOne(12, "fetch", 0, 0)
	rack.Rack = "zone-z"
	p.ask("rack zone-z", rack)
}

func fetchLimits(p *probe) {
	limits := func(label string, maxBytes, partitionBytes int32) {
		req := fetchOne(12, "fetch", 0, 0)
		req.MaxBytes, req.Topics[0].Partitions[0].PartitionMaxBytes = maxBytes, partitionBytes
		p.ask(fmt.Sprintf("%s: max bytes %d, partition max bytes %d", label, maxBytes, partitionBytes), req)
	}
	limits("batches of about 1100 bytes", 1, 1)
	limits("batches of about 1100 bytes", 1<<20, 10)
	limits("batches of about 1100 bytes", 10, 1<<20)
	limits("batches of about 1100 bytes", 1<<20, 1500)
	limits("batches of about 1100 bytes", 1500, 1<<20)
	limits("nothing", 0, 0)
	limits("nothing", 1<<20, 0)
	limits("negative", -1, 1<<20)
	limits("negative", 1<<20, -1)
	old := fetchOne(4, "fetch", 0, 0)
	old.MaxBytes, old.Topics[0].Partitions[0].PartitionMaxBytes = 1, 1
	p.ask("max bytes 1, partition max bytes 1", old)
	two := fetchOne(12, "fetch", 0, 0)
	second := two.Topics[0].Partitions[0]
	second.Partition = 1
	two.Topics[0].Partitions = append(two.Topics[0].Partitions, second)
	if _, err := p.quiet(p.produce(12, -1, "fetch", 1, ofN(1).bytes())); err != nil {
		p.say("produce: %v", err)
	}
	two.Topics[0].Partitions[0].PartitionMaxBytes, two.Topics[0].Partitions[1].PartitionMaxBytes = 10, 10
	p.ask("two partitions, partition max bytes 10 each", two)
}

func fetchWaits(p *probe) {
	end := fetchOne(12, "fetch", 0, 12)
	end.MaxWaitMillis, end.MinBytes = 500, 1
	p.timed("at the end, max wait 500, min bytes 1", end)
	end.MinBytes = 0
	p.timed("at the end, max wait 500, min bytes 0", end)
	some := fetchOne(12, "fetch", 0, 0)
	some.MaxWaitMillis, some.MinBytes = 500, 1<<20
	p.timed("3 KB there, max wait 500, min bytes 1 MiB", some)
	bad := fetchOne(12, "fetch", 0, 99)
	bad.MaxWaitMillis, bad.MinBytes = 500, 1
	p.timed("out of range, max wait 500, min bytes 1", bad)
	gone := fetchOne(12, "nowhere", 0, 0)
	gone.MaxWaitMillis, gone.MinBytes = 500, 1
	p.timed("unknown topic, max wait 500, min bytes 1", gone)
	none := fetchOne(12, "fetch", 0, 0)
	none.Topics, none.MaxWaitMillis, none.MinBytes = nil, 500, 1
	p.timed("no topics, no session, max wait 500, min bytes 1", none)
	negative := fetchOne(12, "fetch", 0, 12)
	negative.MaxWaitMillis, negative.MinBytes = -1, 1
	p.timed("at the end, max wait -1, min bytes 1", negative)
}

func fetchSessions(p *probe) {
	session := func(label string, id, epoch int32, req *kmsg.FetchRequest) int32 {
		req.SessionID, req.SessionEpoch = id, epoch
		resp, err := p.quiet(req)
		if err != nil {
			p.say("%s → %v", label, err)
			return 0
		}
		r := resp.(*kmsg.FetchResponse)
		got := r.SessionID
		if got != 0 {
			r.SessionID = 1 // random
		}
		p.say("%s [Fetch v%d] → %s", label, req.Version, render(r))
		return got
	}
	none := func() *kmsg.FetchRequest { r := fetchOne(12, "fetch", 0, 0); r.Topics = nil; return r }
	session("unknown session id, epoch 5", 99, 5, fetchOne(12, "fetch", 0, 0))
	session("unknown session id, epoch 0", 99, 0, fetchOne(12, "fetch", 0, 0))
	session("session id 0, epoch 5", 0, 5, fetchOne(12, "fetch", 0, 0))
	id := session("new session at the end", 0, 0, fetchOne(12, "fetch", 0, 12))
	session("next, nothing changed", id, 1, none())
	session("the same epoch again", id, 1, none())
	session("an epoch skipped", id, 9, none())
	session("next with a new offset 8", id, 2, fetchOne(12, "fetch", 0, 8))
	session("next, the same offset kept", id, 3, none())
	session("add an unknown topic", id, 4, fetchOne(12, "nowhere", 0, 0))
	session("next, the unknown topic kept", id, 5, none())
	session("session of names asked with ids", id, 6, p.fetchID(17, "fetch", 0, 0))
	session("same epoch, by names", id, 6, none())
	id = session("new session at the end", 0, 0, fetchOne(12, "fetch", 0, 12))
	forget := none()
	f := kmsg.NewFetchRequestForgottenTopic()
	f.Topic, f.Partitions = "fetch", []int32{0}
	forget.ForgottenTopics = append(forget.ForgottenTopics, f)
	session("forget the only partition", id, 1, forget)
	session("next, nothing left", id, 2, none())
	id = session("new session at the end", 0, 0, fetchOne(12, "fetch", 0, 12))
	session("close it", id, -1, fetchOne(12, "fetch", 0, 12))
	session("after it is closed", id, 1, none())
	ids := session("new session by ids", 0, 0, p.fetchID(17, "fetch", 0, 12))
	unknown := p.fetchID(17, "fetch", 0, 0)
	unknown.Topics[0].TopicID = [16]byte{9}
	session("add an unknown id", ids, 1, unknown)
	bare := p.fetchID(17, "fetch", 0, 0)
	bare.Topics = nil
	session("next, nothing changed", ids, 2, bare)
}

func probeListOffsets(p *probe) error {
	if err := p.topic("offsets", 1); err != nil {
		return err
	}
	specials := []int64{-1, -2, -3, -4, -5, -6, -7, -100, 0, 1 << 62}
	for _, ts := range specials {
		p.ask(fmt.Sprintf("empty topic, timestamp %d", ts), listOffsets(11, "offsets", 0, ts, 0))
	}
	base := int64(1_500_000_000_000)
	for i, first := range []int64{base, base + 5000, base + 1000} {
		b := ofN(3)
		b.firstTs, b.maxTs = ptr(first), ptr(first+20)
		b.records[1].tsDelta, b.records[2].tsDelta = 20, 10
		b.gzip = i == 1
		if _, err := p.quiet(p.produce(12, -1, "offsets", 0, b.bytes())); err != nil {
			return err
		}
	}
	for _, ts := range append(specials, base-1, base, base+1, base+15, base+20, base+21, base+1005, base+5010, base+5020, base+5021) {
		p.ask(fmt.Sprintf("timestamp %d", ts), listOffsets(11, "offsets", 0, ts, 0))
	}
	for v := int16(1); v <= 11; v++ {
		for _, ts := range specials[:6] {
			p.ask(fmt.Sprintf("timestamp %d", ts), listOffsets(v, "offsets", 0, ts, 0))
		}
	}
	for _, isolation := range []int8{1, 5} {
		for _, ts := range []int64{-1, -2, -3, base} {
			p.ask(fmt.Sprintf("isolation level %d, timestamp %d", isolation, ts), listOffsets(11, "offsets", 0, ts, isolation))
		}
	}
	p.ask("unknown topic", listOffsets(11, "nowhere", 0, -1, 0))
	p.ask("unknown partition", listOffsets(11, "offsets", 5, -1, 0))
	p.ask("unknown partition", listOffsets(1, "offsets", 5, -1, 0))
	p.ask("empty topic name", listOffsets(11, "", 0, -1, 0))
	twice := listOffsets(11, "offsets", 0, -1, 0)
	twice.Topics[0].Partitions = append(twice.Topics[0].Partitions, twice.Topics[0].Partitions[0])
	p.ask("the same partition twice", twice)
	for _, epoch := range []int32{0, 1} {
		req := listOffsets(11, "offsets", 0, -1, 0)
		req.Topics[0].Partitions[0].CurrentLeaderEpoch = epoch
		p.ask(fmt.Sprintf("current leader epoch %d", epoch), req)
	}
	replica := listOffsets(11, "offsets", 0, -1, 0)
	replica.ReplicaID = -2
	p.ask("replica id -2 (debugging)", replica)
	for _, epoch := range []int32{-1, 0, 1, 5} {
		req := kmsg.NewPtrOffsetForLeaderEpochRequest()
		req.Version = 4
		t := kmsg.NewOffsetForLeaderEpochRequestTopic()
		t.Topic = "offsets"
		q := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		q.CurrentLeaderEpoch, q.LeaderEpoch = -1, epoch
		t.Partitions = append(t.Partitions, q)
		req.Topics = append(req.Topics, t)
		p.ask(fmt.Sprintf("leader epoch %d", epoch), req)
		req.Topics[0].Partitions[0].CurrentLeaderEpoch = 3
		p.ask(fmt.Sprintf("leader epoch %d, current 3", epoch), req)
		if epoch == 0 {
			req.Topics[0].Partitions[0].Partition = 8
			p.ask("unknown partition", req)
		}
	}
	return nil
}
