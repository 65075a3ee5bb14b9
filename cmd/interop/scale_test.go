//go:build interop

package interop

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/cmd/interop/rawconn"
)

// TestScaleToEightAndBack: while applications work, agents come and go. What the agents tell their clients changes within seconds, moves
// only what must move, and the clients follow.
func TestScaleToEightAndBack(t *testing.T) {
	c := newCluster(t, "bucket:")
	agents := c.plan(t, 8)
	c.start(t, agents[0])
	admin, err := kgo.NewClient(kgo.SeedBrokers(agents[0].kafka))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if _, err := kadm.NewClient(admin).CreateTopic(t.Context(), routedPartitions, 3, nil, "routed"); err != nil {
		t.Fatal(err)
	}
	crowd := newCrowd(t, agents[0].kafka, "librdkafka", "kgo")
	crowd.undisturbed(t, func() {
		now := settled(t, agents[:1])
		for _, n := range []int{2, 4, 8} {
			began := time.Now()
			c.start(t, agents[len(now.nodes):n]...)
			up := time.Now()
			next := settled(t, agents[:n])
			known := time.Since(up)
			moved := next.compare(t, now)
			followed(t, crowd, agents[:n])
			t.Logf("%d to %d agents: ready after %s, known to all %s later, %s; clients had followed %s after that",
				len(now.nodes), n, seconds(up.Sub(began)), seconds(known), moved, seconds(time.Since(up)-known))
			now = next
		}
		for _, n := range []int{4, 1} {
			began := time.Now()
			c.drain(t, agents[n:len(now.nodes)]...)
			gone := time.Now()
			next := settled(t, agents[:n])
			moved := now.compare(t, next)
			crowd.flows(t, crowdRate)
			t.Logf("%d to %d agents: gone %s after SIGTERM, %s; silence of a partition: %s", len(now.nodes), n, seconds(gone.Sub(began)),
				moved, crowd.pauses(began, time.Now()))
			now = next
		}
	})
	crowd.stop(t, agents[0].kafka)
}

// drain ends several agents at once.
func (c *cluster) drain(t *testing.T, agents ...*member) {
	t.Helper()
	done := make(chan struct{})
	for _, m := range agents {
		go func() { // ends with drain
			defer func() { done <- struct{}{} }()
			m.drain(t)
		}()
	}
	for range agents {
		<-done
	}
}

// routedPartitions and as many groups are asked for to see who serves what.
const routedPartitions = 96

// routing is what an agent tells clients.
type routing struct {
	nodes        map[int32]string // addresses by broker id
	leaders      map[string]int32 // by partition
	coordinators map[string]int32 // by group
}

func (r routing) equal(o routing) bool {
	return maps.Equal(r.nodes, o.nodes) && maps.Equal(r.leaders, o.leaders) && maps.Equal(r.coordinators, o.coordinators)
}

// settled waits until all agents, and no others, are named by each, and each names the same for everything.
func settled(t *testing.T, agents []*member) (r routing) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d agents agree who serves what", len(agents)), func() bool {
		for i, m := range agents {
			said, err := m.routing()
			if err != nil || len(said.nodes) != len(agents) || i > 0 && !said.equal(r) {
				return false
			}
			r = said
		}
		return true
	})
	return r
}

// routing asks one agent.
func (m *member) routing() (routing, error) {
	r := routing{nodes: map[int32]string{}, leaders: map[string]int32{}, coordinators: map[string]int32{}}
	conn, err := rawconn.Dial(m.kafka, "routing")
	if err != nil {
		return r, err
	}
	defer conn.Close()
	metadata := kmsg.NewPtrMetadataRequest()
	metadata.SetVersion(12)
	resp, err := conn.Ask(metadata)
	if err != nil {
		return r, err
	}
	for _, b := range resp.(*kmsg.MetadataResponse).Brokers {
		r.nodes[b.NodeID] = fmt.Sprintf("%s:%d", b.Host, b.Port)
	}
	for _, topic := range resp.(*kmsg.MetadataResponse).Topics {
		for _, p := range topic.Partitions {
			r.leaders[fmt.Sprintf("%s-%d", *topic.Topic, p.Partition)] = p.Leader
		}
	}
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.SetVersion(4)
	for i := range routedPartitions {
		find.CoordinatorKeys = append(find.CoordinatorKeys, fmt.Sprint("group-", i))
	}
	if resp, err = conn.Ask(find); err != nil {
		return r, err
	}
	for _, found := range resp.(*kmsg.FindCoordinatorResponse).Coordinators {
		r.coordinators[found.Key] = found.NodeID
	}
	return r, nil
}

// compare fails the test unless the only difference between more and fewer agents is that what the additional ones serve is
// elsewhere, and that this is about their share. It says how much that is.
func (r routing) compare(t *testing.T, fewer routing) string {
	t.Helper()
	share := float64(len(r.nodes)-len(fewer.nodes)) / float64(len(r.nodes))
	count := func(what string, more, fewer map[string]int32, nodes map[int32]string) string {
		moved := 0
		for key, node := range more {
			before := fewer[key]
			_, stays := nodes[node]
			if node == before {
				continue
			}
			moved++
			if stays {
				t.Errorf("%s went between %d and %d, which both were there all the time", key, before, node)
			}
		}
		n := float64(len(more))
		if expected := n * share; math.Abs(float64(moved)-expected) > 5*math.Sqrt(n*share*(1-share)) {
			t.Errorf("%d of %d %s moved, want about %.0f", moved, len(more), what, expected)
		}
		return fmt.Sprintf("%d of %d %s", moved, len(more), what)
	}
	return fmt.Sprintf("moved %s and %s, where %.0f%% must",
		count("partitions", r.leaders, fewer.leaders, fewer.nodes), count("groups", r.coordinators, fewer.coordinators, fewer.nodes), 100*share)
}

// followed waits until every partition of the crowd is produced and fetched at the agent that leads it: each such agent is asked,
// and nobody else.
func followed(t *testing.T, crowd *crowd, agents []*member) {
	t.Helper()
	said, err := agents[0].routing()
	if err != nil {
		t.Fatal(err)
	}
	leads := map[string]bool{}
	for _, h := range crowd.histories {
		for p := range crowdPartitions {
			leads[said.nodes[said.leaders[fmt.Sprintf("%s-%d", h.topic, p)]]] = true
		}
	}
	want := slices.Sorted(maps.Keys(leads))
	for _, api := range []string{"Produce", "Fetch"} {
		asked := func() map[string]float64 {
			counts := map[string]float64{}
			for _, m := range agents {
				counts[m.kafka] = m.metrics(t).Sum("leat_wire_requests_total", `api="`+api+`"`)
			}
			return counts
		}
		var who []string
		for deadline := time.Now().Add(patience); !slices.Equal(who, want); {
			before := asked()
			crowd.flows(t, crowdRate/2) // meanwhile every partition is used
			who = nil
			for addr, n := range asked() {
				if n > before[addr] {
					who = append(who, addr)
				}
			}
			slices.Sort(who)
			if time.Now().After(deadline) {
				for _, m := range agents {
					t.Logf("%s: %v requests, %v nudges", m.kafka, asked()[m.kafka], m.metrics(t).Sum("leat_api_nudges_total", api))
				}
				t.Fatalf("%s goes to %v; those that lead are %v; leaders %v of %v", api, who, want, said.leaders, said.nodes)
			}
		}
	}
}
