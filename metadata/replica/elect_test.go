package replica_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/journal/object"
	"github.com/leat-stream/leat/metadata/replica"
	"github.com/leat-stream/leat/metadata/state"
)

func TestADeadLeaderIsReplacedAndCommandsGoOn(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		nodes := []*node{c.add("a", ""), c.add("b", ""), c.add("c", "")}
		first := leader(t, nodes...)
		must(t, nodes[0].do(t, "before"))
		rest := others(first, nodes...)
		began := time.Now()
		c.kill(first)
		must(t, rest[0].do(t, "after"))
		t.Logf("the first command after the leader's death took %v", time.Since(began))
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the first command after the leader's death took %v", took)
		}
		leader(t, rest...)
		must(t, rest[1].do(t, "after too"))
		for _, n := range rest {
			if got := n.topics(t, metadata.Fresh()); len(got) != 3 {
				t.Errorf("%s sees %v", n.name, got)
			}
		}
		waitClosed(t, rest[0], first.id)
	})
}

func TestALeaderThatHangsIsReplacedAndDoesNoHarmWhenItWakes(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		nodes := []*node{c.add("a", ""), c.add("b", ""), c.add("c", "")}
		first := leader(t, nodes...)
		rest := others(first, nodes...)
		c.freeze(first)
		began := time.Now()
		must(t, rest[0].do(t, "while it hangs"))
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the first command after the leader hung took %v", took)
		}
		took := waitClosed(t, rest[0], first.id)
		t.Logf("its session was closed after %v", took)
		time.Sleep(time.Hour)
		c.thaw(first)
		if err := first.do(t, "late"); !errors.Is(err, metadata.ErrSessionClosed) {
			t.Errorf("a command of the closed session: %v", err)
		}
		for _, n := range nodes {
			if got := n.topics(t, metadata.Fresh()); len(got) != 1 {
				t.Errorf("%s sees %v", n.name, got)
			}
		}
		if second := leader(t, nodes...); second == first {
			t.Error("the leader that was replaced leads again")
		}
	})
}

func TestALeaderCutOffFromTheJournalIsReplaced(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		nodes := []*node{c.add("a", ""), c.add("b", ""), c.add("c", "")}
		first := leader(t, nodes...)
		rest := others(first, nodes...)
		first.gate.close()
		stuck := make(chan error, 1)
		go func() { stuck <- first.do(t, "stuck") }()
		synctest.Wait()
		began := time.Now()
		must(t, rest[0].do(t, "meanwhile"))
		t.Logf("the first command took %v", time.Since(began))
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("the first command after the leader was cut off took %v", took)
		}
		first.gate.open()
		must(t, <-stuck)
		for _, n := range nodes {
			if got := n.topics(t, metadata.Fresh()); len(got) != 2 {
				t.Errorf("%s sees %v", n.name, got)
			}
		}
	})
}

func TestAnAgentThatReachesNobodyDeposesNoLivingLeader(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		nodes := []*node{c.add("a", ""), c.add("b", ""), c.add("c", "")}
		first := leader(t, nodes...)
		rest := others(first, nodes...)
		for _, n := range rest[1:] {
			c.sever(rest[0], n, true)
		}
		c.sever(first, rest[0], true)
		time.Sleep(time.Hour)
		if !first.Leading() {
			t.Error("the leader was deposed by an agent that was cut off")
		}
		if closed := waitClosed(t, first, rest[0].id); closed > 0 {
			t.Error("the session of the agent that was cut off was still open after an hour")
		}
	})
}

func TestTheLastAgentLeadsAfterTheOthersFellSilent(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		nodes := []*node{c.add("a", ""), c.add("b", ""), c.add("c", "")}
		first := leader(t, nodes...)
		rest := others(first, nodes...)
		for _, n := range []*node{first, rest[1]} { // their machines are gone: nothing refuses, nothing answers
			c.freeze(n)
			n.gate.close()
		}
		began := time.Now()
		must(t, rest[0].do(t, "alone"))
		t.Logf("the first command took %v", time.Since(began))
		for _, n := range []*node{first, rest[1]} {
			n.gate.open()
			c.thaw(n)
		}
		for _, n := range nodes {
			if got := n.topics(t, metadata.Fresh()); len(got) != 1 {
				t.Errorf("%s sees %v", n.name, got)
			}
		}
	})
}

func TestALeaderThatLeavesHandsOverAtOnce(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		nodes := []*node{c.add("a", ""), c.add("b", ""), c.add("c", "")}
		first := leader(t, nodes...)
		rest := others(first, nodes...)
		began := time.Now()
		must(t, first.who.Leave(t.Context()))
		must(t, first.Resign(t.Context()))
		must(t, rest[0].do(t, "after"))
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("handing over took %v", took)
		}
		if first.Leading() {
			t.Error("it still leads")
		}
		must(t, first.do(t, "as a follower"))
		must(t, first.who.Close(t.Context()))
		waitClosed(t, rest[0], first.id)
	})
}

func TestARestartedAgentGetsItsNodeBackSoon(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		nodes := []*node{c.add("a", ""), c.add("b", ""), c.add("c", "")}
		for range 5 {
			old := nodes[0]
			c.kill(old)
			began := time.Now()
			n := c.add(old.name, "")
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("a restart took %v", took)
			}
			if n.who.NodeID() != old.who.NodeID() {
				t.Errorf("node %d came back as %d", old.who.NodeID(), n.who.NodeID())
			}
			nodes = append(nodes[1:], n)
			must(t, n.do(t, fmt.Sprintf("topic-%d", n.id[15])))
		}
	})
}

// fences counts the terms in the journal.
func (c *cluster) fences() (n int) {
	j, err := object.Open(c.t.Context(), c.store, c.keys)
	must(c.t, err)
	for e, err := range j.Read(c.t.Context(), 1) {
		must(c.t, err)
		if e.Kind == journal.KindFence {
			n++
		}
	}
	return n
}

func TestAgentsThatStartTogetherElectOnce(t *testing.T) {
	for _, agents := range []int{2, 3, 20} {
		for _, delay := range []time.Duration{0, 40 * time.Millisecond, 400 * time.Millisecond} {
			t.Run(fmt.Sprintf("%d agents, %v to the bucket", agents, delay), func(t *testing.T) {
				inCluster(t, func(t *testing.T, c *cluster) {
					c.delay = delay
					start := func() []*node {
						nodes := make([]*node, agents)
						var wg sync.WaitGroup
						for i := range nodes {
							nodes[i] = c.prepare(fmt.Sprintf("n%d", i), "", nil)
							wg.Go(func() {
								time.Sleep(time.Duration(i%7) * 3 * time.Millisecond)
								c.start(nodes[i])
								nodes[i].openSession(t, "")
							})
						}
						wg.Wait()
						leader(t, nodes...)
						time.Sleep(time.Minute)
						return nodes
					}
					nodes := start()
					if n := c.fences(); n > 2 {
						t.Errorf("a new cluster took %d elections", n)
					}
					before := c.fences()
					for _, n := range nodes {
						c.kill(n)
					}
					start()
					if n := c.fences() - before; n > 2 {
						t.Errorf("a restart of all took %d elections", n)
					}
				})
			})
		}
	}
}

func TestALeaderThatFindsItsEntryTrimmedStepsDown(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		small := func(cfg *replica.Config) { cfg.SnapshotBytes = 300 }
		var nodes []*node
		for _, name := range []string{"a", "b"} {
			n := c.addSilently(name, "", small)
			n.openSession(t, "")
			nodes = append(nodes, n)
		}
		first := leader(t, nodes...)
		second := others(first, nodes...)[0]
		c.freeze(first)
		first.gate.closeFor(true)
		slot := first.index(t) + 1
		stuck := make(chan error, 1)
		go func() { stuck <- first.do(t, "stuck") }()
		for i := range 30 {
			must(t, second.do(t, fmt.Sprintf("topic-%d", i)))
			time.Sleep(time.Second)
		}
		if _, boundary := c.snapshot(); boundary <= slot {
			t.Fatalf("the journal is trimmed to %d only, its entry is %d: the test shows nothing", boundary, slot)
		}
		first.gate.open()
		c.thaw(first)
		if err := <-stuck; err != nil && !errors.Is(err, metadata.ErrSessionClosed) {
			t.Error(err)
		}
		select {
		case <-first.ended:
			t.Fatalf("it ended: %v", first.err)
		default:
		}
		for _, n := range nodes {
			if got := n.topics(t, metadata.Fresh()); len(got) != 31 {
				t.Errorf("%s sees %d topics", n.name, len(got))
			}
		}
	})
}

func TestACandidateThatDiffersBeginsAnew(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		first, other := c.tampered()
		must(t, first.do(t, "good"))
		time.Sleep(time.Second)
		c.sever(first, other, true)
		must(t, first.do(t, "next")) // with the hash that tells, and nobody pushes it
		c.kill(first)
		c.sever(first, other, false)
		must(t, other.do(t, "last"))
		if got := other.topics(t, metadata.Fresh()); !slices.Equal(got, []string{"good", "last", "next"}) {
			t.Errorf("it has %v", got)
		}
	})
}

func TestAnAgentThatIsDeniedTheBucketTriesAndComplainsNowAndThen(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		nodes := []*node{c.add("a", ""), c.add("b", ""), c.add("c", "")}
		first := leader(t, nodes...)
		rest := others(first, nodes...)
		for _, n := range rest {
			n.gate.refuse(errDenied)
		}
		c.kill(first)
		time.Sleep(10 * time.Minute)
		for _, n := range rest {
			if lines := n.warned.count.Load(); lines == 0 || lines > 25 {
				t.Errorf("%s logged %d lines in 10 minutes", n.name, lines)
			}
			n.gate.refuse(nil)
		}
		began := time.Now()
		must(t, rest[0].do(t, "after"))
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("after permission came back, a command took %v", took)
		}
	})
}

func TestAReplicaStopsAtOnceThoughTheBucketHangs(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		nodes := []*node{c.add("a", ""), c.add("b", ""), c.add("c", "")}
		first := leader(t, nodes...)
		rest := others(first, nodes...)
		for _, n := range nodes {
			n.gate.close()
		}
		go func() { _ = first.do(t, "stuck") }()
		go func() { _ = rest[0].Ask(t.Context(), metadata.Fresh(), func(state.Reader) {}) }()
		time.Sleep(time.Second)
		began := time.Now()
		c.kill(first)
		time.Sleep(2 * time.Second) // the others stand, in vain
		began = began.Add(2 * time.Second)
		c.kill(rest[0])
		c.kill(rest[1])
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("stopping took %v", took)
		}
	})
}

func TestALeaderKilledAgainAndAgainIsReplaced(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		nodes := []*node{c.add("a", ""), c.add("b", ""), c.add("c", "")}
		for i := range 12 {
			first := leader(t, nodes...)
			c.kill(first)
			nodes = others(first, nodes...)
			began := time.Now()
			must(t, nodes[0].do(t, fmt.Sprintf("topic-%d", i)))
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("after the leader was killed for the %dth time a command took %v", i+1, took)
			}
			nodes = append(nodes, c.add(first.name, ""))
		}
		for _, n := range nodes {
			if got := n.topics(t, metadata.Fresh()); len(got) != 12 {
				t.Errorf("%s sees %d topics", n.name, len(got))
			}
		}
	})
}

// V4 with several agents: nobody tells a leader that it was replaced.
func TestR1ALeaderThatDoesNotKnowThatItWasReplacedAnswersNothingFromMemory(t *testing.T) {
	for _, ask := range []string{"here", "for another agent"} {
		t.Run(ask, func(t *testing.T) {
			inCluster(t, func(t *testing.T, c *cluster) {
				nodes := []*node{c.add("a", ""), c.add("b", ""), c.add("c", "")}
				first := leader(t, nodes...)
				c.freeze(first) // it reaches nobody, and the bucket
				must(t, others(first, nodes...)[0].do(t, "new"))
				want := others(first, nodes...)[0].index(t)
				if !first.Leading() {
					t.Fatal("it has noticed: the test shows nothing")
				}
				if ask == "here" {
					if got := first.topics(t, metadata.Fresh()); len(got) != 1 {
						t.Errorf("it sees %v", got)
					}
				} else if index, err := first.Server().Tip(t.Context(), 1); err == nil && index < want {
					t.Errorf("it says %d, and %d was committed before", index, want)
				}
				if first.Leading() {
					t.Error("it still believes to lead")
				}
				c.thaw(first)
			})
		})
	}
}
