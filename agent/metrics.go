package agent

import "github.com/prometheus/client_golang/prometheus"

// register registers what is known of this agent as a whole.
func (a *Agent) register(reg prometheus.Registerer) {
	reg.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "leat_agent_lives", Help: "Lives that this process has begun: after the first each time because others took it for dead.",
		}, func() float64 { return float64(a.cfg.earlier + 1) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "leat_agents_alive", Help: "Agents that this one sees alive, itself included, those that leave not.",
		}, func() float64 { return float64(a.others.alive()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "leat_agent_aside", Help: "1 while other agents do this one's work, because the object store does not answer it, else 0.",
		}, func() float64 {
			if a.web.aside.Load() {
				return 1
			}
			return 0
		}),
	)
}

// alive counts the agents of the cluster that are alive and do not leave, as far as this one knows.
func (n *neighbours) alive() (count int) {
	for _, b := range n.view.Load().View().All() {
		if !b.Leaving {
			count++
		}
	}
	return count
}
