package produce

import (
	"context"
	"fmt"
	"time"

	"github.com/leat-stream/leat/metadata/state"
)

// commitBatch is how many objects one call to the metadata decides at most.
const commitBatch = 64

// commit decides objects in seal order, which keeps a producer's pipelined batches in sequence. While one call is on its
// way, whatever gets stored meanwhile gathers for the next. It ends with ctx, or when the session is over.
func (p *Producer) commit(ctx context.Context) (err error) {
	var next *object // taken from sealed; the first one not decided yet
	defer func() {
		if next != nil {
			<-next.uploaded
			p.refuse(next, err)
		}
	}()
	for {
		if next == nil {
			select {
			case o, more := <-p.sealed:
				if !more {
					return context.Cause(ctx)
				}
				next = o
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		<-next.uploaded // bounded by Config.UploadPatience
		objects := []*object{next}
		objects, next = p.gatherStored(objects)
		if err := p.decide(ctx, objects); err != nil {
			return err
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
		default:
			p.acknowledge(o, results[i].Batches)
		}
	}
	return err
}

// propose asks the metadata for offsets and checks that its answer fits.
func (p *Producer) propose(ctx context.Context, objects []*object) ([]state.Result, error) {
	ops := make([]state.Op, len(objects))
	for i, o := range objects {
		if o.err != nil {
			ops[i] = state.SkipObject{}
			continue
		}
		ops[i] = state.CommitObject{Attempt: o.name.Attempt, Size: o.body.Size(), Runs: o.runs}
	}
	began := time.Now()
	results, err := p.session.DoObjects(ctx, objects[0].name.Number, ops...)
	if err != nil {
		return nil, fmt.Errorf("commit objects %d to %d: %w", objects[0].name.Number, objects[len(objects)-1].name.Number, err)
	}
	p.metrics.commitSeconds.Observe(time.Since(began).Seconds())
	for i, o := range objects {
		if o.err == nil && (results[i].Code != state.CodeOK || len(results[i].Batches) != len(o.items)) {
			return nil, fmt.Errorf("commit object %d: metadata answered code %d with %d batches for %d",
				o.name.Number, results[i].Code, len(results[i].Batches), len(o.items))
		}
	}
	return results, nil
}

func (p *Producer) acknowledge(o *object, results []state.BatchResult) {
	now := time.Now()
	for i, it := range o.items {
		r := results[i]
		it.pending.resolve(it.slot, Outcome{Code: r.Code, Base: r.Base, LogStart: r.LogStart, AppendTime: it.appendTime})
		p.metrics.ackSeconds.Observe(now.Sub(it.at).Seconds())
		if r.Code == state.CodeOK && !r.Duplicate {
			p.metrics.records.Add(float64(it.batch.Count))
			p.metrics.bytes.Add(float64(len(it.bytes)))
		} else if r.Code != state.CodeOK {
			p.metrics.refused.Inc()
		}
	}
	p.metrics.objects.Inc()
	p.buf.release(o.held)
}

// refuse answers every batch of an object with err.
func (p *Producer) refuse(o *object, err error) {
	for _, it := range o.items {
		it.pending.resolve(it.slot, Outcome{Err: err, Base: -1, LogStart: -1, AppendTime: -1})
		p.metrics.refused.Inc()
	}
	p.buf.release(o.held)
}
