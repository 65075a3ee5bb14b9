package api

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/api/versions"
	"github.com/leat-stream/leat/agent/wire"
)

// balancer passes connections on to agents in turn, as a plain TCP balancer that speaks the PROXY protocol does: every client comes
// from 203.0.113.1.
type balancer struct {
	net.Listener
	conns sync.WaitGroup

	mu     sync.Mutex
	agents []string
	next   int
}

func newBalancer(t *testing.T) *balancer {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	return &balancer{Listener: l}
}

func (b *balancer) run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { _ = b.Close() })()
	defer b.conns.Wait()
	for {
		client, err := b.Accept()
		if err != nil {
			return nil
		}
		b.conns.Go(func() { b.carry(ctx, client) })
	}
}

func (b *balancer) carry(ctx context.Context, client net.Conn) {
	defer client.Close()
	b.mu.Lock()
	to := b.agents[b.next%len(b.agents)]
	b.next++
	b.mu.Unlock()
	agent, err := (&net.Dialer{}).DialContext(ctx, "tcp", to)
	if err != nil {
		return
	}
	defer agent.Close()
	header := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x21, 0x11, 0, 12, 203, 0, 113, 1, 127, 0, 0, 1, 0x30, 0x39, 0x23, 0x84)
	if _, err := agent.Write(header); err != nil {
		return
	}
	defer context.AfterFunc(ctx, func() { _, _ = client.Close(), agent.Close() })()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(client, agent)
		_ = client.(*net.TCPConn).CloseWrite()
	})
	_, _ = io.Copy(agent, client)
	_ = agent.(*net.TCPConn).CloseWrite()
	back.Wait()
}

// count is how many connections there were.
func (b *balancer) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.next
}

// front puts connections before an agent that end every age.
func (b *balancer) front(tw *twins, s *server, age time.Duration) {
	cfg := wire.Default()
	cfg.Listeners = []wire.Listener{{Name: "lb", Address: "127.0.0.1:0", Advertised: b.Addr().String(), Shared: true, Proxy: true}}
	cfg.MaxAge, cfg.Drain = age, 0
	front, err := wire.New(cfg, versions.Range, tw.world.log, prometheus.NewRegistry())
	must(s.t, err)
	must(s.t, front.Listen(tw.world.ctx))
	b.agents = append(b.agents, front.Addr("lb").String())
	s.Advertise, s.Shared = front.Advertised, front.Shared
	tw.world.run(func(ctx context.Context) error { return front.Serve(ctx, s) })
}

// TestAGroupWorksBehindOneAddress: producers and consumers of the usual kind, whose every connection lands on any agent and ends
// all the time.
func TestAGroupWorksBehindOneAddress(t *testing.T) {
	tw, b := newTwins(t), newBalancer(t)
	b.front(tw, tw.near, 400*time.Millisecond)
	b.front(tw, tw.far, 400*time.Millisecond)
	tw.world.run(b.run)
	tw.near.create("t", 6)

	const consumers, connections = 3, 40
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	var seen sync.Map // of values
	var produced, consumed, twice atomic.Int64
	more := make(chan struct{}, 1)
	client := func(o ...kgo.Opt) *kgo.Client {
		// Connections end so soon that one may do so before a slow client's first request on it is read, which passes for a refused login.
		cl, err := kgo.NewClient(append(o, kgo.SeedBrokers(b.Addr().String()), kgo.AlwaysRetryEOF())...)
		must(t, err)
		return cl
	}
	var members []*kgo.Client
	defer func() {
		for _, cl := range members {
			cl.Close()
		}
	}()
	join := func() {
		i := len(members)
		cl := client(kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.ClientID(fmt.Sprint("c", i)),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.HeartbeatInterval(200*time.Millisecond))
		members = append(members, cl)
		wg.Go(func() {
			for ctx.Err() == nil {
				fetches := cl.PollFetches(ctx)
				fetches.EachError(func(topic string, partition int32, err error) {
					if ctx.Err() == nil {
						t.Errorf("consumer %d, %s/%d: %v", i, topic, partition, err)
					}
				})
				fetches.EachRecord(func(r *kgo.Record) {
					if _, again := seen.LoadOrStore(string(r.Value), true); again {
						twice.Add(1)
						return
					}
					consumed.Add(1)
					select {
					case more <- struct{}{}:
					default:
					}
				})
			}
		})
	}
	for range consumers {
		join()
	}
	producer := client(kgo.DefaultProduceTopic("t"), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	defer producer.Close()
	passed := func() bool { return tw.count(kmsg.Heartbeat) > 0 && tw.count(kmsg.JoinGroup) > 0 }
	for i := 0; i < 100 || b.count() < connections || !passed(); i++ {
		if i%200 == 199 && !passed() { // all requests to join have happened to reach the coordinator: a further member has all join again
			join()
		}
		if err := producer.ProduceSync(ctx, kgo.StringRecord(fmt.Sprint("record ", i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
		produced.Add(1)
	}
	for consumed.Load() < produced.Load() {
		select {
		case <-more:
		case <-ctx.Done():
			t.Fatalf("%d of %d records came", consumed.Load(), produced.Load())
		}
	}
	described := tw.far.ask(edited(kmsg.NewPtrDescribeGroupsRequest(), func(r *kmsg.DescribeGroupsRequest) { r.Version, r.Groups = 5, []string{"g"} })).(*kmsg.DescribeGroupsResponse)
	for _, m := range described.Groups[0].Members {
		if m.ClientHost != "/203.0.113.1" || !strings.HasPrefix(m.ClientID, "c") {
			t.Errorf("member %s of host %s", m.ClientID, m.ClientHost)
		}
	}
	if len(described.Groups[0].Members) == 0 {
		t.Error("the group has no members")
	}
	t.Logf("%d records over %d connections, %d requests passed on, %d records delivered twice", produced.Load(), b.count(), len(tw.passed), twice.Load())
	cancel()
}
