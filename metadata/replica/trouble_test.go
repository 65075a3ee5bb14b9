package replica_test

import (
	"testing"
	"time"
)

// said checks how many lines with a text a node has logged.
func (n *node) said(t *testing.T, text string, want int) {
	t.Helper()
	if got := n.warned.saying(text); len(got) != want {
		t.Errorf("%s said %q %d times, not %d: %q", n.name, text, len(got), want, got)
	}
}

const (
	slowJournal = "the metadata journal takes long"
	fastJournal = "the metadata journal is no trouble any more"
	leaderless  = "no metadata leader is heard of"
	leaderBack  = "there is a metadata leader again"
)

func TestALeaderThatCannotAppendSaysSoOnce(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		n := c.add("a", "")
		n.gate.close()
		done := make(chan error, 1)
		go func() { done <- n.do(t, "waits") }()
		time.Sleep(3 * time.Second)
		n.said(t, slowJournal, 1)
		time.Sleep(30 * time.Second)
		n.said(t, slowJournal, 1)
		n.gate.open()
		must(t, <-done)
		n.said(t, fastJournal, 1)
		must(t, n.do(t, "again"))
		n.said(t, slowJournal, 1)
		n.said(t, fastJournal, 1)
	})
}

func TestAgentsWithoutLeaderAndBucketSaySo(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		nodes := []*node{c.add("a", ""), c.add("b", ""), c.add("c", "")}
		first := leader(t, nodes...)
		rest := others(first, nodes...)
		for _, n := range rest {
			n.said(t, leaderBack, 0) // starting took no time
			n.gate.close()
		}
		c.freeze(first) // it reaches nobody, and no bucket
		first.gate.close()
		time.Sleep(4 * time.Second)
		for _, n := range rest {
			n.said(t, leaderless, 1)
		}
		time.Sleep(26 * time.Second)
		for _, n := range rest {
			n.said(t, leaderless, 1)
			if got := n.warned.saying(slowJournal); len(got) > 1 {
				t.Errorf("%s said %q", n.name, got)
			}
			n.gate.open()
		}
		must(t, rest[0].do(t, "after"))
		time.Sleep(time.Second)
		for _, n := range rest {
			n.said(t, leaderBack, 1)
		}
		time.Sleep(time.Hour)
		for _, n := range rest {
			n.said(t, leaderless, 1)
		}
		first.gate.open()
		c.thaw(first)
	})
}
