package replica_test

import (
	"testing"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// metric is what a node tells of itself now.
func (n *node) metric(t *testing.T, name string) float64 {
	t.Helper()
	families, err := n.reg.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	t.Fatalf("%s does not tell %s", n.name, name)
	return 0
}

// knows checks whether nodes tell that they know a leader.
func knows(t *testing.T, when string, want float64, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		if got := n.metric(t, "leat_metadata_leader_known"); got != want {
			t.Errorf("%s, %s tells that it knows %v leaders, not %v", when, n.name, got, want)
		}
	}
}

// gates shuts the bucket for nodes, or opens it.
func gates(open bool, nodes ...*node) {
	for _, n := range nodes {
		if open {
			n.gate.open()
		} else {
			n.gate.close()
		}
	}
}

// knowing is three agents that know a leader.
func knowing(t *testing.T, c *cluster) (first *node, rest []*node) {
	t.Helper()
	nodes := []*node{c.add("a", ""), c.add("b", ""), c.add("c", "")}
	first = leader(t, nodes...)
	return first, others(first, nodes...)
}

func TestAgentsTellThatTheLeaderIsGoneUntilAnotherLeads(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		first, rest := knowing(t, c)
		time.Sleep(10 * time.Minute)
		knows(t, "in a cluster that idles", 1, first, rest[0], rest[1])
		gates(false, rest...) // nobody can put a fence
		c.kill(first)
		knows(t, "once it has ended", 0, first)
		time.Sleep(time.Second)
		knows(t, "when nothing listens where the leader did", 0, rest...)
		time.Sleep(time.Minute)
		knows(t, "while nobody can lead", 0, rest...)
		gates(true, rest...)
		leader(t, rest...)
		time.Sleep(5 * time.Second)
		knows(t, "once another leads", 1, rest...)
	})
}

func TestAgentsTellThatTheLeaderIsSilentUntilItComesBack(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		first, rest := knowing(t, c)
		time.Sleep(time.Second)
		gates(false, rest...)
		c.freeze(first)
		time.Sleep(2 * time.Second)
		knows(t, "a moment after it was heard of", 1, rest...)
		time.Sleep(3 * time.Second)
		knows(t, "after five seconds of silence", 0, rest...)
		c.thaw(first)
		time.Sleep(15 * time.Second) // who stands for election hears nothing meanwhile, for 10 s if the bucket does not answer
		knows(t, "once it is heard of again", 1, first, rest[0], rest[1])
		gates(true, rest...)
	})
}

func TestALeaderWhoseAppendHangsIsNoneThatIsKnown(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		first, rest := knowing(t, c)
		all := append(rest, first)
		time.Sleep(time.Second)
		gates(false, all...)
		done := make(chan error, 1)
		go func() { done <- first.do(t, "waits") }()
		time.Sleep(2 * time.Second)
		knows(t, "while an append takes long", 1, all...)
		time.Sleep(2 * time.Second)
		knows(t, "when its append hangs", 0, first)
		time.Sleep(4 * time.Second)
		knows(t, "when they have heard of that", 0, rest...)
		gates(true, all...)
		must(t, <-done)
		leader(t, all...)
		time.Sleep(5 * time.Second)
		knows(t, "once somebody appends", 1, all...)
	})
}

// fences counts those that a node has applied, up to an index.
func (n *node) fences(t *testing.T, through uint64) (count float64) {
	t.Helper()
	must(t, n.Ask(t.Context(), metadata.Local(), func(r state.Reader) {
		for index := uint64(1); index <= through; index++ {
			if r.Fence(index) {
				count++
			}
		}
	}))
	return count
}

// TestOnlyLeadersThatBeginMeanwhileAreCounted: not those of the journal that an agent reads when it starts.
func TestOnlyLeadersThatBeginMeanwhileAreCounted(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		nodes := []*node{c.add("a", ""), c.add("b", "")}
		change := func(nodes ...*node) {
			first := leader(t, nodes...)
			must(t, first.Resign(t.Context()))
			leader(t, others(first, nodes...)...)
			time.Sleep(time.Second)
		}
		for range 3 {
			change(nodes...)
		}
		late := c.addSilently("c", "", nil)
		history := late.fences(t, late.Applied())
		late.openSession(t, "")
		if got := late.metric(t, "leat_metadata_terms_total"); got != 0 || history < 4 {
			t.Errorf("an agent that has just started has counted %v leaders, of %v before it", got, history)
		}
		change(append(nodes, late)...)
		change(append(nodes, late)...)
		all := late.fences(t, late.Applied())
		if got := late.metric(t, "leat_metadata_terms_total"); got != all-history || got < 2 {
			t.Errorf("it has counted %v leaders; %v have begun since it started", got, all-history)
		}
		if got := nodes[0].metric(t, "leat_metadata_terms_total"); got != all {
			t.Errorf("the first agent has counted %v leaders of %v", got, all)
		}
	})
}

// TestLeadersThatAreReadAgainAreNoNews: a state that differs is thrown away, and the journal's fences are applied once more.
func TestLeadersThatAreReadAgainAreNoNews(t *testing.T) {
	inCluster(t, func(t *testing.T, c *cluster) {
		first, other := c.tampered()
		must(t, first.do(t, "good"))
		time.Sleep(time.Second)
		counted := other.metric(t, "leat_metadata_terms_total")
		must(t, first.do(t, "next"))
		time.Sleep(time.Second)
		if other.metric(t, "leat_metadata_diverged_total") != 1 {
			t.Fatal("the test does not reach what it is about")
		}
		if got := other.metric(t, "leat_metadata_terms_total"); got != counted {
			t.Errorf("it has counted %v leaders, and %v after it began anew", counted, got)
		}
		knows(t, "after it began anew", 1, other)
	})
}
