package agent

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/leat-stream/leat/agent/api/versions"
	"github.com/leat-stream/leat/agent/fetch"
	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/replica"
	"github.com/leat-stream/leat/metadata/state"
)

// TestAnIdleAgentAsksNextToNothing runs every part of an agent but its connections, for which virtual time would stand still.
func TestAnIdleAgentAsksNextToNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := startIdle(t, "mem:", "one", nil)
		before := requests(t, a.reg)
		if before["put"] == 0 {
			t.Fatal("the start is not counted")
		}
		time.Sleep(time.Minute)
		if after := requests(t, a.reg); after != nil && len(diff(before, after)) != 0 {
			t.Errorf("an idle minute: %v", diff(before, after))
		}
		time.Sleep(23*time.Hour + 59*time.Minute)
		// Vigil looks every five minutes, upkeep writes an entry every hour.
		if d := diff(before, requests(t, a.reg)); d["get"] > 24*12 || d["put"] > 24 || len(d) > 2 {
			t.Errorf("an idle day: %v", d)
		}
		a.serves(t)
	})
}

// TestThreeIdleAgentsAskNextToNothing: what README's table of costs says of an idle cluster. Agents start at different times, so that
// their entries do not come together.
func TestThreeIdleAgentsAskNextToNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, net := "file://"+t.TempDir()+"/bucket", &wires{servers: map[string]*replica.Server{}}
		var agents []*idler
		for _, name := range []string{"one", "two", "three"} {
			agents = append(agents, startIdle(t, store, name, net))
			time.Sleep(7 * time.Minute)
		}
		var before []map[string]int
		for _, a := range agents {
			before = append(before, requests(t, a.reg))
		}
		const hours = 3
		time.Sleep(hours * time.Hour)
		for i, a := range agents {
			d := diff(before[i], requests(t, a.reg))
			get, put := d["get"], d["put"]
			// The leader looks every five minutes, which costs nothing at the moment of an entry, and writes an entry for each agent every hour.
			leads := i == 0 && len(d) == 2 && put == len(agents)*hours && get <= 12*hours && get >= 11*hours
			if follows := i > 0 && len(d) == 0; !leads && !follows {
				t.Errorf("agent %s, %d idle hours: %v", a.cfg.Name, hours, d)
			}
			a.serves(t)
		}
	})
}

// idler is an agent without connections, in virtual time.
type idler struct {
	*Agent
	reg *prometheus.Registry
}

// startIdle starts an agent on a store, with the journal there, until the test ends; with nil, it is alone.
func startIdle(t *testing.T, store, name string, net *wires) *idler {
	t.Helper()
	cfg := Default()
	cfg.Store, cfg.Journal, cfg.Name = store, "bucket:", name
	cfg.Wire.Listeners = []wire.Listener{{Name: "default", Address: "127.0.0.1:0", Advertised: "127.0.0.1:9092"}}
	cfg.Cache.MemoryBytes = 48 << 20
	cfg.Process.session = newID()
	a := &idler{reg: prometheus.NewRegistry()}
	a.Agent = &Agent{cfg: cfg, log: slog.New(slog.DiscardHandler), waiters: fetch.NewWaiters(), vigil: &vigil{}, web: &web{}, others: &neighbours{}}
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		parts.Wait()
		a.close()
	})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	a.server, err = wire.New(cfg.Wire, versions.Range, a.log, a.reg)
	must(err)
	a.ground, err = openGround(ctx, cfg, a.reg)
	must(err)
	if net == nil {
		must(a.settle(ctx, a.reg, nil))
	} else {
		a.others.address = name
		must(a.settle(ctx, a.reg, net))
		net.join(name, a.replica.Server())
	}
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
	return a
}

// serves checks that the agent was alive all the time, and knows who leads.
func (a *idler) serves(t *testing.T) {
	t.Helper()
	families, err := a.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	known := slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == "leat_metadata_leader_known" })
	if known < 0 || families[known].GetMetric()[0].GetGauge().GetValue() != 1 {
		t.Errorf("agent %s knows no leader", a.cfg.Name)
	}
	if err := a.replica.Ask(t.Context(), metadata.Local(), func(r state.Reader) {
		if s, ok := r.Session(a.session.ID()); !ok || s.Closed {
			t.Errorf("the session of agent %s is closed", a.cfg.Name)
		}
	}); err != nil {
		t.Error(err)
	}
}

// wires connects replicas in one process, without a loss. It implements replica.Peers. mu guards servers.
type wires struct {
	mu      sync.Mutex
	servers map[string]*replica.Server // by address
}

func (w *wires) join(address string, s *replica.Server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.servers[address] = s
}

func (w *wires) at(address string) (*replica.Server, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.servers[address]; s != nil {
		return s, nil
	}
	return nil, replica.ErrRefused
}

func (w *wires) Status(_ context.Context, address string) (replica.Status, error) {
	s, err := w.at(address)
	if err != nil {
		return replica.Status{}, err
	}
	return s.Status(), nil
}

func (w *wires) Propose(ctx context.Context, address string, p replica.Proposal) (replica.Proposed, error) {
	s, err := w.at(address)
	if err != nil {
		return replica.Proposed{}, err
	}
	return s.Propose(ctx, p)
}

func (w *wires) Tip(ctx context.Context, address string, hops int) (uint64, error) {
	s, err := w.at(address)
	if err != nil {
		return 0, err
	}
	return s.Tip(ctx, hops)
}

func (w *wires) TakeOver(ctx context.Context, address string, term uint64) error {
	s, err := w.at(address)
	if err != nil {
		return err
	}
	return s.TakeOver(ctx, term)
}

func (w *wires) Follow(ctx context.Context, address string, f replica.Follow) (replica.Feed, error) {
	s, err := w.at(address)
	if err != nil {
		return nil, err
	}
	l := &line{pushes: make(chan replica.Push), beats: make(chan replica.Beat)}
	l.ctx, l.stop = context.WithCancel(ctx)
	go func() { // ends with the line, which its user closes
		defer l.stop()
		_ = s.Follow(l.ctx, f, func() (replica.Beat, error) { return take(l.ctx, l.beats) }, func(p replica.Push) error {
			return give(l.ctx, l.pushes, p)
		})
	}()
	return l, nil
}

// line is a stream from one replica to another.
type line struct {
	ctx    context.Context
	stop   context.CancelFunc
	pushes chan replica.Push
	beats  chan replica.Beat
}

func (l *line) Send(b replica.Beat) error   { return give(l.ctx, l.beats, b) }
func (l *line) Recv() (replica.Push, error) { return take(l.ctx, l.pushes) }
func (l *line) Close()                      { l.stop() }

func give[T any](ctx context.Context, to chan<- T, v T) error {
	select {
	case to <- v:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func take[T any](ctx context.Context, from <-chan T) (v T, err error) {
	select {
	case v = <-from:
		return v, nil
	case <-ctx.Done():
		return v, context.Cause(ctx)
	}
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
