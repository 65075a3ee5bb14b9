package replica_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/replica"
	"github.com/leat-stream/leat/metadata/state"
)

// topologies are what connections are left, by place: 0 is the leader.
var topologies = []struct {
	name   string
	agents int
	zones  string // of the places; " ": none
	links  [][2]int
}{
	{"a chain", 5, "     ", [][2]int{{0, 1}, {1, 2}, {2, 3}, {3, 4}}},
	{"a chain through zones", 5, "xyzyz", [][2]int{{0, 1}, {1, 2}, {2, 3}, {3, 4}}},
	{"a chain of six", 6, "      ", [][2]int{{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 5}}},
	{"a ring", 5, "     ", [][2]int{{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 0}}},
	{"a ring through zones", 5, "xyyzz", [][2]int{{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 0}}},
	{"a ring of six", 6, "xxyyzz", [][2]int{{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 0}}},
	{"a star around a follower", 5, "     ", [][2]int{{0, 1}, {1, 2}, {1, 3}, {1, 4}}},
	{"a star around a follower of another zone", 5, "xzyyy", [][2]int{{0, 1}, {1, 2}, {1, 3}, {1, 4}}},
	{"a star around the leader", 5, "xyyzz", [][2]int{{0, 1}, {0, 2}, {0, 3}, {0, 4}}},
	{"two of a zone who reach the leader through a third agent only", 4, "xyyz", [][2]int{{0, 3}, {1, 2}, {1, 3}, {2, 3}}},
	{"five who reach each other, and the leader through three others only", 8, "        ", [][2]int{
		{0, 7}, {6, 7}, {5, 6}, {1, 2}, {1, 3}, {1, 4}, {1, 5}, {2, 3}, {2, 4}, {2, 5}, {3, 4}, {3, 5}, {4, 5}}},
	{"two of a zone of whom one reaches a third agent", 4, "xyyz", [][2]int{{0, 3}, {1, 2}, {1, 3}}},
}

// cutTo leaves only these connections; nil: all.
func (c *cluster) cutTo(nodes []*node, links [][2]int) {
	for i, a := range nodes {
		for k, b := range nodes[:i] {
			keep := links == nil
			for _, l := range links {
				keep = keep || l == [2]int{k, i} || l == [2]int{i, k}
			}
			c.sever(a, b, !keep)
			c.sever(b, a, !keep)
		}
	}
}

// everybody has each node make a topic at the same time, and answers how long the slowest took.
func everybody(t *testing.T, nodes []*node, name string) (slowest time.Duration) {
	t.Helper()
	took := make([]time.Duration, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() {
			began := time.Now()
			if err := n.do(t, fmt.Sprintf("%s-%d", name, i)); err != nil {
				t.Errorf("%s at place %d: %v", name, i, err)
			}
			took[i] = time.Since(began)
		})
	}
	wg.Wait()
	for _, d := range took {
		slowest = max(slowest, d)
	}
	return slowest
}

func TestEverybodyFindsAWayToTheLeaderWhateverConnectionsAreLeft(t *testing.T) {
	const (
		first = 8 * time.Second // after connections broke
		later = 300 * time.Millisecond
	)
	for _, topology := range topologies {
		t.Run(topology.name, func(t *testing.T) {
			inCluster(t, func(t *testing.T, c *cluster) {
				var nodes []*node
				zones := map[string]string{}
				for i := range topology.agents {
					zone := topology.zones[i : i+1]
					if zone == " " {
						zone = ""
					}
					nodes = append(nodes, c.add(fmt.Sprintf("n%d", i), zone))
					zones[nodes[i].name] = zone
				}
				if leader(t, nodes...) != nodes[0] {
					t.Fatal("the first agent does not lead")
				}
				time.Sleep(20 * time.Second)
				fences := c.fences()
				c.cutTo(nodes, topology.links)
				took := everybody(t, nodes, "cut")
				t.Logf("the slowest command after the cut took %v", took)
				if took > first {
					t.Errorf("the slowest command after the cut took %v", took)
				}
				for i := range 20 {
					time.Sleep(3 * time.Second)
					before := c.net.asked("propose")
					if took := everybody(t, nodes, fmt.Sprint("later-", i)); took > later {
						t.Errorf("round %d: the slowest command took %v", i, took)
					}
					if calls := c.net.asked("propose") - before; calls > topology.agents*topology.agents {
						t.Errorf("round %d: %d calls for %d commands", i, calls, topology.agents)
					}
				}
				for i, n := range nodes {
					began := time.Now()
					if got := n.topics(t, metadata.Fresh()); len(got) != 21*len(nodes) {
						t.Errorf("place %d sees %d topics", i, len(got))
					}
					if took := time.Since(began); took > later {
						t.Errorf("a fresh read at place %d took %v", i, took)
					}
				}
				if !nodes[0].Leading() || c.fences() != fences {
					t.Errorf("%d elections", c.fences()-fences)
				}
				c.cutTo(nodes, nil)
				time.Sleep(30 * time.Second)
				c.entersOnce(t, nodes, zones)
				if c.fences() != fences {
					t.Errorf("%d elections after the cut was mended", c.fences()-fences)
				}
			})
		})
	}
}

// entersOnce checks that each entry enters each zone once, or reaches each agent once and directly if there are no zones.
func (c *cluster) entersOnce(t *testing.T, nodes []*node, zones map[string]string) {
	t.Helper()
	c.net.mu.Lock()
	clear(c.net.pushed)
	c.net.mu.Unlock()
	const commands = 10
	for i := range commands {
		must(t, nodes[i%len(nodes)].do(t, fmt.Sprintf("healed-%d", i)))
	}
	wait(time.Second)
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	into := map[string]int{}
	for edge, n := range c.net.pushed {
		if zones[edge[1]] == "" && edge[0] != nodes[0].name {
			t.Errorf("%d entries went from %s to %s, though the leader can be reached", n, edge[0], edge[1])
		} else if zones[edge[0]] != zones[edge[1]] {
			into[zones[edge[1]]] += n
		}
	}
	for zone, n := range into {
		if n != commands {
			t.Errorf("%d entries came into zone %q, not %d", n, zone, commands)
		}
	}
}

func TestADeadLeaderIsReplacedSoonAlsoBehindRelays(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		var nodes []*node
		for i := range 9 {
			nodes = append(nodes, c.add(fmt.Sprintf("n%d", i), string(rune('x'+i%3))))
		}
		for round := range 4 {
			time.Sleep(time.Minute)
			first := leader(t, nodes...)
			rest := others(first, nodes...)
			before, fences := c.net.asked("status"), c.fences()
			c.kill(first)
			took := everybody(t, rest, fmt.Sprint("after-", round))
			asked := c.net.asked("status") - before
			t.Logf("round %d: the slowest command took %v, with %d questions", round, took, asked)
			if took > 1500*time.Millisecond {
				t.Errorf("round %d: the slowest command took %v", round, took)
			}
			if asked > 4*len(nodes)*len(nodes) {
				t.Errorf("round %d: %d questions", round, asked)
			}
			if n := c.fences() - fences; n != 1 {
				t.Errorf("round %d: %d elections", round, n)
			}
			nodes = append(rest, c.add(first.name, first.cfg.Zone))
		}
	})
}

func TestALeaderThatFallsSilentWithOthersIsReplacedAsSoonAsAlone(t *testing.T) {
	for _, too := range []int{0, 1, 2} {
		inCluster(t, func(t *testing.T, c *cluster) {
			var nodes []*node
			for i := range 7 {
				nodes = append(nodes, c.add(fmt.Sprintf("n%d", i), string(rune('x'+i%3))))
			}
			first := leader(t, nodes...)
			time.Sleep(20 * time.Second)
			rest := others(first, nodes...)
			for _, n := range append([]*node{first}, rest[:too]...) { // as when a zone loses its power
				c.freeze(n)
				defer c.thaw(n)
			}
			took := everybody(t, rest[too:], "after")
			t.Logf("%d more: the slowest command took %v", too, took)
			if took > 5*time.Second {
				t.Errorf("%d more: the slowest command took %v", too, took)
			}
		})
	}
}

func TestAnAgentThatStartsIsNotTakenForOneThatIsCutOff(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		nodes := []*node{c.add("a", ""), c.add("b", ""), c.add("c", ""), c.add("d", "")}
		first := leader(t, nodes...)
		time.Sleep(20 * time.Second)
		rest := others(first, nodes...)
		for _, n := range []*node{first, rest[0], rest[1]} { // they are started again where they were, and read their metadata for long
			c.kill(n)
			c.net.mu.Lock()
			c.net.starting[n.name] = true
			c.net.mu.Unlock()
		}
		began := time.Now()
		must(t, rest[2].do(t, "after"))
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the first command of the one that was left took %v", took)
		}
	})
}

func TestALeaderIsGivenTimeToBeHeardEachTimeItFallsSilent(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		nodes := []*node{c.add("a", ""), c.add("b", ""), c.add("c", "")}
		first := leader(t, nodes...)
		rest := others(first, nodes...)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { // it appends, though nobody hears it
			for i := 0; ctx.Err() == nil; i++ {
				if err := first.do(t, fmt.Sprintf("own-%d", i)); err != nil {
					t.Error(err)
				}
				<-time.After(100 * time.Millisecond)
			}
		})
		defer wg.Wait()
		defer stop()
		for i := range 5 {
			for _, n := range rest {
				c.sever(first, n, true)
			}
			time.Sleep(5 * time.Second)
			for _, n := range rest {
				c.sever(first, n, false)
			}
			time.Sleep(time.Minute)
			if !first.Leading() {
				t.Errorf("it was deposed when it fell silent for the %dth time, for as long as before", i+1)
				return
			}
		}
		for _, n := range rest { // for good: then those who do not hear it must go on
			c.sever(first, n, true)
		}
		began := time.Now()
		must(t, rest[0].do(t, "at last"))
		if took := time.Since(began); took > 12*time.Second {
			t.Errorf("the first command after most agents lost the leader took %v", took)
		}
		for _, n := range rest {
			c.sever(first, n, false)
		}
	})
}

func TestAnAgentLeavesAnUpstreamThatFollowsIt(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		nodes := []*node{c.add("a", ""), c.add("b", "")}
		first := leader(t, nodes...)
		other := others(first, nodes...)[0]
		time.Sleep(10 * time.Second)
		c.net.mu.Lock()
		stream := c.net.feeds[[2]string{first.name, other.name}]
		c.net.mu.Unlock()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { // somebody behind it tells of those behind himself: there is the agent itself
			_ = other.Server().Follow(ctx, replica.Follow{Session: state.UUID{15: 99}, From: 1}, func() (replica.Beat, error) {
				select {
				case <-time.After(500 * time.Millisecond):
					return replica.Beat{Alive: []replica.Alive{{Session: state.UUID{15: 99}}, {Session: other.id, Age: time.Millisecond}}}, nil
				case <-ctx.Done():
					return replica.Beat{}, ctx.Err()
				}
			}, func(replica.Push) error { return nil })
		}()
		select {
		case <-stream.ctx.Done():
		case <-time.After(5 * time.Second):
			t.Error("it still follows in a circle")
		}
		cancel()
		time.Sleep(5 * time.Second)
		if c.upstream(other, first) == nil {
			t.Error("it follows nobody any more")
		}
	})
}
