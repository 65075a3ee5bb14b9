package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leat-stream/leat/cmd/agentproc"
)

// The rows beside loads.
const (
	consumeWarm = "consume what was just written"
	consumeCold = "consume after the agent was started anew"
	rawPrefix   = "PUTs of such objects without Leat: "
)

// measure does everything once on a fresh agent and store.
func measure(ctx context.Context, p plan, store string, into results) (err error) {
	b, err := lay(ctx, p.leat, store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.clear()) }()
	var stored int64 // by the load that is read afterwards
	for i, l := range loads {
		m, err := b.produce(ctx, l, fmt.Sprintf("load-%d", i), p.length, into)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		if i == 1 {
			stored = m.bytes
		}
	}
	if err := b.acknowledge(ctx, p.length, into); err != nil {
		return err
	}
	read := func(row string) error {
		m, err := b.watch(func() (int64, error) { return consume(ctx, b.agent.Address, "load-1", stored) })
		if err != nil {
			return fmt.Errorf("%s: %w", row, err)
		}
		into.add(store, row, m, m.costs.agent)
		return nil
	}
	if err := read(consumeWarm); err != nil {
		return err
	}
	peak, err := agentproc.PeakMemory(b.agent.PID())
	if err != nil {
		return err
	}
	into.put(store, "peak memory", float64(peak)/(1<<20))
	if err := b.restart(ctx); err != nil {
		return err
	}
	return read(consumeCold)
}

// produce measures a load, and then raw PUTs of objects as large as those that the agent made of it.
func (b *bed) produce(ctx context.Context, l load, topic string, length time.Duration, into results) (measured, error) {
	if err := create(ctx, b.agent.Address, topic); err != nil {
		return measured{}, err
	}
	before, err := b.agent.Metrics(ctx)
	if err != nil {
		return measured{}, err
	}
	m, err := b.watch(func() (int64, error) { return send(ctx, b.agent.Address, topic, l, length) })
	if err != nil {
		return measured{}, err
	}
	after, err := b.agent.Metrics(ctx)
	if err != nil {
		return measured{}, err
	}
	into.add(b.store, l.name, m, m.costs.agent)
	made := after.Sub(before)
	objects := made.Sum("leat_produce_object_bytes_count")
	if objects == 0 {
		return measured{}, errors.New("the agent says that it made no object")
	}
	size := int(made.Sum("leat_produce_object_bytes_sum") / objects)
	into.put(b.store, "object size, "+l.name, float64(size)/(1<<10))
	raw, err := b.watch(func() (int64, error) { return putRaw(ctx, b.options.Store, size, length/2) })
	if err != nil {
		return measured{}, fmt.Errorf("raw PUTs: %w", err)
	}
	into.add(b.store, rawPrefix+l.name, raw, raw.costs.self)
	return m, nil
}

// acknowledge measures how long acknowledgements take.
func (b *bed) acknowledge(ctx context.Context, length time.Duration, into results) error {
	const topic = "acks"
	if err := create(ctx, b.agent.Address, topic); err != nil {
		return err
	}
	took, err := acknowledgements(ctx, b.agent.Address, topic, length)
	if err != nil {
		return fmt.Errorf("acknowledgements: %w", err)
	}
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	into.put(b.store, "ack p50", ms(took[len(took)/2]))
	into.put(b.store, "ack p99", ms(took[len(took)*99/100]))
	return nil
}
