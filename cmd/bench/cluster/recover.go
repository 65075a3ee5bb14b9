package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/cmd/agentproc"
)

// end is one way in which a leader ends.
type end struct {
	name string
	end  func(*agentproc.Agent)
	back func(*agentproc.Agent) // undoes it, so that the process can be stopped
}

var ends = []end{
	{"is killed (SIGKILL): until the next acknowledgement", (*agentproc.Agent).Kill, func(*agentproc.Agent) {}},
	{"hangs (SIGSTOP): until the next acknowledgement", func(a *agentproc.Agent) { a.Signal(syscall.SIGSTOP) },
		func(a *agentproc.Agent) { a.Signal(syscall.SIGCONT) }},
	{"is told to stop (SIGTERM): longest time between two acknowledgements", func(a *agentproc.Agent) { a.Signal(syscall.SIGTERM) },
		func(*agentproc.Agent) {}},
}

// recoveries ends the leader of a fresh cluster, again and again, and answers how long nothing was acknowledged by an agent that
// stays. What an end does to the clients of that agent itself is not in it: they have other agents to go to.
func recoveries(ctx context.Context, p plan, b *bed, journal string, how end) (took []time.Duration, err error) {
	for round := range p.rounds {
		d, err := recoverOnce(ctx, p, b, journal, how, fmt.Sprintf("%s-%c-%d", journal, how.name[3], round))
		if err != nil {
			return nil, err
		}
		took = append(took, d)
	}
	return took, nil
}

func recoverOnce(ctx context.Context, p plan, b *bed, journal string, how end, name string) (took time.Duration, err error) {
	out, err := os.Create(filepath.Join(b.dir, name+".log"))
	if err != nil {
		return 0, err
	}
	defer out.Close()
	var agents []*agentproc.Agent
	defer func() {
		for _, a := range agents {
			a.Kill()
		}
	}()
	for range 3 {
		a, err := agentproc.Start(ctx, agentproc.Options{
			Binary: p.leat, Log: out, Store: b.minio.S3URL(name), Args: []string{"--journal", b.journal(journal, name), "--log-level", "warn"},
		})
		if err != nil {
			return 0, err
		}
		agents = append(agents, a)
	}
	leader, stays, err := split(ctx, agents)
	if err != nil {
		return 0, err
	}
	acks, err := produceAt(ctx, stays)
	if err != nil {
		return 0, err
	}
	defer acks.stop()
	if err := acks.more(ctx, 50); err != nil {
		return 0, err
	}
	began := time.Now()
	how.end(leader)
	defer how.back(leader)
	if err := acks.after(ctx, began.Add(5*time.Second)); err != nil {
		return 0, err
	}
	return acks.longest(began), nil
}

// split finds the metadata leader, and another agent.
func split(ctx context.Context, agents []*agentproc.Agent) (leader, stays *agentproc.Agent, err error) {
	for _, a := range agents {
		m, err := a.Metrics(ctx)
		if err != nil {
			return nil, nil, err
		}
		if m.Sum("leat_metadata_leading") == 1 {
			leader = a
		} else {
			stays = a
		}
	}
	if leader == nil || stays == nil {
		return nil, nil, errors.New("no agent says that it is the metadata leader")
	}
	return leader, stays, nil
}

// acks is the moments at which records were acknowledged that one client sent, one after another.
type acks struct {
	stop func()

	mu    sync.Mutex
	began []time.Time // when each record was sent
	ended []time.Time // when it was acknowledged
	err   error
}

// produceAt sends records to one agent, whoever leads their partition: any agent takes any record.
func produceAt(ctx context.Context, agent *agentproc.Agent) (*acks, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(agent.Address))
	if err != nil {
		return nil, err
	}
	topic, err := ownTopic(ctx, cl, agent)
	if err != nil {
		cl.Close()
		return nil, err
	}
	cl.Close()
	if cl, err = kgo.NewClient(kgo.SeedBrokers(agent.Address), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	a := &acks{}
	var sending sync.WaitGroup
	sending.Go(func() {
		for ctx.Err() == nil {
			began := time.Now()
			err := cl.ProduceSync(ctx, &kgo.Record{Topic: topic.name, Partition: topic.partition, Value: []byte("x")}).FirstErr()
			a.mu.Lock()
			if err == nil {
				a.began, a.ended = append(a.began, began), append(a.ended, time.Now())
			} else if ctx.Err() == nil {
				a.err = err
			}
			a.mu.Unlock()
		}
	})
	a.stop = func() {
		cancel()
		sending.Wait()
		cl.Close()
	}
	return a, nil
}

// place is a partition that an agent leads.
type place struct {
	name      string
	partition int32
}

// ownTopic makes a topic and finds a partition of it that the client's agent leads, so that no client has to go elsewhere.
func ownTopic(ctx context.Context, cl *kgo.Client, agent *agentproc.Agent) (place, error) {
	create := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "acks", 64, 1
	create.Topics = append(create.Topics, topic)
	create.TimeoutMillis = 10_000
	if _, err := create.RequestWith(ctx, cl); err != nil {
		return place{}, err
	}
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = kmsg.StringPtr("acks")
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return place{}, err
	}
	for _, b := range resp.Brokers {
		if fmt.Sprintf("%s:%d", b.Host, b.Port) != agent.Address {
			continue
		}
		for _, part := range resp.Topics[0].Partitions {
			if part.Leader == b.NodeID {
				return place{"acks", part.Partition}, nil
			}
		}
	}
	return place{}, errors.New("the agent leads none of 64 partitions")
}

// more waits for n further acknowledgements.
func (a *acks) more(ctx context.Context, n int) error {
	want := a.count() + n
	return a.until(ctx, func() bool { return len(a.ended) >= want })
}

// after waits for one that was asked for after a moment.
func (a *acks) after(ctx context.Context, at time.Time) error {
	return a.until(ctx, func() bool { return len(a.began) > 0 && a.began[len(a.began)-1].After(at) })
}

func (a *acks) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.ended)
}

func (a *acks) until(ctx context.Context, holds func() bool) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		a.mu.Lock()
		done, err := holds(), a.err
		a.mu.Unlock()
		switch {
		case err != nil:
			return fmt.Errorf("produce: %w", err)
		case done:
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// longest is the longest time without an acknowledgement since a moment: the first one counts from that moment.
func (a *acks) longest(since time.Time) (longest time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last := since
	for _, at := range a.ended {
		if at.After(since) {
			longest, last = max(longest, at.Sub(last)), at
		}
	}
	return longest
}
