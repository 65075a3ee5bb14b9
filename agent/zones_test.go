package agent_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/objectstore/storetest/minioproc"
	"github.com/leat-stream/leat/objectstore/storetest/miniotest"
)

// gate is the way of one zone's agents to the bucket. It counts the objects of records that go through.
type gate struct {
	*httptest.Server

	mu      sync.Mutex
	written map[string]bool
	read    map[string]int // GETs by object
}

func newGate(t *testing.T, server *minioproc.Server) *gate {
	t.Helper()
	origin, err := url.Parse(server.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{written: map[string]bool{}, read: map[string]int{}}
	through := httputil.NewSingleHostReverseProxy(origin) // keeps the name that clients signed for
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, object, ok := strings.Cut(r.URL.Path, "/data/"); ok {
			g.mu.Lock()
			switch r.Method {
			case http.MethodGet:
				g.read[object]++
			case http.MethodPut:
				g.written[object] = true
			}
			g.mu.Unlock()
		}
		through.ServeHTTP(w, r)
	}))
	t.Cleanup(g.Close)
	return g
}

// reads is the GETs of objects that were written through this gate, and of all others.
func (g *gate) reads() (own, others int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for object, n := range g.read {
		if g.written[object] {
			own += n
		} else {
			others += n
		}
	}
	return own, others
}

// objects is how many were written through this gate.
func (g *gate) objects() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.written)
}

// place is one zone: its agents, its way to the bucket, and whom its clients talk to.
type place struct {
	name   string
	gate   *gate
	agents []*running

	mu    sync.Mutex
	moved map[string]int // bytes of Produce and Fetch, requests and answers, by agent's address
}

// OnBrokerE2E implements kgo.HookBrokerE2E. Clients ask any agent for Metadata; what counts is where records go.
func (p *place) OnBrokerE2E(agent kgo.BrokerMetadata, key int16, e kgo.BrokerE2E) {
	if key == kmsg.Produce.Int16() || key == kmsg.Fetch.Int16() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.moved[net.JoinHostPort(agent.Host, strconv.Itoa(int(agent.Port)))] += e.BytesWritten + e.BytesRead
	}
}

// client says its zone the way that Leat's own documentation recommends.
func (p *place) client(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(p.agents[0].addr), kgo.ClientID("test,zone=" + p.name), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.WithHooks(p),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// metric sums one over the zone's agents.
func (p *place) metric(name string, parts ...string) (sum float64) {
	for _, a := range p.agents {
		sum += a.metric(name, parts...)
	}
	return sum
}

// TestNoRecordCrossesZones: a cluster of three zones, producers and consumers in each, all consumers read everything. Clients talk to
// agents of their zone only; agents pass each other records within a zone only; and each object crosses into a zone once, from
// the bucket, never into the zone that wrote it. The third zone has one agent, so whatever chunk it asked another agent for or gave
// to one would have crossed.
func TestNoRecordCrossesZones(t *testing.T) {
	server := miniotest.Start(t)
	places := []*place{{name: "a"}, {name: "b"}, {name: "c"}}
	for i, p := range places {
		p.gate, p.moved = newGate(t, server), map[string]int{}
		for range []int{2, 2, 1}[i] {
			cfg := config(strings.ReplaceAll(server.MinioURL("zones"), server.Address, p.gate.Listener.Addr().String()), "bucket:")
			cfg.Wire.Zone = p.name
			p.agents = append(p.agents, start(t, cfg))
		}
	}
	const partitions, rounds, each = 24, 10, 240
	for _, p := range places { // before it does not know all others, an agent names those that it knows
		for _, a := range p.agents {
			eventually(t, "all agents know each other", func() bool { return a.brokers() == 5 })
		}
	}
	places[0].agents[0].topic("everything", partitions)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var working sync.WaitGroup
	read := func(p *place, whose string) {
		cl := p.client(t, kgo.ConsumeTopics("everything"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.Rack(p.name))
		working.Go(func() {
			for n := 0; n < len(places)*rounds*each; {
				fetches := cl.PollFetches(ctx)
				if err := fetches.Err(); err != nil {
					t.Errorf("%s in zone %s, after %d records: %v", whose, p.name, n, err)
					return
				}
				n += fetches.NumRecords()
			}
		})
	}
	for _, p := range places {
		for range 2 {
			read(p, "a consumer at the end of the log")
		}
	}
	for _, p := range places {
		producer := p.client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
		working.Go(func() {
			for range rounds {
				var batch []*kgo.Record
				for i := range each {
					value := make([]byte, 1024)
					_, _ = rand.Read(value)
					batch = append(batch, &kgo.Record{Topic: "everything", Partition: int32(i % partitions), Value: value})
				}
				if err := producer.ProduceSync(ctx, batch...).FirstErr(); err != nil {
					t.Errorf("produce in zone %s: %v", p.name, err)
				}
			}
		})
	}
	working.Wait()
	total := 0
	for _, p := range places {
		total += p.gate.objects()
	}
	for _, p := range places {
		p.check(t, total)
	}

	before, slow := readsOf(places), hedgesOf(places)
	for _, p := range places {
		read(p, "a consumer that reads everything again")
	}
	working.Wait()
	after, slower := readsOf(places), hedgesOf(places)
	for i, p := range places {
		if more := after[i] - before[i]; more > slower[i]-slow[i] {
			t.Errorf("reading everything again took %d reads of the bucket in zone %s, %d of them because an agent was slow", more, p.name, slower[i]-slow[i])
		}
	}
	for _, p := range places {
		p.check(t, total)
	}
}

// brokers is how many agents this one names to clients.
func (r *running) brokers() int {
	r.t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.SetVersion(12)
	return len(ask(r.dial(), req).(*kmsg.MetadataResponse).Brokers)
}

// readsOf is how many GETs of records each zone has sent.
func readsOf(places []*place) (all []int) {
	for _, p := range places {
		own, others := p.gate.reads()
		all = append(all, own+others)
	}
	return all
}

// hedgesOf is how many reads of each zone asked the bucket, too, because another agent was slow.
func hedgesOf(places []*place) (all []int) {
	for _, p := range places {
		n := 0
		for _, reason := range []string{"slow", "busy", "wanted"} { // the others are faults
			n += int(p.metric("leat_chunks_fallbacks_total", fmt.Sprintf("reason=%q", reason)))
		}
		all = append(all, n)
	}
	return all
}

// check fails the test if anything crossed into or out of a zone; total is the objects that all zones have written.
func (p *place) check(t *testing.T, total int) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for address, bytes := range p.moved {
		if !slices.ContainsFunc(p.agents, func(a *running) bool { return a.addr == address }) {
			t.Errorf("clients of zone %s exchanged %d bytes of Produce and Fetch with %s, which is of another", p.name, bytes, address)
		}
	}
	if len(p.moved) < len(p.agents) {
		t.Errorf("clients of zone %s used %d of %d agents", p.name, len(p.moved), len(p.agents))
	}
	own, others := p.gate.reads()
	foreign := total - p.gate.objects()
	hedged := hedgesOf([]*place{p})[0] // as many as the machine is slow
	t.Logf("zone %s: %d objects written, read %d times from the bucket; %d of others, read %d times, of that %d because an agent was slow",
		p.name, p.gate.objects(), own, foreign, others, hedged)
	if own > hedged || others < foreign || own+others > foreign+hedged {
		t.Errorf("zone %s read more than the objects of others, or those more than once", p.name)
	}
	asked := p.metric("leat_chunks_read_bytes_total", `from="peer"`) + p.metric("leat_chunks_read_bytes_total", `from="writer"`)
	served := p.metric("leat_chunks_served_bytes_total")
	if len(p.agents) == 1 && (asked != 0 || served != 0) {
		t.Errorf("zone %s has one agent, which got %v bytes of records from other agents and gave them %v", p.name, asked, served)
	}
	if len(p.agents) > 1 && (asked == 0 || served < asked) {
		t.Errorf("agents of zone %s got %v bytes of records from other agents, and gave others %v", p.name, asked, served)
	}
}
