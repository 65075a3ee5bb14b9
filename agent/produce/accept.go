package produce

import (
	"context"
	"errors"
	"fmt"

	"github.com/leat-stream/leat/agent/batch"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// Part is the records for one partition of a produce request, its name resolved and its topic's rules at hand.
type Part struct {
	TP      state.TopicPartition
	Records []byte      // exactly one batch (KIP-98), which Accept may change in place and keeps until the outcome is there
	Rules   batch.Rules // Now is set by Accept
	// SegmentBytes: a larger batch is refused with ErrLargerThanSegment, as Kafka does; 0: no limit.
	SegmentBytes int64
	// Recompress: store the batch with Codec and Level (the topic's compression.type is not "producer").
	Recompress bool
	Codec      batch.Codec
	Level      int
	// Err refuses the part before it is looked at: what the caller found out already.
	Err error
}

// The errors of accepting, beside those of agent/batch.
var (
	ErrTransactional     = errors.New("transactional batch without a transaction")
	ErrLargerThanSegment = errors.New("batch is larger than segment.bytes")
)

// Accept checks the parts and puts the good ones into the open buffer, in order; the others get their outcome at once. It
// returns as soon as they are in the buffer, or wait for their predecessors beside it (early.go), so that a connection's next
// request can follow; or it waits for room in the buffer. An error means that nothing was accepted: ctx ended while waiting for
// room, or the agent shuts down. While the producer is halted, every part's outcome is the reason.
func (p *Producer) Accept(ctx context.Context, parts []Part) (*Pending, error) {
	pending := newPending(len(parts))
	items := make([]item, 0, len(parts))
	now, halted := p.cfg.Clock().UnixMilli(), p.halt.why()
	for i := range parts {
		it, err := p.check(&parts[i], now)
		if err == nil {
			err = halted
		}
		if err != nil {
			pending.resolve(i, refusal(err))
			p.metrics.refused.Inc()
			continue
		}
		it.pending, it.slot = pending, i
		items = append(items, it)
	}
	if len(items) == 0 {
		return pending, nil
	}
	lacking := false
	if err := p.session.Ask(ctx, metadata.Local(), func(r state.Reader) {
		for i := range items {
			it := &items[i]
			it.accept, it.lacks = r.Index(), lacks(r, it)
			lacking = lacking || it.lacks
		}
	}); err != nil {
		return nil, err
	}
	if err := p.buf.add(ctx, items); err != nil {
		return nil, fmt.Errorf("%w: %w", metadata.ErrNotApplied, err)
	}
	if lacking && p.buf.lobby.n.Load() > 0 {
		// What was committed between the look above and an early batch's coming into the lobby woke nobody. (Should ctx end
		// right now, the batch is waited for in vain and decided in time.)
		_ = p.session.Ask(ctx, metadata.Local(), func(r state.Reader) {
			for i := range items {
				if items[i].lacks {
					p.buf.recheck(r, items[i].tp)
				}
			}
		})
	}
	return pending, nil
}

// check validates one batch once and for all, and rewrites it where the topic asks for it.
func (p *Producer) check(part *Part, now int64) (item, error) {
	if part.Err != nil {
		return item{}, part.Err
	}
	v, err := batch.Single(part.Records)
	if err != nil {
		return item{}, err
	}
	if v.Attributes().Transactional() {
		return item{}, ErrTransactional
	}
	rules := part.Rules
	rules.Now = now
	info, err := batch.Validate(v, rules)
	if err != nil {
		return item{}, err
	}
	v.Accept(info)
	if part.Recompress && v.Attributes().Codec() != part.Codec {
		if v, err = batch.Recompress(v, part.Codec, part.Level); err != nil {
			return item{}, err
		}
		if rules.MaxBytes > 0 && int64(len(v)) > rules.MaxBytes { // it may have grown
			return item{}, &batch.Error{Kind: batch.TooLarge, Message: fmt.Sprintf(
				"the record batch has %d bytes once compressed with %s, at most %d are allowed", len(v), part.Codec, rules.MaxBytes)}
		}
	}
	if part.SegmentBytes > 0 && int64(len(v)) > part.SegmentBytes {
		return item{}, fmt.Errorf("%w: %d bytes, at most %d", ErrLargerThanSegment, len(v), part.SegmentBytes)
	}
	appendTime := int64(-1)
	if info.TimestampType == batch.LogAppendTime {
		appendTime = now
	}
	it := item{
		tp: part.TP, bytes: v, appendTime: appendTime,
		batch: state.Batch{
			Len: int32(len(v)), Attributes: int16(v.Attributes()), Count: v.Count(), MaxTimestamp: info.MaxTimestamp,
			ProducerID: v.ProducerID(), ProducerEpoch: v.ProducerEpoch(), FirstSequence: v.BaseSequence(),
		},
	}
	switch {
	case it.batch.ProducerID < 0: // every negative id means none, whatever stands in epoch and sequence
		it.batch.ProducerID, it.batch.ProducerEpoch, it.batch.FirstSequence = batch.NoProducerID, batch.NoProducerEpoch, batch.NoSequence
	case it.batch.ProducerEpoch < 0:
		return item{}, &batch.Error{Kind: batch.InvalidRecord, Message: fmt.Sprintf(
			"invalid producer epoch %d in record batch with producerId %d", it.batch.ProducerEpoch, it.batch.ProducerID)}
	}
	return it, nil
}
