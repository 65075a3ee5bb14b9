package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/cmd/chaos/history"
)

// direct asks one agent, whatever clients are told about who leads what. A request is made once, so that an answer belongs to
// the question that was asked before it.
type direct struct {
	slot   *slot
	client *kgo.Client
	ids    map[string][16]byte // of topics; set by openDirect, as names
	names  map[[16]byte]string
}

func (c *crowd) openDirect() (all []*direct, err error) {
	for _, s := range c.bed.slots {
		cl, err := kgo.NewClient(kgo.SeedBrokers(s.options.Address), kgo.ClientID("direct"))
		if err != nil {
			return all, err
		}
		all = append(all, &direct{slot: s, client: cl, ids: map[string][16]byte{}, names: map[[16]byte]string{}})
	}
	resp, err := kmsg.NewPtrMetadataRequest().RequestWith(context.Background(), all[0].client)
	if err != nil {
		return all, fmt.Errorf("metadata: %w", err)
	}
	for _, d := range all {
		for _, t := range resp.Topics {
			d.ids[*t.Topic], d.names[t.TopicID] = t.TopicID, *t.Topic
		}
	}
	return all, nil
}

// ask makes one request of the agent; it waits for at most 15 s.
func (d *direct) ask(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	if d.slot.running() == nil {
		return nil, errAbsent
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	return d.client.SeedBrokers()[0].Request(ctx, req)
}

// end asks for the end of a log.
func (d *direct) end(ctx context.Context, p history.Place) (int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	part := kmsg.NewListOffsetsRequestTopicPartition()
	part.Partition, part.Timestamp = p.Partition, -1
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic, topic.Partitions = p.Topic, append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	resp, err := d.ask(ctx, req)
	if err != nil {
		return 0, err
	}
	topics := resp.(*kmsg.ListOffsetsResponse).Topics
	if len(topics) != 1 || len(topics[0].Partitions) != 1 {
		return 0, fmt.Errorf("strange answer: %v", topics)
	}
	answer := topics[0].Partitions[0]
	return answer.Offset, kerr.ErrorForCode(answer.ErrorCode)
}

// How many bytes of records one fetch asks for.
const (
	few  = 16 << 10
	many = 1 << 20
)

// fetch asks for records from an offset on.
func (d *direct) fetch(ctx context.Context, p history.Place, offset int64, bytes int32) (kgo.FetchPartition, error) {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 2000, 1, bytes
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.FetchOffset, part.PartitionMaxBytes = p.Partition, offset, bytes
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID, topic.Partitions = p.Topic, d.ids[p.Topic], append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	raw, err := d.ask(ctx, req)
	if err != nil {
		return kgo.FetchPartition{}, err
	}
	resp := raw.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return kgo.FetchPartition{}, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return kgo.FetchPartition{}, fmt.Errorf("strange answer: %v", resp.Topics)
	}
	got, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Offset: offset, Topic: p.Topic, Partition: p.Partition},
		&resp.Topics[0].Partitions[0], kgo.DefaultDecompressor(), nil)
	return got, got.Err
}

// committed asks for a group's offsets, -1 where there are none.
func (d *direct) committed(ctx context.Context, group string) (map[history.Place]int64, error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = group
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	req.Groups = append(req.Groups, g) // with no topics: all
	raw, err := d.ask(ctx, req)
	if err != nil {
		return nil, err
	}
	resp := raw.(*kmsg.OffsetFetchResponse)
	if len(resp.Groups) != 1 {
		return nil, errors.Join(fmt.Errorf("strange answer: %v", resp.Groups), kerr.ErrorForCode(resp.ErrorCode))
	}
	if err := kerr.ErrorForCode(resp.Groups[0].ErrorCode); err != nil {
		return nil, err
	}
	all := map[history.Place]int64{}
	for _, t := range resp.Groups[0].Topics {
		if t.Topic == "" { // from version 10 on
			t.Topic = d.names[t.TopicID]
		}
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, err
			}
			all[history.Place{Topic: t.Topic, Partition: p.Partition}] = p.Offset
		}
	}
	return all, nil
}

// answered counts a direct request, and tells whether it was answered.
func (c *crowd) answered(ctx context.Context, err error) bool {
	if err != nil {
		c.repeated.Add(1)
		wait(ctx, 50*time.Millisecond)
		return false
	}
	c.direct.Add(1)
	return true
}

// readAfterAck asks any agent for the end of a log, and for records before it: for those just acknowledged, and for old ones.
func (c *crowd) readAfterAck(ctx context.Context, agents []*direct) {
	for ctx.Err() == nil {
		wait(ctx, rand.N(20*time.Millisecond))
		d, p := agents[rand.IntN(len(agents))], anyPlace()
		if d.slot.running() == nil {
			continue
		}
		least := c.history.LeastEnd(p)
		end, err := d.end(ctx, p)
		if !c.answered(ctx, err) {
			continue
		}
		c.history.SaysEnd(p, end, least, d.slot.name)
		if end == 0 {
			continue
		}
		offset := max(least, 1) - 1
		if rand.IntN(3) == 0 {
			offset = rand.Int64N(end)
		}
		c.read(ctx, d, p, offset, few)
	}
}

// read fetches what is known to be there.
func (c *crowd) read(ctx context.Context, d *direct, p history.Place, offset int64, bytes int32) (next int64) {
	got, err := d.fetch(ctx, p, offset, bytes)
	if !c.answered(ctx, err) {
		return offset
	}
	if got.HighWatermark <= offset {
		c.history.Accuse("%s: %s answers a fetch of offset %d with watermark %d, after it said that the log ends behind it", p, d.slot.name, offset, got.HighWatermark)
	}
	if len(got.Records) == 0 {
		c.empty.Add(1)
	}
	for i, r := range got.Records {
		if want := offset + int64(i); r.Offset != want {
			c.history.Accuse("%s: %s answers a fetch of offset %d with offset %d in place of %d", p, d.slot.name, offset, r.Offset, want)
		}
		c.history.IsRead(p, r.Offset, r.Value, d.slot.name)
	}
	return offset + int64(len(got.Records))
}

// watchGroups asks any agent for the groups' offsets; those that do not coordinate a group do not answer.
func (c *crowd) watchGroups(ctx context.Context, agents []*direct) {
	for ctx.Err() == nil {
		for group := range groups {
			wait(ctx, rand.N(100*time.Millisecond))
			d := agents[rand.IntN(len(agents))]
			least := map[history.Place]int64{}
			for _, p := range c.history.Places() {
				least[p] = c.history.LeastCommitted(group, p)
			}
			all, err := d.committed(ctx, group)
			if err != nil {
				continue
			}
			for p, min := range least {
				offset, ok := all[p]
				if !ok {
					offset = 0
				}
				c.history.SaysCommitted(group, p, max(offset, 0), min, d.slot.name)
			}
		}
	}
}

// readAll reads everything from beginning to end, at every regular agent.
func (c *crowd) readAll(ctx context.Context, agents []*direct) {
	for _, d := range agents[:c.bed.plan.agents] {
		for _, p := range c.history.Places() {
			least := c.history.LeastEnd(p)
			end, err := d.end(ctx, p)
			for err != nil && ctx.Err() == nil {
				wait(ctx, 100*time.Millisecond)
				end, err = d.end(ctx, p)
			}
			if err != nil {
				c.history.Accuse("%s: %s does not say where the log ends: %v", p, d.slot.name, err)
				continue
			}
			c.history.SaysEnd(p, end, least, d.slot.name)
			next := int64(0)
			for next < end && ctx.Err() == nil {
				next = c.read(ctx, d, p, next, many)
			}
			if next < end {
				c.history.Accuse("%s: %s cannot be read beyond offset %d of %d in time", p, d.slot.name, next, end)
			}
		}
	}
}
