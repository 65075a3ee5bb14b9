//go:build interop

package interop

import (
	"testing"
	"time"
)

// TestConnectionsThatAgeDisturbNoJavaGroup: behind one address connections end because of their age, again and again, and Java's
// consumers, which forget their topics when they want Metadata while their only broker cannot be asked (KIP-899), neither forget nor join
// their group again. Those who look find it easier from afar, where it takes longer until topics are known again.
func TestConnectionsThatAgeDisturbNoJavaGroup(t *testing.T) {
	const (
		life  = "1500ms"
		apart = 20 * time.Millisecond
		ends  = 15 // of connections
	)
	c := &cluster{store: "mem:", journal: "mem:"}
	agent, shared := c.plan(t, 1)[0], freeAddr(t)
	agent.args = append(agent.args, "--advertise", "shared="+shared, "--max-connection-age", life)
	distant(t, shared, agent.kafka, apart)
	c.start(t, agent)
	crowd := newCrowd(t, shared, "java")
	group := crowd.histories[0]
	count := func() (ends, generations float64) {
		m := agent.metrics(t)
		return m.Sum("leat_wire_connections_closed_total", `reason="max_age"`), m.Sum("leat_group_rebalances_total")
	}
	crowd.undisturbed(t, func() {
		began := time.Now()
		ended, generation := count()
		forgot := group.rebootstraps()
		eventually(t, "connections have ended", func() bool { now, _ := count(); return now >= ended+ends })
		crowd.flows(t, crowdRate)
		now, next := count()
		t.Logf("%v connections ended in %s", now-ended, seconds(time.Since(began)))
		if next != generation {
			t.Errorf("%v generations were begun", next-generation)
		}
		if n := group.rebootstraps() - forgot; n > 0 {
			t.Errorf("consumers forgot their topics %d times", n)
		}
	})
	crowd.stop(t, shared)
}
