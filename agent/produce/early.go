package produce

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// One idempotent producer may reach several agents at once: while its client follows a partition to another agent, or through
// a balancer. Then a batch may arrive here before its predecessor is committed there. Such a batch is early. It waits in the
// lobby of the buffer, before it is accepted, until
//
//   - its predecessor is accepted here, and it follows on it into the buffer;
//   - the local replica shows that its predecessor was committed, or that the topic is gone;
//   - it has waited for Config.PredecessorWait. Then a fresh look at the metadata decides (rule R7): accepted after all; or
//     refused with the code that it would get at commit; or, where the producer wrote to a deleted topic of that name and
//     so may begin anywhere (rule R6), the first that waits begins.
//
// Nothing waits behind an early batch: neither its connection, on which the predecessor may come yet, nor the other
// partitions of its request, only their common answer. Later batches of its producer and partition are early too, and follow.
// And nothing ever waits at commit, where objects could hold each other's predecessors.
//
// A batch whose predecessor is ahead of it in this agent's pipeline is not early. If that one is refused after all, since its
// object could not be stored, its followers are refused at commit as out of order. They are not taken back to wait: their
// client has to send the first one again anyhow, and sends all of them again in order.
//
// What a client makes of an out-of-order batch depends on whether it believes the predecessor acknowledged. If so, librdkafka
// ends the producer (rd_kafka_handle_Produce_error); this can happen to nobody here, since a fresh look and the commit see
// everything that was acknowledged. If not, Java sends both again under the same sequences (TransactionManager.canRetry), and
// librdkafka waits for what it has in flight and begins a new epoch. A new epoch makes a repetition look new, so nobody should be
// driven to it while the predecessor may still be committed by an agent that hangs: hence Config.PredecessorWait is longer
// than it takes to close the session of such an agent, and shorter than clients wait for an answer.

// enter puts a request's items into the buffer, or into the lobby. The caller holds mu, and signals.
func (b *buffer) enter(items []item, now time.Time) {
	for i := range items {
		it := &items[i]
		switch {
		case !it.idempotent():
			b.push(it, now)
		case !b.lobby.early(it):
			b.push(it, now)
			if b.lobby.n.Load() > 0 {
				b.follow(it.stream(), it.accept, now)
			}
		case b.lobby.come(it, now):
		default:
			b.turnAway(it, refusal(errCrowded))
		}
	}
}

// push appends one item.
func (b *buffer) push(it *item, now time.Time) {
	if it.idempotent() {
		b.lobby.entered(it)
	}
	it.at = now
	b.items = append(b.items, *it)
	b.bytes += int64(len(it.bytes))
}

// turnAway answers an item that is held, but in no object.
func (b *buffer) turnAway(it *item, o Outcome) {
	it.pending.resolve(it.slot, o)
	b.refused()
	b.unhold(int64(len(it.bytes)))
}

// follow moves the early batches of a stream into the buffer that are early no more. accept is the index that was applied
// at this time. The caller holds mu.
func (b *buffer) follow(of stream, accept uint64, now time.Time) {
	for {
		ready := b.lobby.pick(of, func(e *early) bool { return !b.lobby.early(&e.item) })
		if len(ready) == 0 {
			return
		}
		for _, e := range ready {
			e.accept = max(e.accept, accept)
			b.push(&e.item, now)
		}
		b.signal()
	}
}

// recheck looks at the early batches of a partition in the light of a newer state.
func (b *buffer) recheck(r state.Reader, tp state.TopicPartition) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, q := range slices.Clone(b.lobby.places[tp]) {
		b.reconsider(r, q.of)
	}
}

// recheckAll is recheck for every partition.
func (b *buffer) recheckAll(r state.Reader) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range slices.Clone(b.lobby.line) {
		b.reconsider(r, e.stream())
	}
}

// reconsider looks at one stream. The caller holds mu.
func (b *buffer) reconsider(r state.Reader, of stream) {
	b.lobby.measure(r, of)
	b.follow(of, r.Index(), time.Now())
}

// due answers the early batches that have waited long enough, and how long the next one has yet; 0 if there is none.
func (b *buffer) due(now time.Time) (over []*early, next time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lobby.due(now)
}

// decide ends the wait of early batches by a fresh state. It answers how many of them it refused.
func (b *buffer) decide(over []*early, r state.Reader) (refused int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range over {
		b.reconsider(r, e.stream())
		known := state.SequenceOf(r, e.batch.ProducerID, e.tp)
		if !e.gone && known.Deleted { // the first that waits may begin
			b.lobby.first(e).lacks = false
			b.follow(e.stream(), r.Index(), time.Now())
		}
		if e.gone {
			continue
		}
		view, _ := r.View(e.tp, 0, 0)
		o := Outcome{Code: state.CodeOutOfOrderSequence, Base: -1, LogStart: view.LogStart, AppendTime: -1}
		if !known.Known && !known.New {
			o.Code = state.CodeUnknownProducer
		}
		b.dismiss(e, o)
		refused++
	}
	b.admitWaiting()
	return refused
}

// dismiss refuses an early batch, unless it is gone. The caller holds mu, and lets others in.
func (b *buffer) dismiss(e *early, o Outcome) {
	for _, e := range b.lobby.pick(e.stream(), func(other *early) bool { return other == e }) {
		b.turnAway(&e.item, o)
	}
}

// dismissAll refuses early batches, but for those that are gone.
func (b *buffer) dismissAll(list []*early, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range list {
		b.dismiss(e, refusal(err))
	}
	b.admitWaiting()
}

// watch follows the metadata's changes until ctx ends: they are what most early batches wait for.
func (p *Producer) watch(ctx context.Context) {
	for change, err := range p.session.Watch(ctx, 0) {
		switch {
		case err != nil:
			return // the session is about to end as well; until then early batches wait for their time only
		case p.buf.lobby.n.Load() == 0:
			continue // whoever comes now looks at the state afterwards
		case change.Kind == state.ChangePartition:
			tp := state.TopicPartition{Topic: change.Topic, Partition: change.Partition}
			err = p.session.Ask(ctx, metadata.Local(), func(r state.Reader) { p.buf.recheck(r, tp) })
		case change.Kind == state.ChangeTopic, change.Kind == state.ChangeAll:
			err = p.session.Ask(ctx, metadata.Local(), p.buf.recheckAll)
		}
		if err != nil {
			return
		}
	}
}

// expire ends the wait of early batches in time, until ctx ends.
func (p *Producer) expire(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		over, next := p.buf.due(time.Now())
		if len(over) > 0 {
			p.judge(ctx, over)
			continue
		}
		if next == 0 {
			next = time.Hour
		}
		timer.Reset(next)
		select {
		case <-p.buf.lobby.arrived:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
}

// judge decides about early batches whose time is over. Without a fresh look none is refused for what it is: then the client
// may try again.
func (p *Producer) judge(ctx context.Context, over []*early) {
	patience, cancel := context.WithTimeoutCause(ctx, freshPatience, errNoFreshLook)
	defer cancel()
	refused := 0
	err := p.session.Ask(patience, metadata.Fresh(), func(r state.Reader) { refused = p.buf.decide(over, r) })
	if err != nil {
		p.buf.dismissAll(over, fmt.Errorf("%w: %w", metadata.ErrNotApplied, err))
	}
	p.metrics.missing.Add(float64(refused))
}

// freshPatience bounds the fresh look that ends a wait.
const freshPatience = 5 * time.Second

var errNoFreshLook = errors.New("the metadata did not answer in time")
