package produce

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// commitBatch is how many objects one call to the metadata decides at most.
const commitBatch = 64

// commit decides objects in seal order, which keeps a producer's pipelined batches in sequence. While one call is on its
// way, whatever gets stored meanwhile gathers for the next. It ends with ctx, or when the session is over; next is then an
// object that it took from sealed and did not decide, or nil.
func (p *Producer) commit(ctx context.Context) (next *object, err error) {
	for {
		if next == nil {
			select {
			case o, more := <-p.sealed:
				if !more {
					return nil, context.Cause(ctx)
				}
				next = o
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		<-next.uploaded // bounded by Config.UploadPatience, and by ctx
		if ctx.Err() != nil {
			return next, context.Cause(ctx)
		}
		objects := []*object{next}
		objects, next = p.gatherStored(objects)
		if err := p.decide(ctx, objects); err != nil {
			return next, err
		}
	}
}

// gatherStored adds the objects that follow, as long as they are stored already; the first one that is not is answered
// as the one to wait for next.
func (p *Producer) gatherStored(objects []*object) (stored []*object, next *object) {
	for len(objects) < commitBatch {
		select {
		case o, more := <-p.sealed:
			if !more {
				return objects, nil
			}
			select {
			case <-o.uploaded:
				objects = append(objects, o)
			default:
				return objects, o
			}
		default:
			return objects, nil
		}
	}
	return objects, nil
}

// decide commits or skips the objects and answers their batches; if it fails, all of them with the error.
func (p *Producer) decide(ctx context.Context, objects []*object) error {
	results, err := p.propose(ctx, objects)
	for i, o := range objects {
		switch {
		case err != nil:
			p.refuse(o, err)
		case o.err != nil:
			p.refuse(o, o.err)
		case results[i].Code != state.CodeOK:
			// Its commit fits no journal entry, which maxItems prevents, or this code is wrong. The number is decided: nothing of the object was committed, and the
			// next one can be; so can these batches, beside others in another object.
			err := fmt.Errorf("%w %d: code %s, %d batches: %w", errMalformed, o.name.Number, results[i].Code, len(o.items), metadata.ErrNotApplied)
			p.log.Error("the metadata refused an object as a whole", "error", err)
			p.refuse(o, err)
		case len(results[i].Batches) != len(o.items): // this code is wrong
			err := fmt.Errorf("%w %d: %d outcomes for %d batches", errMalformed, o.name.Number, len(results[i].Batches), len(o.items))
			p.log.Error("the metadata refused an object as a whole", "error", err)
			p.refuse(o, err)
		default:
			p.acknowledge(o, results[i].Batches)
		}
	}
	return err
}

var errMalformed = errors.New("the metadata refused object")

// propose asks the metadata for offsets.
func (p *Producer) propose(ctx context.Context, objects []*object) ([]state.Result, error) {
	ops := make([]state.Op, len(objects))
	began := time.Now()
	for i, o := range objects {
		if o.err != nil {
			ops[i] = state.SkipObject{}
			continue
		}
		p.metrics.queueSeconds.Observe(began.Sub(o.stored).Seconds())
		ops[i] = state.CommitObject{Attempt: o.name.Attempt, Size: o.body.Size(), Runs: o.runs}
	}
	results, err := p.session.DoObjects(ctx, objects[0].name.Number, ops...)
	if err != nil {
		return nil, fmt.Errorf("commit objects %d to %d: %w", objects[0].name.Number, objects[len(objects)-1].name.Number, err)
	}
	p.metrics.commitSeconds.Observe(time.Since(began).Seconds())
	return results, nil
}

func (p *Producer) acknowledge(o *object, results []state.BatchResult) {
	now := time.Now()
	var records, bytes int64 // of the topic of the item before
	tell := func(topic state.UUID) {
		if p.topics != nil && records > 0 {
			p.topics.Produced(topic, records, bytes)
		}
		records, bytes = 0, 0
	}
	for i, it := range o.items {
		if i > 0 && it.tp.Topic != o.items[i-1].tp.Topic {
			tell(o.items[i-1].tp.Topic)
		}
		r := results[i]
		outcome := Outcome{Code: r.Code, Base: r.Base, LogStart: r.LogStart, AppendTime: it.appendTime}
		if r.Code != state.CodeOK {
			outcome.AppendTime = -1
		}
		it.pending.resolve(it.slot, outcome)
		p.metrics.ackSeconds.Observe(now.Sub(it.at).Seconds())
		if r.Code == state.CodeOK && !r.Duplicate {
			p.metrics.records.Add(float64(it.batch.Count))
			p.metrics.bytes.Add(float64(len(it.bytes)))
			records += int64(it.batch.Count)
			bytes += int64(len(it.bytes))
		} else if r.Code != state.CodeOK {
			p.metrics.refused.Inc()
		}
	}
	tell(o.items[len(o.items)-1].tp.Topic)
	p.metrics.objects.Inc()
	p.buf.release(o.items)
}

// refuse answers every batch of an object with err.
func (p *Producer) refuse(o *object, err error) {
	p.refuseItems(o.items, err)
}

func (p *Producer) refuseItems(items []item, err error) {
	for _, it := range items {
		it.pending.resolve(it.slot, refusal(err))
	}
	p.metrics.refused.Add(float64(len(items)))
	p.buf.release(items)
}
