//go:build interop

package interop

import (
	"testing"
	"time"
)

// TestRollingRestartIsNotNoticed: all agents are restarted, one after the other, while applications of every library work. They
// know the agents by name; there is no balancer.
func TestRollingRestartIsNotNoticed(t *testing.T) {
	c := newCluster(t, "bucket:")
	c.start(t, c.plan(t, 3)...)
	crowd := newCrowd(t, c.addr(), "java", "librdkafka", "kgo")
	crowd.undisturbed(t, func() { c.roll(t, crowd) })
	crowd.stop(t, c.addr())
}

// roll restarts every agent, and prints how long that was felt.
func (c *cluster) roll(t *testing.T, crowd *crowd) {
	t.Helper()
	for _, m := range c.agents {
		told, ended, back := c.restart(t, m)
		crowd.flows(t, crowdRate)
		t.Logf("%s ended %s after SIGTERM and served again %s later; the longest silence of a partition, and when the last over %s had ended: %s",
			m.name, seconds(ended.Sub(told)), seconds(back.Sub(ended)), seconds(pauseBound), crowd.pauses(told, time.Now()))
	}
}
