package replica_test

import (
	"testing"
	"time"

	"github.com/leat-stream/leat/metadata"
)

// Who looks now and then whether an idle leader still leads is the agent, not the replica: nothing here costs a request.
func TestAnIdleClusterAsksTheBucketNothing(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		nodes := []*node{c.add("a", "x"), c.add("b", "y"), c.add("c", "y")}
		first := leader(t, nodes...)
		time.Sleep(time.Minute)
		c.store.ResetRequests()
		time.Sleep(time.Hour)
		if got := c.store.Requests(); len(got) != 0 {
			t.Errorf("%d requests in an hour: %v …", len(got), got[0])
		}
		for _, n := range others(first, nodes...) { // a fresh read anywhere costs what it costs at the leader
			c.store.ResetRequests()
			n.topics(t, metadata.Fresh())
			if got := c.store.Requests(); len(got) != 1 {
				t.Errorf("a fresh read cost %v", got)
			}
		}
		if !first.Leading() {
			t.Error("the leader was replaced")
		}
	})
}

func TestAFollowerWithoutLeaderAndBucketAsksSeldom(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		nodes := []*node{c.add("a", ""), c.add("b", ""), c.add("c", "")}
		first := leader(t, nodes...)
		rest := others(first, nodes...)
		for _, n := range rest {
			n.gate.refuse(errThrottled)
		}
		c.kill(first)
		before := c.net.asked("status")
		asked := rest[0].gate.asked.Load()
		time.Sleep(10 * time.Minute)
		if n := rest[0].gate.asked.Load() - asked; n > 1200 {
			t.Errorf("%d requests to a bucket that is away, in 10 minutes", n)
		}
		if n := c.net.asked("status") - before; n > 2*2*1200 {
			t.Errorf("%d questions to other agents in 10 minutes", n)
		}
	})
}
