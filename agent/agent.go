package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/agent/api"
	"github.com/leat-stream/leat/agent/api/versions"
	"github.com/leat-stream/leat/agent/brokers"
	"github.com/leat-stream/leat/agent/chunks"
	"github.com/leat-stream/leat/agent/fetch"
	"github.com/leat-stream/leat/agent/group"
	"github.com/leat-stream/leat/agent/group/lag"
	"github.com/leat-stream/leat/agent/peer"
	"github.com/leat-stream/leat/agent/produce"
	"github.com/leat-stream/leat/agent/topics"
	"github.com/leat-stream/leat/agent/traffic"
	"github.com/leat-stream/leat/agent/upkeep"
	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/cache"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/replica"
	"github.com/leat-stream/leat/metadata/state"
)

// Agent is one running agent. Open makes it, Run runs it, once.
type Agent struct {
	cfg Config
	log *slog.Logger // names agent and session in every line

	server   *wire.Server
	vigil    *vigil // in front of the handlers
	web      *web
	ground   *ground
	others   *neighbours
	replica  *replica.Replica
	session  *metadata.Session
	cache    *cache.Cache
	producer *produce.Producer
	groups   *group.Coordinator
	waiters  *fetch.Waiters
	from     uint64 // index that the waiters follow from
	peers    peer.Handlers
}

// Open binds every port and opens store and journal, in this order: what can fail without touching the cluster comes first, so
// that an agent that cannot start never disturbs those that run. Nothing but health and metrics is served before Run: clients wait,
// and are turned away once that takes long (loading.go). An agent whose journal no other
// can share takes the lead here.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Agent, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, waiters: fetch.NewWaiters(), vigil: &vigil{}}
	a.cfg.Process.session = newID()
	a.log = cfg.named(log).With("session", a.cfg.Process.session.String())
	if err := a.build(ctx); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *Agent) build(ctx context.Context) (err error) {
	reg := prometheus.NewRegistry()
	a.cfg.Wire.Drain = min(a.cfg.Wire.Drain, drainTime)
	a.cfg.Wire.Mark = func() uint64 { return a.groups.Accepted() } // it serves when there are groups
	if a.server, err = wire.New(a.cfg.Wire, versions.Range, a.log, reg); err != nil {
		return err
	}
	if err = a.server.Listen(ctx); err != nil {
		return err
	}
	if a.web, err = listenWeb(a.cfg.HTTP, reg, a.log); err != nil {
		return err
	}
	a.web.refusing = turnAway(a.server.Bound(), slowStart, a.log)
	if a.ground, err = openGround(ctx, a.cfg, reg); err != nil {
		return err
	}
	if a.others, err = openNeighbours(ctx, a.cfg, a.ground, a.log, reg); err != nil {
		return err
	}
	a.register(reg)
	return a.settle(ctx, reg, a.others.peers())
}

// settle opens cache and metadata, and puts the parts on them. peers is how the metadata replica reaches the others; nil: this agent is alone.
func (a *Agent) settle(ctx context.Context, reg prometheus.Registerer, peers replica.Peers) error {
	source, err := a.others.source(a.ground, a.log, reg)
	if err != nil {
		return err
	}
	if a.cache, err = cache.Open(a.cfg.Cache, source, a.log, reg); err != nil {
		return err
	}
	cfg := replica.Default()
	cfg.SnapshotBytes, cfg.Zone = a.cfg.SnapshotBytes, a.cfg.Wire.Zone
	cfg.Leader = state.LeaderInfo{Session: a.cfg.Process.session, Agent: a.cfg.agentName(), Address: a.others.address}
	start := a.web.starting
	start.does(startReads)
	journal, images := start.journal(a.ground.journal), start.images(a.ground.images)
	if a.replica, err = replica.Open(ctx, cfg, journal, images, peers, a.log, reg); err != nil {
		return err
	}
	a.session = metadata.NewSession(a.replica, a.identity(cfg.Leader), time.Now)
	return a.assemble(ctx, reg)
}

// identity is what this agent says of itself in its session.
func (a *Agent) identity(leader state.LeaderInfo) metadata.Identity {
	who := metadata.Identity{
		Session: leader.Session, NodeID: -1, Agent: leader.Agent, Address: a.address(), Zone: a.cfg.Wire.Zone, Peer: leader.Address,
	}
	for _, l := range a.cfg.Wire.Listeners {
		who.Listeners = append(who.Listeners, state.Listener{Name: l.Name, Address: a.server.Advertised(l.Name)})
	}
	return who
}

// assemble puts the parts together over a session that is opened once the replica runs.
func (a *Agent) assemble(ctx context.Context, reg prometheus.Registerer) error {
	if err := a.replica.Ask(ctx, metadata.Local(), func(r state.Reader) { a.from = r.Index() }); err != nil {
		return err
	}
	known, err := brokers.New(ctx, a.replica, a.session.ID(), time.Now)
	if err != nil {
		return err
	}
	a.others.view.Store(known)
	flow := traffic.New(a.topicName)
	reg.MustRegister(flow, led{a})
	a.figures(reg)
	catalog, err := topics.New(a.cfg.Topics, a.session)
	if err != nil {
		return err
	}
	if a.producer, err = produce.New(a.cfg.Produce, produce.Deps{
		Session: a.session, Store: a.ground.store, Keys: a.ground.keys, Cluster: a.ground.cluster, Recent: a.cache,
		Topics: flow, Log: a.log, Register: reg,
	}); err != nil {
		return err
	}
	fetcher, err := fetch.New(a.cfg.Fetch, fetch.Deps{
		Metadata: a.replica, Chunks: a.cache, Chunk: a.cfg.Cache.ChunkBytes, Keys: a.ground.keys, Waiters: a.waiters,
		Topics: flow, Log: a.log, Register: reg,
	})
	if err != nil {
		return err
	}
	a.groups = group.New(a.cfg.Group, group.Deps{
		Door: a.session, Applied: a.replica.Applied, Watch: a.replica.Watch, Mine: a.others.coordinates, Changed: known.Changed,
		Log: a.log, Register: reg,
	})
	server := api.New(api.Deps{
		Session: a.session, Catalog: catalog, Producer: a.producer, Fetcher: fetcher,
		Sessions: fetch.NewSessions(a.cfg.Fetch.Sessions, time.Now), Coordinator: a.groups, Log: a.log, BrokerConfigs: a.cfg.brokerConfigs(),
		Cluster: a.ground.cluster, Zone: a.cfg.Wire.Zone, Advertise: a.server.Advertised,
		Brokers: known, Shared: a.server.Shared, Forward: a.others.forwarder(a.session.ID()), Nudges: api.NewNudges(api.Default(), reg),
	})
	a.vigil.Handler = server
	reg.MustRegister(lag.Collector{Ask: a.replica.Ask, Mine: a.others.coordinates})
	a.others.aside = newAside(a.asideDeps(known))
	return a.answerPeers(server, reg)
}

// answerPeers is what other agents may ask of this one.
func (a *Agent) answerPeers(server *api.Server, reg prometheus.Registerer) error {
	stored, err := chunks.NewServer(chunks.Default().Within(a.cfg.Cache.MemoryBytes), a.ground.keys, a.cache, reg)
	if err != nil {
		return err
	}
	a.peers = peer.Handlers{Replica: a.replica.Server(), Chunks: stored.Chunks, Forward: forwarded(server.ServeForwarded)}
	return nil
}

// address is where clients of the first listener reach this agent.
func (a *Agent) address() string {
	return a.server.Advertised(a.cfg.Wire.Listeners[0].Name)
}

// bound lists what the listeners are bound to, and advertised what their clients are told: HOST:PORT, or NAME=HOST:PORT,…
// of several.
func (a *Agent) bound() string { return a.perListener(a.Addr) }

func (a *Agent) advertised() string { return a.perListener(a.server.Advertised) }

func (a *Agent) perListener(address func(name string) string) string {
	listeners := a.cfg.Wire.Listeners
	if len(listeners) == 1 {
		return address(listeners[0].Name)
	}
	var list []string
	for _, l := range listeners {
		list = append(list, l.Name+"="+address(l.Name))
	}
	return strings.Join(list, ",")
}

// Addr is the address that a listener is bound to, for port 0.
func (a *Agent) Addr(listener string) string { return a.server.Addr(listener).String() }

// HTTPAddr is the address of metrics and health, "" if there is none.
func (a *Agent) HTTPAddr() string { return a.web.addr() }

// errDrained ends the parts of an agent that was told to stop.
var errDrained = errors.New("agent drained")

// Run serves until ctx ends and everything accepted is answered (nil), or until the agent must not serve any more: then
// the error says why; metadata.ErrSessionClosed means that it may begin anew. Everything has ended when it returns.
//
// The parts form a chain, and each outlives what stands on it: connections, then produce and groups, then the session,
// then the replica and what answers other agents.
func (a *Agent) Run(ctx context.Context) error {
	defer a.close()
	base, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(errDrained)
	var wg sync.WaitGroup
	part := func(name string, run func(context.Context) error) {
		wg.Go(func() {
			switch err := run(base); {
			case err == nil || base.Err() != nil:
			case errors.Is(err, metadata.ErrFenced), errors.Is(err, metadata.ErrSessionClosed): // whichever part noticed first
				cancel(err)
			default:
				cancel(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	part("metadata", a.replica.Run)
	part("http", a.web.run)
	part("peers", func(ctx context.Context) error { return a.others.run(ctx, a.peers) })
	a.web.starting.does(startJoins)
	if err := a.openUntil(ctx, base); err != nil {
		if base.Err() != nil { // another part has failed, and that is why
			err = context.Cause(base)
		}
		cancel(err)
		wg.Wait()
		if ctx.Err() != nil { // told to stop before anything was accepted
			return nil
		}
		return err
	}
	a.parts(part)
	a.web.ready(true)
	a.log.Info("serving", "cluster", a.cfg.Cluster, "broker", a.session.NodeID(), "listen", a.bound(), "advertise", a.advertised(),
		"peer", a.others.address, "http", a.HTTPAddr(), "store", a.ground.storeName, "journal", a.ground.journalName)
	err := a.serve(ctx, base)
	a.web.ready(false)
	if cause := context.Cause(base); cause != nil && err == nil {
		err = cause
	}
	cancel(errDrained)
	wg.Wait()
	if err == nil {
		a.log.Info("stopped")
	}
	return err
}

// parts begins everything that works by itself over an open session, connections apart.
func (a *Agent) parts(part func(name string, run func(context.Context) error)) {
	part("bucket", func(ctx context.Context) error { a.ground.health.Run(ctx); return nil })
	part("aside", a.others.aside.run)
	part("session", a.session.Run)
	part("membership", func(ctx context.Context) error { return closed(ctx, a.replica, a.session, a.from) })
	part("brokers", a.others.view.Load().Run)
	part("produce", a.producer.Run)
	part("groups", a.groups.Run)
	part("vigil", func(ctx context.Context) error { return a.vigil.run(ctx, a.replica) })
	part("upkeep", func(ctx context.Context) error { return upkeep.Run(ctx, a.cfg.Upkeep, a.session, time.Now, a.log) })
	part("fetch", func(ctx context.Context) error { return a.waiters.Run(ctx, a.replica, a.from) })
}

// serve runs the connections until ctx or base ends, then drains.
func (a *Agent) serve(ctx, base context.Context) error {
	serving, stop := context.WithCancel(base)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- a.server.Serve(serving, a.vigil) }()
	select {
	case err := <-done: // a listener failed, or base ended
		if err == nil {
			err = context.Cause(base)
		}
		return err
	case <-ctx.Done():
	}
	return a.drain(base, stop, done)
}

// openUntil opens the session. It ends with ctx too: a journal that does not answer must not keep an agent from stopping.
func (a *Agent) openUntil(ctx, base context.Context) error {
	opening, stop := context.WithCancel(base)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	return a.session.Open(opening)
}

// close releases what Open took.
func (a *Agent) close() {
	if a.server != nil {
		a.server.Close()
	}
	if a.web != nil {
		a.web.close()
	}
	if a.cache != nil {
		if err := a.cache.Close(); err != nil {
			a.log.Warn("cache did not close", "error", err)
		}
	}
	if a.others != nil { // after the cache, which reads through it
		a.others.close()
	}
	if a.ground != nil {
		a.ground.close()
	}
}

func newID() (id state.UUID) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}
