package agent_test

import (
	"testing"
	"time"

	"github.com/leat-stream/leat/objectstore/storetest/minioproc"
)

// oneAsideStopsInTime: the other one leads, and takes its leave and the end of its session, so that nothing has to be found out
// later. Then the one that is left loses the bucket, too, and stays.
func oneAsideStopsInTime(t *testing.T, server *minioproc.Server) {
	agents := startLined(t, 2, server, "aside-stop", "bucket:", nothing)
	agents[0].topic("events", asidePartitions)
	s := newStream(t, "events", agents)
	for _, a := range agents {
		a.leads(t)
	}
	one, other := oneOf(t, agents, true), oneOf(t, agents, false)
	one.line.set(silent)
	eventually(t, "it steps aside", one.aside)
	began := time.Now()
	one.stop() // fails unless the session is closed
	took := time.Since(began)
	t.Logf("stopped after %v", took)
	if took > stopTime {
		t.Error("it took too long")
	}
	eventually(t, "nobody counts on it", func() bool { return other.metric("leat_agents_alive") == 1 })
	s.settle(10)
	other.line.set(cut)
	eventually(t, "it notices", func() bool { return other.metric("leat_objectstore_stuck") == 1 })
	if !steady(func() bool { return !other.aside() && other.get("/readyz") == "serving\n" }) {
		t.Error("there is nobody to leave the work to")
	}
	other.line.set(whole)
	s.settle(10)
	s.check("events", other)
}
