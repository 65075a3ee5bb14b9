package api

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/batch"
	"github.com/leat-stream/leat/agent/produce"
	"github.com/leat-stream/leat/agent/topicconfig"
	"github.com/leat-stream/leat/agent/topics"
	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/metadata/state"
)

// Produce, versions 3 to 13. 0 to 2 are announced, as Kafka does, so that old librdkafka keeps compression on; they are
// not served. acks=1 means the same as acks=all; acks=0 only skips the answer, and an error closes the connection.

// produceSlot is where one partition of a request finds its outcome.
type produceSlot struct{ topic, partition int }

// beginProduce accepts the batches, in order; finish waits for what becomes of them.
func beginProduce(ctx context.Context, s *Server, r wire.Request, req *kmsg.ProduceRequest) func() wire.Response {
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	if req.Acks < -1 || req.Acks > 1 {
		return refuseProduce(s, req, resp, kerr.InvalidRequiredAcks)
	}
	parts, slots := produceParts(ctx, s, r, req, resp)
	nudged := s.nudgeProducer(ctx, r, req.Acks, parts)
	pending, err := s.Producer.Accept(ctx, parts)
	if err != nil {
		s.Nudges.answered(nudged)
		return refuseProduce(s, req, resp, err)
	}
	return func() wire.Response {
		if nudged != nil {
			defer s.Nudges.answered(nudged)
		}
		patience := time.Duration(max(req.TimeoutMillis, 1)) * time.Millisecond
		wait, cancel := context.WithTimeout(ctx, min(patience, maxPatience))
		defer cancel()
		outcomes, err := pending.Wait(wait)
		if err != nil { // still open: the client must not take it for refused
			return refuseProduce(s, req, resp, kerr.RequestTimedOut)()
		}
		failed := false
		for i, slot := range slots {
			p := &resp.Topics[slot.topic].Partitions[slot.partition]
			fillProduced(p, outcomes[i])
			failed = failed || p.ErrorCode != 0
		}
		if req.Acks == 0 {
			return wire.Response{NoReply: !failed, Close: failed}
		}
		return wire.Response{Message: resp}
	}
}

// nudgeProducer refuses the parts that another agent should get, before any of their batches is accepted. With acks=0 a refusal could
// only be told by closing the connection, and the batch would be lost: such clients follow when they next ask for Metadata.
func (s *Server) nudgeProducer(ctx context.Context, r wire.Request, acks int16, parts []produce.Part) (fresh []*nudge) {
	if acks == 0 {
		return nil
	}
	g := s.guide(r, "")
	for i := range parts {
		p := &parts[i]
		if p.Err != nil {
			continue
		}
		_, u := g.better(p.TP)
		refused, f := s.Nudges.produce(ctx, r.Conn, p.TP, u, p.Records)
		if refused {
			p.Err = kerr.NotLeaderForPartition
		}
		if f != nil {
			fresh = append(fresh, f)
		}
	}
	return fresh
}

// maxPatience bounds the wait for an answer, whatever a client asks for.
const maxPatience = 15 * time.Minute

// produceParts resolves names and rules, and lays out the answer. A partition that is named twice is taken once, the last time, as
// Kafka does.
func produceParts(ctx context.Context, s *Server, r wire.Request, req *kmsg.ProduceRequest, resp *kmsg.ProduceResponse) ([]produce.Part, []produceSlot) {
	refs := make([]topics.Ref, len(req.Topics))
	for i, t := range req.Topics {
		refs[i] = topicRef(r.Version >= 13, t.Topic, t.TopicID)
		for _, p := range t.Partitions {
			refs[i].Partition = max(refs[i].Partition, p.Partition)
		}
	}
	found, errs := s.Catalog.Find(ctx, refs)
	type place struct {
		name      string
		id        [16]byte
		partition int32
	}
	count := 0
	for i := range req.Topics {
		count += len(req.Topics[i].Partitions)
	}
	seen := make(map[place]int, count)
	parts := make([]produce.Part, 0, count)
	slots := make([]produceSlot, 0, count)
	resp.Topics = make([]kmsg.ProduceResponseTopic, 0, len(req.Topics))
	for i, t := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Partitions = make([]kmsg.ProduceResponseTopicPartition, 0, len(t.Partitions))
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			part := partOf(found[i], errs[i], r.Version, p)
			at := place{name: t.Topic, id: t.TopicID, partition: p.Partition}
			if earlier, twice := seen[at]; twice {
				parts[earlier] = part
				continue
			}
			seen[at] = len(parts)
			parts = append(parts, part)
			slots = append(slots, produceSlot{topic: len(resp.Topics), partition: len(rt.Partitions)})
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition = p.Partition
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return parts, slots
}

// partOf is one partition's records with the rules of its topic.
func partOf(t topics.Found, err error, version int16, p kmsg.ProduceRequestTopicPartition) produce.Part {
	part := produce.Part{Records: p.Records, Err: err}
	if err != nil {
		return part
	}
	if p.Partition < 0 || p.Partition >= t.Partitions {
		part.Err = kerr.UnknownTopicOrPartition
		return part
	}
	c := t.Config
	part.TP = state.TopicPartition{Topic: t.ID, Partition: p.Partition}
	part.Rules = batch.Rules{
		Topic: t.Name, Partition: p.Partition, MaxBytes: int64(c.MaxMessageBytes), BeforeMaxMs: c.TimestampBeforeMaxMs,
		AfterMaxMs: c.TimestampAfterMaxMs, Compacted: c.Compact, ForbidZstd: version < 7,
	}
	if c.TimestampType == topicconfig.LogAppendTime {
		part.Rules.TimestampType = batch.LogAppendTime
	}
	part.SegmentBytes = int64(c.SegmentBytes)
	if c.Compression != "producer" { // that is none of the codecs
		if codec, err := batch.ParseCodec(c.Compression); err == nil {
			part.Recompress, part.Codec, part.Level = true, codec, c.CompressionLevel
		}
	}
	return part
}

// fillProduced writes one outcome.
func fillProduced(p *kmsg.ProduceResponseTopicPartition, o produce.Outcome) {
	p.BaseOffset, p.LogAppendTime, p.LogStartOffset = o.Base, o.AppendTime, o.LogStart
	if o.Err == nil {
		p.ErrorCode = stateCode(o.Code)
		return
	}
	p.ErrorCode = code(o.Err)
	p.ErrorMessage = message(o.Err)
	if e, ok := errors.AsType[*batch.Error](o.Err); ok && e.Message != "" {
		p.ErrorMessage = &e.Message
		for _, bad := range e.Records {
			record := kmsg.NewProduceResponseTopicPartitionErrorRecord()
			record.RelativeOffset, record.ErrorMessage = bad.Index, &bad.Message
			p.ErrorRecords = append(p.ErrorRecords, record)
		}
	}
}

// refuseProduce answers the same error for every partition, one that is named twice once.
func refuseProduce(s *Server, req *kmsg.ProduceRequest, resp *kmsg.ProduceResponse, err error) func() wire.Response {
	resp.Topics = nil
	for _, t := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		seen := make(map[int32]bool, len(t.Partitions))
		for _, p := range t.Partitions {
			if seen[p.Partition] {
				continue
			}
			seen[p.Partition] = true
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition = p.Partition
			fillProduced(&rp, produce.Outcome{Err: err, Base: -1, LogStart: -1, AppendTime: -1})
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return func() wire.Response {
		if req.Acks == 0 {
			return wire.Response{Close: true}
		}
		return wire.Response{Message: resp}
	}
}
