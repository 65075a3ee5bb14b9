package replica_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/metadata"
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
