package replica_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/replica"
	"github.com/leat-stream/leat/metadata/state"
)

func TestFollowersPassCommandsOnAndSeeThemOnceTheyAreAnswered(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		nodes := []*node{c.add("a", ""), c.add("b", ""), c.add("c", "")}
		leader(t, nodes...)
		for i, n := range nodes {
			must(t, n.do(t, fmt.Sprintf("topic-%d", i)))
			if got := n.topics(t, metadata.Local()); len(got) != i+1 {
				t.Fatalf("%s sees %v right after its command was answered", n.name, got)
			}
			for _, other := range nodes { // R1: a fresh read anywhere sees it
				if got := other.topics(t, metadata.Fresh()); len(got) != i+1 {
					t.Fatalf("a fresh read at %s sees %v", other.name, got)
				}
			}
		}
	})
}

func TestAnAgentThatCannotReachTheLeaderGoesByWayOfOneThatCan(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		nodes := []*node{c.add("a", ""), c.add("b", ""), c.add("c", "")}
		first := leader(t, nodes...)
		rest := others(first, nodes...)
		c.sever(first, rest[0], true)
		for i := range 20 {
			must(t, rest[0].do(t, fmt.Sprintf("topic-%d", i)))
			time.Sleep(5 * time.Second)
		}
		if !first.Leading() {
			t.Error("a leader that one agent cannot reach was deposed")
		}
		if got := rest[0].topics(t, metadata.Fresh()); len(got) != 20 {
			t.Errorf("the agent sees %v", got)
		}
	})
}

func TestEachEntryComesIntoAZoneOnce(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		zones := map[string]string{}
		var nodes []*node
		for i := range 9 {
			name := fmt.Sprintf("n%d", i)
			zones[name] = string(rune('a' + i%3))
			nodes = append(nodes, c.add(name, zones[name]))
		}
		leader(t, nodes...)
		time.Sleep(time.Minute)
		c.net.mu.Lock()
		clear(c.net.pushed)
		c.net.mu.Unlock()
		const commands = 50
		for i := range commands {
			must(t, nodes[i%9].do(t, fmt.Sprintf("topic-%d", i)))
		}
		for _, n := range nodes {
			if got := n.topics(t, metadata.Fresh()); len(got) != commands {
				t.Errorf("%s sees %d topics", n.name, len(got))
			}
		}
		into := map[string]int{}
		c.net.mu.Lock()
		defer c.net.mu.Unlock()
		for edge, n := range c.net.pushed {
			if from, to := zones[edge[0]], zones[edge[1]]; from != to {
				into[to] += n
			}
		}
		if len(into) != 2 {
			t.Fatalf("entries crossed zones as %v: two zones have no leader", into)
		}
		for zone, n := range into {
			if n != commands {
				t.Errorf("%d entries came into zone %s, not %d", n, zone, commands)
			}
		}
	})
}

func TestAFollowerFarBehindBeginsAnewFromASnapshot(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		small := func(cfg *replica.Config) { cfg.SnapshotBytes = 300; cfg.SessionPatience = time.Hour }
		var nodes []*node
		for _, name := range []string{"a", "b"} {
			n := c.addSilently(name, "", small)
			n.openSession(t, "")
			nodes = append(nodes, n)
		}
		first := leader(t, nodes...)
		late := others(first, nodes...)[0]
		c.freeze(late)
		late.gate.close()
		for i := range 200 {
			must(t, first.do(t, fmt.Sprintf("topic-%d", i)))
			time.Sleep(time.Second)
		}
		c.kill(first) // what it remembers of recent entries goes with it
		c.addSilently(first.name, "", small)
		if _, boundary := c.snapshot(); boundary < 100 {
			t.Fatalf("the journal is trimmed to %d only: the test shows nothing", boundary)
		}
		watched := make(chan state.Change, 1000)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		from := late.index(t)
		go func() {
			for ch, err := range late.Watch(ctx, from) {
				if err == nil {
					watched <- ch
				}
			}
		}()
		synctest.Wait()
		late.gate.open()
		c.thaw(late)
		if got := late.topics(t, metadata.Fresh()); len(got) != 200 {
			t.Errorf("it sees %d topics", len(got))
		}
		synctest.Wait()
		for len(watched) > 0 {
			if ch := <-watched; ch.Kind == state.ChangeAll {
				return
			}
		}
		t.Error("its watcher was never told to look at everything, though there is a gap in what it was told")
	})
}

func TestASecondAgentOfANameIsRefusedWhileTheFirstLives(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		c.add("a", "")
		n := c.addSilently("b", "", nil)
		n.who = metadata.NewSession(n.Replica, metadata.Identity{Session: n.id, NodeID: -1, Agent: "a", Peer: "b"}, time.Now)
		err := n.who.Open(t.Context())
		if err == nil || !strings.Contains(err.Error(), `an agent named "a" is already running`) {
			t.Errorf("it was told %v", err)
		}
	})
}

func TestAReplicaThatDiffersBeginsAnew(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		first, other := c.tampered()
		must(t, first.do(t, "good"))
		time.Sleep(time.Second)
		if got := other.topics(t, metadata.Local()); !slices.Equal(got, []string{"evil"}) {
			t.Fatalf("the test does not reach what it is about: %v", got)
		}
		c.net.mu.Lock()
		c.net.tamper = nil
		c.net.mu.Unlock()
		must(t, first.do(t, "next"))
		if got := other.topics(t, metadata.Fresh()); !slices.Equal(got, []string{"good", "next"}) {
			t.Errorf("after the leader's hash told it, it has %v", got)
		}
	})
}

// upstream is the node that n follows now.
func (c *cluster) upstream(n *node, nodes ...*node) *node {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	for _, other := range nodes {
		if s := c.net.feeds[[2]string{other.name, n.name}]; s != nil && s.ctx.Err() == nil {
			return other
		}
	}
	return nil
}

// breakStream breaks the connection by which n follows another node. Both may connect anew.
func (c *cluster) breakStream(n, upstream *node) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.net.feeds[[2]string{upstream.name, n.name}].cancel()
}

func TestAgentsOfAZoneDoNotFollowEachOtherAfterTheirStreamBreaks(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		first := c.add("lead", "x")
		var nodes []*node
		for i := range 4 {
			nodes = append(nodes, c.add(fmt.Sprintf("n%d", i), "y"))
		}
		time.Sleep(10 * time.Second)
		for round := range 20 {
			for _, n := range nodes {
				if c.upstream(n, first) == first {
					c.breakStream(n, first)
				}
			}
			time.Sleep(200 * time.Millisecond) // they follow again
			for i, n := range nodes {
				began := time.Now()
				must(t, n.do(t, fmt.Sprintf("topic-%d-%d", round, i)))
				if took := time.Since(began); took > time.Second {
					t.Fatalf("round %d: a command took %v while %s followed nobody who follows the leader", round, took, n.name)
				}
			}
			time.Sleep(5 * time.Second)
		}
		if !first.Leading() {
			t.Error("the leader was replaced")
		}
	})
}

func TestAFollowerReadsAGapOnceTheBucketIsBack(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		small := func(cfg *replica.Config) { cfg.SnapshotBytes = 300 }
		first := c.addSilently("a", "", small)
		first.openSession(t, "")
		late := c.addSilently("b", "", small)
		c.freeze(late)
		late.gate.close()
		for i := range 40 {
			must(t, first.do(t, fmt.Sprintf("topic-%d", i)))
			time.Sleep(time.Second)
		}
		c.kill(first)
		first = c.addSilently("a", "", small) // it begins from a snapshot: what is older it cannot push
		first.openSession(t, "")
		c.thaw(late)
		time.Sleep(time.Minute)
		late.gate.open()
		time.Sleep(5 * time.Second)
		if got, want := late.index(t), first.index(t); got != want {
			t.Errorf("5 s after the bucket is back, in a cluster at rest, it has applied %d entries of %d", got, want)
		}
	})
}

func TestAnAgentThatBeginsBehindARelayIsNotTakenForDead(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		c.add("lead", "x")
		c.add("relay", "y") // the leader hears of those behind it twice a second
		for i := range 8 {
			time.Sleep(10*time.Second + time.Duration(i)*61*time.Millisecond)
			n := c.addSilently(fmt.Sprintf("n%d", i), "y", nil)
			n.openSession(t, "y")
			time.Sleep(3 * time.Second)
			must(t, n.do(t, fmt.Sprintf("topic-%d", i)))
		}
	})
}
