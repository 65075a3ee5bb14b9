package agent

import (
	"context"
	"math"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// register registers what is known of this agent as a whole, from its first moment.
func (a *Agent) register(reg prometheus.Registerer) {
	gauge := func(name, help string, value func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	one := func(name, help string, labels prometheus.Labels) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, func() float64 { return 1 }))
	}
	one("leat_build_info", "1, with the version of this agent and of Go.",
		prometheus.Labels{"version": a.cfg.Process.Version, "goversion": runtime.Version()})
	one("leat_agent_info", "1, with the cluster, name and zone that this agent was given, and the session of its present life.",
		prometheus.Labels{"cluster": a.cfg.Cluster, "name": a.cfg.agentName(), "zone": a.cfg.Wire.Zone, "session": a.cfg.Process.session.String()})
	gauge("leat_agent_lives", "Lives that this process has begun: after the first each time because others took it for dead.",
		func() float64 { return float64(a.cfg.Process.earlier + 1) })
	gauge("leat_agents_alive", "Agents that this one sees alive, itself included, those that leave not.",
		func() float64 { return float64(a.others.alive()) })
	gauge("leat_agent_ready", "1 while this agent takes clients, as /readyz says, else 0: while it starts, stops, or has stepped aside.",
		func() float64 { return truth(a.web.serving.Load() && !a.web.aside.Load()) })
	gauge("leat_agent_aside", "1 while other agents do this one's work, because the object store does not answer it, else 0.",
		func() float64 { return truth(a.web.aside.Load()) })
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
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

// figures registers what is known of the state of the cluster, which is looked at when they are read. It is called once the
// replica is open.
func (a *Agent) figures(reg prometheus.Registerer) {
	gauge := func(name, help string, of func(state.Reader) float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() (value float64) {
			if a.replica.Ask(context.Background(), metadata.Local(), func(r state.Reader) { value = of(r) }) != nil {
				return math.NaN() // this life is over
			}
			return value
		}))
	}
	gauge("leat_metadata_term", "Term of the metadata leader that this agent knows: the journal index of its fence.", func(r state.Reader) float64 {
		_, term := r.Leader()
		return float64(term)
	})
	gauge("leat_metadata_topics", "Topics of the cluster.", func(r state.Reader) float64 {
		topics, _ := r.TopicCount()
		return float64(topics)
	})
	gauge("leat_metadata_partitions", "Partitions of the cluster.", func(r state.Reader) float64 {
		_, partitions := r.TopicCount()
		return float64(partitions)
	})
	gauge("leat_metadata_time_seconds", "Largest time that an agent ever put into a command, in seconds since the epoch.", func(r state.Reader) float64 {
		_, latest := r.Time()
		return float64(latest) / 1000
	})
	gauge("leat_metadata_time_unconfirmed_seconds",
		"By how much the metadata's time jumped without being confirmed, in seconds: while it is not 0, nothing expires by time.",
		func(r state.Reader) float64 {
			steady, latest := r.Time()
			return float64(latest-steady) / 1000
		})
}

// topicName is what a topic is called; false if there is none of that id.
func (a *Agent) topicName(id state.UUID) (name string, ok bool) {
	err := a.replica.Ask(context.Background(), metadata.Local(), func(r state.Reader) {
		var t state.Topic
		t, ok = r.Topic(id)
		name = t.Name
	})
	return name, ok && err == nil
}

// led tells how many partitions this agent leads, counted when that is asked for. It is registered once the replica is open.
type led struct{ *Agent }

// maxLed is up to how many partitions of the cluster it counts: that takes some ten milliseconds. Beyond, it tells nothing.
const maxLed = 100_000

var ledDesc = prometheus.NewDesc("leat_agent_partitions_led",
	"Partitions that this agent leads for clients of its zone, as far as it sees; not told of a cluster with more than 100,000 partitions.", nil, nil)

// Describe implements prometheus.Collector.
func (l led) Describe(ch chan<- *prometheus.Desc) { ch <- ledDesc }

// Collect implements prometheus.Collector.
func (l led) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var topics []state.Topic
	if l.replica.Ask(ctx, metadata.Local(), func(r state.Reader) {
		if _, partitions := r.TopicCount(); partitions <= maxLed {
			topics = []state.Topic{}
			for t := range r.Topics() {
				topics = append(topics, t)
			}
		}
	}) != nil || topics == nil {
		return
	}
	view, own, count := l.others.view.Load().View(), l.session.ID(), 0
	for _, t := range topics {
		for p := range t.Partitions {
			if b, ok := view.Leader(t.ID, p, l.cfg.Wire.Zone); ok && b.Session == own {
				count++
			}
		}
	}
	ch <- prometheus.MustNewConstMetric(ledDesc, prometheus.GaugeValue, float64(count))
}
