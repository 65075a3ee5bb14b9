package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/batch"
	"github.com/leat-stream/leat/agent/wire"
)

// client asks agents, as a Kafka client would. It belongs to one goroutine.
type client struct {
	w    *world
	name string
	rng  *rand.Rand
	conn uint64
}

func (w *world) client(name string, n uint64) *client {
	return &client{w: w, name: name, rng: rand.New(rand.NewPCG(w.seed, 1<<60|n)), conn: n << 16}
}

// fork is a client of its own for another goroutine.
func (c *client) fork(n int) *client {
	return &client{w: c.w, name: c.name, rng: rand.New(rand.NewPCG(c.rng.Uint64(), 1)), conn: c.conn + uint64(n)}
}

func (c *client) anyHost() string { return c.w.names[c.rng.IntN(len(c.w.names))] }

// pause is a time to think.
func (c *client) pause(most time.Duration) {
	wait(context.Background(), time.Millisecond+time.Duration(c.rng.Int64N(int64(most))))
}

var background = context.Background()

var errNoAnswer = errors.New("connection closed")

// ask sends a request and waits for its answer; by tells who gave it. An error means that the outcome is unknown, unless it is errRefused.
func ask[R kmsg.Response](c *client, connection context.Context, timeout time.Duration, address string, req kmsg.Request, order *turn) (resp R, by string, err error) {
	ctx, cancel := context.WithTimeout(connection, timeout)
	defer cancel()
	type answer struct {
		resp R
		by   string
	}
	what := name(req)
	body := req.AppendTo(nil)
	a, err := call(ctx, c.w, clientEnd(c.name), address, what, answersClients, func(ctx context.Context, l *life) (answer, error) {
		arrived := kmsg.RequestForKey(req.Key())
		arrived.SetVersion(req.GetVersion())
		if err := arrived.ReadFrom(body); err != nil {
			return answer{}, err
		}
		r := wire.Request{
			Header: wire.Header{Key: req.Key(), Version: req.GetVersion()}, Principal: wire.Anonymous, ClientID: c.name,
			Host: "10.0.0.1", Listener: listener, Zone: l.w.zone(l.host), Conn: c.conn, Mark: ctx.Value(markKey{}).(uint64),
		}
		finish := order.begin(ctx, func() func() wire.Response { return l.api.Begin(ctx, r, arrived) })
		if finish == nil {
			return answer{}, errNoAnswer
		}
		got := finish()
		if got.Close || got.NoReply {
			return answer{}, errNoAnswer
		}
		bytes := bytes.Join(got.Body, nil)
		if got.Body == nil {
			got.Message.SetVersion(req.GetVersion())
			bytes = got.Message.AppendTo(nil)
		}
		resp := req.ResponseKind()
		resp.SetVersion(req.GetVersion())
		if err := resp.ReadFrom(bytes); err != nil {
			c.w.violate("%s: the answer to %s cannot be decoded: %v", c.name, what, err)
			return answer{}, err
		}
		return answer{resp.(R), l.name}, nil
	})
	return a.resp, a.by, err
}

// name tells requests apart that are under way at the same time.
func name(req kmsg.Request) string {
	what := kmsg.NameForKey(req.Key())
	switch req := req.(type) {
	case *kmsg.ProduceRequest:
		records := req.Topics[0].Partitions[0].Records
		for r := range batch.View(records).Records(0) {
			return fmt.Sprintf("%s %s %s/%d", what, r.Value, req.Topics[0].Topic, req.Topics[0].Partitions[0].Partition)
		}
	case *kmsg.FetchRequest:
		p := req.Topics[0].Partitions[0]
		return fmt.Sprintf("%s %s/%d@%d", what, req.Topics[0].Topic, p.Partition, p.FetchOffset)
	}
	return what
}

// turn is a request's place among those of its connection: they begin in the order in which they were sent.
type turn struct{ before, begun chan struct{} }

// after is the turn that follows t; the first one follows nil.
func after(t *turn) *turn {
	next := &turn{begun: make(chan struct{})}
	if t != nil {
		next.before = t.begun
	}
	return next
}

// begin runs f when it is this request's turn; nil if the connection ends before. A request without a turn is alone on its connection.
func (t *turn) begin(ctx context.Context, f func() func() wire.Response) func() wire.Response {
	if t == nil {
		return f()
	}
	if t.before != nil {
		select {
		case <-t.before:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	finish := f()
	close(t.begun)
	return finish
}

// startClients begins the workload.
func (w *world) startClients() {
	n := uint64(0)
	start := func(name string, f func(*client)) {
		n++
		c := w.client(name, n)
		w.clients.Go(func() { f(c) })
	}
	for _, topic := range topicNames {
		start("setup-"+topic, func(c *client) { c.create(topic) })
	}
	for i := range 2 {
		start(fmt.Sprintf("producer%d", i), (*client).produceInSequence)
		start(fmt.Sprintf("reader%d", i), (*client).read)
		start(fmt.Sprintf("lister%d", i), (*client).list)
		start(fmt.Sprintf("admin%d", i), (*client).administer)
		start(fmt.Sprintf("committer%d", i), (*client).commitAlone)
		start(fmt.Sprintf("member%d", i), (*client).consume)
	}
	start("writer", (*client).writeInOrder)
}

const partitions = 2

var topicNames = []string{"t0", "t1"}

// create makes a topic that lasts.
func (c *client) create(topic string) {
	for !c.w.gone.Load() {
		code, err := c.createTopic(topic, c.anyHost())
		if err == nil && (code == 0 || code == kerr.TopicAlreadyExists.Code) {
			return
		}
		c.pause(200 * time.Millisecond)
	}
}

func (c *client) createTopic(topic, host string) (int16, error) {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = 7, 10_000
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = topic, partitions, 1
	req.Topics = append(req.Topics, t)
	resp, _, err := ask[*kmsg.CreateTopicsResponse](c, background, 15*time.Second, host, req, nil)
	if err != nil {
		return 0, err
	}
	return resp.Topics[0].ErrorCode, nil
}

// administer makes and deletes topics.
func (c *client) administer() {
	for !c.w.over() {
		c.pause(2 * time.Second)
		topic := fmt.Sprintf("x%d", c.rng.IntN(2))
		if chance(c.rng, 0.5) {
			op := c.w.history.begin(c.name, "topic "+topic, create)
			switch code, err := c.createTopic(topic, c.anyHost()); {
			case err == nil && code == 0:
				op.end(yes)
			case err == nil && code == kerr.TopicAlreadyExists.Code:
				op.end(no)
			}
			continue
		}
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.Version, req.TimeoutMillis = 5, 10_000
		req.TopicNames = []string{topic}
		op := c.w.history.begin(c.name, "topic "+topic, remove)
		resp, _, err := ask[*kmsg.DeleteTopicsResponse](c, background, 15*time.Second, c.anyHost(), req, nil)
		switch {
		case err == nil && resp.Topics[0].ErrorCode == 0:
			op.end(yes)
		case err == nil && resp.Topics[0].ErrorCode == kerr.UnknownTopicOrPartition.Code:
			op.end(no)
		}
	}
}

// produceInSequence is an idempotent producer: five batches of a partition are under way at most, each tried until it is acknowledged, at
// whatever agent.
func (c *client) produceInSequence() {
	id := int64(-1)
	for id < 0 && !c.w.gone.Load() {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.Version, req.TransactionTimeoutMillis = 4, 10_000
		resp, _, err := ask[*kmsg.InitProducerIDResponse](c, background, 15*time.Second, c.anyHost(), req, nil)
		if err == nil && resp.ErrorCode == 0 {
			id = resp.ProducerID
		} else {
			c.pause(200 * time.Millisecond)
		}
	}
	var all sync.WaitGroup
	for i := range 2 {
		p := c.fork(i + 1)
		where := partition{topicNames[c.rng.IntN(len(topicNames))], int32(i)}
		all.Go(func() { p.fill(where, id) })
	}
	all.Wait()
}

const inFlight = 5

// fill is what an idempotent producer does with one partition.
func (c *client) fill(where partition, id int64) {
	var all sync.WaitGroup
	acked := []chan struct{}{} // by number of the batch
	for sequence := int32(0); !c.w.over(); {
		n := len(acked)
		if n >= inFlight {
			<-acked[n-inFlight]
		}
		count := 1 + c.rng.IntN(3)
		values := make([]string, count)
		for i := range values {
			values[i] = fmt.Sprintf("p%d/%d", id, int(sequence)+i)
		}
		before := (<-chan struct{})(nil)
		if n > 0 {
			before = acked[n-1]
		}
		done := make(chan struct{})
		acked = append(acked, done)
		b, base := c.fork(16+n), sequence
		all.Go(func() {
			b.deliver(where, &batch.Producer{ID: id, Epoch: 0, BaseSequence: base}, values, before)
			if before != nil {
				<-before // a window is emptied from its beginning
			}
			close(done)
		})
		sequence += int32(count)
		c.pause(600 * time.Millisecond)
	}
	all.Wait()
}

// deliver tries until the batch is acknowledged. before is closed once those before it are.
func (c *client) deliver(where partition, producer *batch.Producer, values []string, before <-chan struct{}) {
	op := c.w.history.append(c.name, where, values)
	for !c.w.gone.Load() {
		head := true
		if before != nil {
			select {
			case <-before:
			default:
				head = false
			}
		}
		host := c.anyHost()
		p, by, err := c.produce(background, host, where, producer, values, time.Second+time.Duration(c.rng.Int64N(int64(20*time.Second))), nil)
		if err == nil {
			switch kerr.ErrorForCode(p.ErrorCode) {
			case nil:
				op.acked(p.BaseOffset, by)
				return
			case kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.InvalidProducerEpoch, kerr.InvalidRecord, kerr.CorruptMessage:
				if head {
					c.w.violate("%s: %v at %s: %v for %v, though everything before it is acknowledged", c.name, where, by, kerr.ErrorForCode(p.ErrorCode), values)
				}
			}
		}
		c.pause(300 * time.Millisecond)
	}
}

func (c *client) produce(connection context.Context, host string, where partition, producer *batch.Producer, values []string, timeout time.Duration, t *turn) (
	kmsg.ProduceResponseTopicPartition, string, error,
) {
	b := batch.NewBuilder(batch.Options{Producer: producer})
	for i, v := range values {
		b.Append(time.Now().UnixMilli()+int64(i), nil, []byte(v))
	}
	records, err := b.Build()
	if err != nil {
		panic(err)
	}
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = 9, -1, int32(timeout.Milliseconds())
	req.Topics = []kmsg.ProduceRequestTopic{{Topic: where.topic, Partitions: []kmsg.ProduceRequestTopicPartition{{Partition: where.number, Records: records}}}}
	resp, by, err := ask[*kmsg.ProduceResponse](c, connection, timeout, host, req, t)
	if err != nil {
		return kmsg.ProduceResponseTopicPartition{}, by, err
	}
	return resp.Topics[0].Partitions[0], by, nil
}

// writeInOrder is a producer without idempotence that never tries again, but has several requests under way on one connection: what it
// gets no acknowledgement for is written once, or not, and never before what it sent earlier.
func (c *client) writeInOrder() {
	var all sync.WaitGroup
	defer all.Wait()
	for n, lives := 0, 1; !c.w.over(); lives++ {
		host, last := c.anyHost(), (*turn)(nil)
		connection, hangUp := context.WithCancel(context.Background())
		conn := c.fork(lives)
		slots := make(chan struct{}, 4)
		for connection.Err() == nil && !c.w.over() {
			where := partition{topicNames[c.rng.IntN(len(topicNames))], int32(c.rng.IntN(partitions))}
			values := []string{fmt.Sprintf("w/%d", n)}
			op := c.w.history.append(c.name, where, values)
			op.stream = fmt.Sprintf("%s connection %d", c.name, lives)
			last = after(last)
			mine, one := last, *conn
			slots <- struct{}{}
			all.Go(func() {
				p, by, err := one.produce(connection, host, where, nil, values, 10*time.Second, mine)
				<-slots
				if err != nil || p.ErrorCode != 0 {
					hangUp()
					return
				}
				op.acked(p.BaseOffset, by)
			})
			n++
			c.pause(150 * time.Millisecond)
		}
		hangUp()
		c.pause(time.Second)
	}
}

// read reads all partitions, each time from some agent.
func (c *client) read() {
	at := map[partition]int64{}
	for !c.w.over() {
		where := partition{topicNames[c.rng.IntN(len(topicNames))], int32(c.rng.IntN(partitions))}
		next, _, _ := c.fetch(c.anyHost(), where, at[where], time.Duration(c.rng.Int64N(int64(time.Second))))
		at[where] = next
		if chance(c.rng, 0.1) {
			at[where] = 0 // what was seen once is there for ever
		}
		c.pause(300 * time.Millisecond)
	}
}

// fetch reads what follows an offset, and answers what comes next, and the watermark.
func (c *client) fetch(host string, where partition, from int64, patience time.Duration) (next, watermark int64, err error) {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxBytes, req.ReplicaID, req.SessionEpoch, req.MinBytes = 12, 1<<20, -1, -1, 1
	req.MaxWaitMillis = int32(patience.Milliseconds())
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = where.number, from, 1<<20
	req.Topics = []kmsg.FetchRequestTopic{{Topic: where.topic, Partitions: []kmsg.FetchRequestTopicPartition{p}}}
	known := c.w.history.ackedAt(where)
	resp, by, err := ask[*kmsg.FetchResponse](c, background, patience+20*time.Second, host, req, nil)
	if err != nil || resp.ErrorCode != 0 || len(resp.Topics) == 0 {
		return from, -1, errors.Join(err, errNoAnswer)
	}
	got := resp.Topics[0].Partitions[0]
	switch err := kerr.ErrorForCode(got.ErrorCode); {
	case err == kerr.OffsetOutOfRange:
		c.w.violate("%s: %v at %s: offset %d is out of range, though it was written before", c.name, where, by, from)
		return from, -1, err
	case err != nil:
		return from, -1, err
	}
	if got.HighWatermark < known[by] {
		c.w.violate("%s: %v: %s answers watermark %d after it acknowledged %d", c.name, where, by, got.HighWatermark, known[by])
	}
	next = from
	err = batch.Split(batch.Cut(got.RecordBatches), func(_ int, v batch.View) bool {
		for r, err := range v.Records(0) {
			if err != nil {
				c.w.violate("%s: %v at %s: batch at %d: %v", c.name, where, by, v.BaseOffset(), err)
				return false
			}
			c.w.seen(c.name+" at "+by, where, v.BaseOffset()+int64(r.OffsetDelta), string(r.Value))
		}
		next = max(next, v.LastOffset()+1)
		return true
	})
	return next, got.HighWatermark, err
}

// list asks for the ends of partitions, which must be fresh.
func (c *client) list() {
	for !c.w.over() {
		_, _ = c.end(partition{topicNames[c.rng.IntN(len(topicNames))], int32(c.rng.IntN(partitions))})
		c.pause(500 * time.Millisecond)
	}
}

// end is the offset that the next record of a partition gets.
func (c *client) end(where partition) (int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = 7, -1
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.Timestamp = where.number, -1
	req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: where.topic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{p}}}
	op := c.w.history.begin(c.name, "log "+where.String(), look)
	resp, _, err := ask[*kmsg.ListOffsetsResponse](c, background, 15*time.Second, c.anyHost(), req, nil)
	if err == nil {
		got := resp.Topics[0].Partitions[0]
		if err = kerr.ErrorForCode(got.ErrorCode); err == nil {
			op.end(got.Offset)
			return got.Offset, nil
		}
	}
	op.drop()
	return 0, err
}

func (c *client) coordinator(group string) (host string) {
	for !c.w.gone.Load() {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.Version, req.CoordinatorKey = 3, group
		resp, _, err := ask[*kmsg.FindCoordinatorResponse](c, background, 10*time.Second, c.anyHost(), req, nil)
		if err == nil && resp.ErrorCode == 0 {
			if host, _, _ := strings.Cut(resp.Host, ":"); c.w.hosts[host] != nil {
				return host
			}
		}
		if c.w.over() && err == nil {
			return c.anyHost()
		}
		c.pause(300 * time.Millisecond)
	}
	return c.anyHost()
}

// audit reads all logs from the beginning to the end, once everybody else is done.
func (c *client) audit() {
	for i := range len(topicNames) * partitions {
		where := partition{topicNames[i/partitions], int32(i % partitions)}
		for at := int64(0); !c.w.gone.Load(); {
			end, err := c.end(where)
			if err == nil && at >= end {
				break
			}
			at, _, _ = c.fetch(c.anyHost(), where, at, time.Second)
			c.pause(10 * time.Millisecond)
		}
	}
}
