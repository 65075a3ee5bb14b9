package agent

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/agent/api/versions"
	"github.com/leat-stream/leat/agent/fetch"
	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// TestAnIdleAgentAsksNextToNothing runs every part of an agent but its connections, for which virtual time would stand still.
func TestAnIdleAgentAsksNextToNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.Store, cfg.Journal = "mem:", "bucket:"
		cfg.Wire.Listeners = []wire.Listener{{Name: "default", Address: "127.0.0.1:0", Advertised: "127.0.0.1:9092"}}
		cfg.Cache.MemoryBytes = 48 << 20
		cfg.Process.session = newID()
		a := &Agent{cfg: cfg, log: slog.New(slog.DiscardHandler), waiters: fetch.NewWaiters(), vigil: &vigil{}, web: &web{}}
		ctx, cancel := context.WithCancel(t.Context())
		var parts sync.WaitGroup
		defer func() {
			cancel()
			parts.Wait()
			a.close()
		}()
		reg := prometheus.NewRegistry()
		var err error
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		a.server, err = wire.New(cfg.Wire, versions.Range, a.log, reg)
		must(err)
		a.ground, err = openGround(ctx, cfg, reg)
		must(err)
		a.others = &neighbours{}
		must(a.settle(ctx, reg))
		part := func(name string, run func(context.Context) error) {
			parts.Go(func() {
				if err := run(ctx); err != nil && ctx.Err() == nil {
					t.Errorf("%s ended: %v", name, err)
				}
			})
		}
		part("metadata", a.replica.Run)
		must(a.session.Open(ctx))
		a.parts(part)
		synctest.Wait()

		before := requests(t, reg)
		if before["put"] == 0 {
			t.Fatal("the start is not counted")
		}
		time.Sleep(time.Minute)
		if after := requests(t, reg); after != nil && len(diff(before, after)) != 0 {
			t.Errorf("an idle minute: %v", diff(before, after))
		}
		time.Sleep(23*time.Hour + 59*time.Minute)
		// Vigil looks every five minutes, upkeep writes an entry every hour.
		if d := diff(before, requests(t, reg)); d["get"] > 24*12 || d["put"] > 24 || len(d) > 2 {
			t.Errorf("an idle day: %v", d)
		}
		must(a.replica.Ask(ctx, metadata.Local(), func(state.Reader) {})) // it was alive all the time
	})
}

// requests answers what went to the store so far, by operation.
func requests(t *testing.T, reg *prometheus.Registry) map[string]int {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, f := range families {
		if f.GetName() != "leat_objectstore_requests_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "operation" {
					counts[l.GetValue()] += int(m.GetCounter().GetValue())
				}
			}
		}
	}
	return counts
}

func diff(before, after map[string]int) map[string]int {
	d := map[string]int{}
	for k, n := range after {
		if n != before[k] {
			d[k] = n - before[k]
		}
	}
	return d
}
