package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/cmd/chaos/history"
)

// What is written to, and how much.
var topics = map[string]int32{"one": 1, "three": 3, "five": 5}

const (
	producers = 4
	burst     = 5                     // records that a producer sends at once
	rhythm    = 50 * time.Millisecond // between bursts
	readers   = 2
)

// groups that read everything, with the balancers of their members; nil is the client's default.
var groups = map[string]kgo.GroupBalancer{"eager": kgo.RangeBalancer(), "cooperative": nil}

const members = 3 // of each group

// crowd is all clients. They use kgo's defaults but for what is written where they are made.
type crowd struct {
	bed     *bed
	history *history.History
	notes   *notebook
	calm    time.Duration // how long a member or producer lives at least; twice as long at most

	lastProducer atomic.Int32
	lastMember   atomic.Int32
	empty        atomic.Int64 // answers without records, though there are some
	repeated     atomic.Int64 // direct requests that were answered with an error
	direct       atomic.Int64 // direct requests that were answered
}

func (c *crowd) client(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.bed.seeds()...)}, opts...)...)
}

// saw judges an error that an application got.
func (c *crowd) saw(who string, err error) {
	excused := c.notes.seen(who, err)
	switch {
	case inexcusable(err):
		c.history.Accuse("an application saw an error that no fault excuses: %s: %v", who, err)
	case !excused:
		c.history.Accuse("an application saw an error, though only what is graceful happened: %s: %v", who, err)
	}
}

// errRefused is an error of a record. No fault excuses it: kgo sends a record of an idempotent producer again until it is told
// that this makes no sense, and no agent can know that of a record that makes sense. (Clients that give up after a while, as
// Java's after 120 s, would see that error in a cluster of Apache Kafka too.)
var errRefused = errors.New("record refused")

// inexcusable tells whether an error says something false about the cluster.
func inexcusable(err error) bool {
	var loss *kgo.ErrDataLoss
	for _, never := range []error{
		errRefused, kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.OffsetOutOfRange, kerr.CorruptMessage,
		kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.InvalidProducerEpoch,
	} {
		if errors.Is(err, never) {
			return true
		}
	}
	return errors.As(err, &loss)
}

// prepare makes the topics.
func (c *crowd) prepare(ctx context.Context) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	defer cl.Close()
	for topic, partitions := range topics {
		if _, err := kadm.NewClient(cl).CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
			return fmt.Errorf("create topic %s: %w", topic, err)
		}
	}
	return nil
}

// anyPlace draws a partition of any topic.
func anyPlace() history.Place {
	n := rand.Int32N(9)
	for _, topic := range []string{"one", "three", "five"} {
		if n < topics[topic] {
			return history.Place{Topic: topic, Partition: n}
		}
		n -= topics[topic]
	}
	return history.Place{Topic: "one", Partition: 0}
}

// produce sends records until ctx ends, and then waits for those on their way, as long as last. Now and then another producer takes
// over at once; an agent that does not answer the former one keeps nobody from going on.
func (c *crowd) produce(ctx, last context.Context) error {
	var finishing sync.WaitGroup // few: a producer lives for much longer than most faults last
	defer finishing.Wait()
	for ctx.Err() == nil {
		life, cancel := context.WithTimeout(ctx, c.calm+rand.N(c.calm))
		err := c.produceOnce(life, last, &finishing)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *crowd) produceOnce(ctx, last context.Context, finishing *sync.WaitGroup) error {
	id := c.lastProducer.Add(1)
	who := fmt.Sprintf("producer %d", id)
	cl, err := c.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ClientID(who),
		kgo.ProducerOnDataLossDetected(func(topic string, partition int32) {
			c.saw(who, fmt.Errorf("%w: the client believes that records of %s/%d were lost", errRefused, topic, partition))
		}))
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		for range burst {
			p := anyPlace()
			m, sent := c.history.Sends(p, id), time.Now()
			cl.Produce(last, &kgo.Record{Topic: p.Topic, Partition: p.Partition, Value: m.Value(p)}, func(r *kgo.Record, err error) {
				if err == nil {
					c.history.IsAcked(p, m, r.Offset, c.notes.ack(p, sent))
					return
				}
				c.history.IsRefused(p, m)
				c.saw(who, fmt.Errorf("%w: %s: %w", errRefused, p, err))
			})
		}
		wait(ctx, rhythm)
	}
	finishing.Go(func() {
		defer cl.Close()
		if err := cl.Flush(last); err != nil {
			c.history.Accuse("%s: records were neither acknowledged nor refused until the end: %v", who, err)
		}
	})
	return nil
}

// member reads in a group until ctx ends. Now and then it leaves, and another one joins.
func (c *crowd) member(ctx context.Context, group string) error {
	for ctx.Err() == nil {
		life, cancel := context.WithTimeout(ctx, c.calm+rand.N(c.calm))
		err := c.memberOnce(life, group)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *crowd) memberOnce(ctx context.Context, group string) error {
	who := fmt.Sprintf("member %d of %s", c.lastMember.Add(1), group)
	opts := []kgo.Opt{
		kgo.ConsumerGroup(group), kgo.ConsumeTopics("one", "three", "five"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.ClientID(who), kgo.AutoCommitInterval(time.Second),
		kgo.AutoCommitCallback(func(_ *kgo.Client, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
			c.committed(group, who, req, resp, err)
		}),
	}
	if balancer := groups[group]; balancer != nil {
		opts = append(opts, kgo.Balancers(balancer))
	}
	cl, err := c.client(opts...)
	if err != nil {
		return err
	}
	defer cl.Close()
	for {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil && fetches.NumRecords() == 0 {
			return nil
		}
		fetches.EachError(func(topic string, partition int32, err error) {
			if !errors.Is(err, ctx.Err()) {
				c.saw(who, fmt.Errorf("%s/%d: %w", topic, partition, err))
			}
		})
		fetches.EachRecord(func(r *kgo.Record) {
			c.history.IsGiven(group, history.Place{Topic: r.Topic, Partition: r.Partition}, r.Offset, r.Value, who, c.notes.since())
		})
	}
}

// committed notes what a member's commit was answered. One that fails is tried again by the client with its next commit, which
// no application sees.
func (c *crowd) committed(group, who string, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
	if errors.Is(err, context.Canceled) { // another commit took its place
		return
	}
	if err != nil {
		c.notes.note("%s: commit: %v", who, err)
		return
	}
	good := map[history.Place]bool{}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				c.notes.note("%s: commit of %s/%d: %v", who, t.Topic, p.Partition, err)
				continue
			}
			good[history.Place{Topic: t.Topic, Partition: p.Partition}] = true
		}
	}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			if at := (history.Place{Topic: t.Topic, Partition: p.Partition}); good[at] {
				c.history.IsCommitted(group, at, p.Offset)
			}
		}
	}
}

// hopeless is how long members are given to read everything when a promise is known to be broken: twice a session.
const hopeless = 90 * time.Second

// run has everybody at work until stop ends; then producers finish, members read on until they have everything, and everybody
// ends, in this order, at last when last does.
func (c *crowd) run(stop, last context.Context) error {
	reading, end := context.WithCancel(last)
	defer end()
	var producing, others sync.WaitGroup
	var mu sync.Mutex
	var failures []error
	begin := func(wg *sync.WaitGroup, run func() error) {
		wg.Go(func() {
			if err := run(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failures = append(failures, err)
			}
		})
	}
	for range producers {
		begin(&producing, func() error { return c.produce(stop, last) })
	}
	for group := range groups {
		for range members {
			begin(&others, func() error { return c.member(reading, group) })
		}
	}
	agents, err := c.openDirect()
	if err != nil {
		failures = append(failures, err)
	}
	for range readers {
		begin(&others, func() error { c.readAfterAck(reading, agents); return nil })
	}
	begin(&others, func() error { c.watchGroups(reading, agents); return nil })
	producing.Wait()
	c.notes.note("everything is acknowledged or refused")
	for began := time.Now(); reading.Err() == nil && c.missing() > 0; {
		if c.history.IsBroken() && time.Since(began) > hopeless {
			break // what is missing may never come
		}
		wait(reading, 100*time.Millisecond)
	}
	c.notes.note("records that a group was not given: %d", c.missing())
	end()
	others.Wait()
	c.notes.note("reading everything at every agent")
	c.readAll(last, agents)
	for _, a := range agents {
		a.client.Close()
	}
	return errors.Join(failures...)
}

// missing is how many records some group was not given yet.
func (c *crowd) missing() (n int) {
	for group := range groups {
		n += c.history.Missing(group)
	}
	return n
}
