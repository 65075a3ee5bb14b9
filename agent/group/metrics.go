package group

import "github.com/prometheus/client_golang/prometheus"

// metrics are what the coordinator counts.
type metrics struct {
	rebalances, expired, claims, forgotten, moved, commits, overtaken, abandoned prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, held func() float64) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "leat_groups_held", Help: "Consumer groups that this agent holds in memory.",
	}, held))
	return &metrics{
		rebalances: counter("leat_group_rebalances_total", "Generations of consumer groups that were begun."),
		expired:    counter("leat_group_members_expired_total", "Members that were removed because a timeout ended."),
		claims:     counter("leat_group_claims_total", "Claims on consumer groups that this agent made."),
		forgotten: counter("leat_group_forgotten_total",
			"Consumer groups taken out of memory because a claim was lost or a write failed."),
		moved:     counter("leat_group_moved_total", "Consumer groups taken out of memory because another agent coordinates them now."),
		commits:   counter("leat_group_offset_commits_total", "Partitions for which consumer groups committed an offset."),
		overtaken: counter("leat_group_offset_commits_overtaken_total", "OffsetCommits refused because another agent's came before them."),
		abandoned: counter("leat_group_abandoned_total", "Consumer groups without members that lost offsets to retention."),
	}
}
