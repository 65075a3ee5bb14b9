package api

import "github.com/prometheus/client_golang/prometheus"

func newMetrics(reg prometheus.Registerer) (nudged *prometheus.CounterVec, pointed prometheus.Counter) {
	nudged = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "leat_api_nudges_total", Help: "Partitions of requests that were refused because another agent serves them better, by call.",
	}, []string{"call"})
	pointed = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "leat_api_replica_pointers_total", Help: "Partitions of fetches that were answered with the replica in the consumer's zone.",
	})
	for _, call := range []string{"Produce", "Fetch"} {
		nudged.WithLabelValues(call)
	}
	if reg != nil {
		reg.MustRegister(nudged, pointed)
	}
	return nudged, pointed
}
