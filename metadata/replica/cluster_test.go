package replica_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/journal/object"
	"github.com/leat-stream/leat/metadata/replica"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
)

// cluster is several replicas over one bucket and one network, in a synctest bubble: time is virtual.
type cluster struct {
	*world
	net   *network
	delay time.Duration // of every request to the bucket, for nodes that are added from now on
}

// node is one agent's replica with its session.
type node struct {
	*process
	name string
	id   state.UUID
	cfg  replica.Config
	who  *metadata.Session
	over chan error // what the session's Run answered
	gate *gate      // its way to the bucket
	reg  *prometheus.Registry

	warned *warnings
}

// warnings counts the lines of a log that call for attention, and keeps all that an operator sees.
type warnings struct {
	count atomic.Int64

	mu    sync.Mutex
	lines []string
}

// saying answers the lines that have text in them.
func (w *warnings) saying(text string) (lines []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, line := range w.lines {
		if strings.Contains(line, text) {
			lines = append(lines, line)
		}
	}
	return lines
}

func (w *warnings) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, string(b))
	if bytes.Contains(b, []byte("level=WARN")) || bytes.Contains(b, []byte("level=ERROR")) {
		w.count.Add(1)
	}
	return len(b), nil
}

// inCluster runs a test in virtual time.
func inCluster(t *testing.T, test func(t *testing.T, c *cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{world: newWorld(t), net: newNetwork()}
		test(t, c)
	})
}

// add starts an agent's replica and opens its session.
func (c *cluster) add(name, zone string) *node {
	c.t.Helper()
	n := c.addSilently(name, zone, nil)
	n.openSession(c.t, zone)
	return n
}

// addSilently starts a replica without a session.
func (c *cluster) addSilently(name, zone string, change func(*replica.Config)) *node {
	c.t.Helper()
	n := c.prepare(name, zone, change)
	c.start(n)
	return n
}

// prepare makes a node that is to be started.
func (c *cluster) prepare(name, zone string, change func(*replica.Config)) *node {
	cfg := c.config()
	cfg.Leader.Agent, cfg.Leader.Address, cfg.Zone = name, name, zone
	if change != nil {
		change(&cfg)
	}
	return &node{
		process: &process{session: cfg.Leader.Session, ended: make(chan struct{})}, name: name, id: cfg.Leader.Session, cfg: cfg,
		gate: &gate{Store: c.store, delay: c.delay}, warned: &warnings{},
	}
}

// start opens and runs a node's replica.
func (c *cluster) start(n *node) {
	c.t.Helper()
	j, err := object.Open(c.t.Context(), n.gate, c.keys)
	must(c.t, err)
	log := n.log()
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(io.MultiWriter(n.warned, testLog{c.t}), &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", n.name)
	}
	n.reg = prometheus.NewRegistry()
	n.Replica, err = replica.Open(c.t.Context(), n.cfg, j, object.NewImages(n.gate, c.keys), wires{c.net, n.name}, log, n.reg)
	must(c.t, err)
	c.net.mu.Lock()
	c.net.nodes[n.name] = n.Server()
	c.net.mu.Unlock()
	n.process.start(c.t)
}

// log is what keeps the lines of a node.
func (n *node) log() *slog.Logger { return slog.New(slog.NewTextHandler(n.warned, nil)) }

type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Logf("%s %s", time.Now().Format("05.000"), b[:len(b)-1])
	return len(b), nil
}

func (n *node) openSession(t *testing.T, zone string) {
	t.Helper()
	n.who = metadata.NewSession(n.Replica, metadata.Identity{Session: n.id, NodeID: -1, Agent: n.name, Peer: n.name, Zone: zone}, time.Now)
	must(t, n.who.Open(t.Context()))
	ctx, cancel := context.WithCancel(context.Background())
	n.over = make(chan error, 1)
	go func() { n.over <- n.who.Run(ctx) }()
	t.Cleanup(cancel)
}

// kill ends a node at once: its connections break, and nothing listens where it did.
func (c *cluster) kill(n *node) {
	c.net.mu.Lock()
	delete(c.net.nodes, n.name)
	c.net.mu.Unlock()
	n.stop()
}

func (c *cluster) freeze(n *node) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.net.frozen[n.name] = make(chan struct{})
}

func (c *cluster) thaw(n *node) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	close(c.net.frozen[n.name])
	delete(c.net.frozen, n.name)
}

func (c *cluster) sever(a, b *node, cut bool) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.net.cut[[2]string{a.name, b.name}] = cut
}

// leader waits until exactly one of the nodes leads and answers it.
func leader(t *testing.T, nodes ...*node) *node {
	t.Helper()
	for range 100_000 {
		var leads []*node
		for _, n := range nodes {
			if n.Leading() {
				leads = append(leads, n)
			}
		}
		if len(leads) == 1 {
			return leads[0]
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("no single leader")
	return nil
}

func others(of *node, nodes ...*node) (rest []*node) {
	for _, n := range nodes {
		if n != of {
			rest = append(rest, n)
		}
	}
	return rest
}

// do makes a topic through the node's session.
func (n *node) do(t *testing.T, name string) error {
	t.Helper()
	id := state.UUID{0: 1}
	copy(id[1:], name)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	results, err := n.who.Do(ctx, state.CreateTopic{Topic: id, Name: name, Partitions: 1, ReplicationFactor: 1})
	if err == nil && results[0].Code != state.CodeOK {
		err = fmt.Errorf("create %s: code %d", name, results[0].Code)
	}
	return err
}

// waitClosed waits until a session is closed in the state.
func waitClosed(t *testing.T, n *node, id state.UUID) time.Duration {
	t.Helper()
	began := time.Now()
	for range 10_000 {
		open := false
		must(t, n.Ask(t.Context(), metadata.Local(), func(r state.Reader) {
			s, ok := r.Session(id)
			open = ok && !s.Closed
		}))
		if !open {
			return time.Since(began)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the session was never closed")
	return 0
}

// What a bucket may say for long.
var (
	errDenied    = objectstore.ErrDenied
	errThrottled = objectstore.ErrThrottled
)

// gate is a store that can be shut: requests then wait until it opens, or their time is over.
type gate struct {
	objectstore.Store
	delay time.Duration // of every request; set before there are any
	asked atomic.Int64  // requests

	mu      sync.Mutex
	shut    chan struct{} // nil: open
	swallow bool          // while it is shut, what is put lands, and only the answer never comes
	deny    error         // answered to every request
}

func (g *gate) close() { g.closeFor(false) }

func (g *gate) closeFor(answers bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.swallow = make(chan struct{}), answers
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.shut)
	g.shut = nil
}

func (g *gate) refuse(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.deny = err
}

func (g *gate) pass(ctx context.Context) error {
	g.asked.Add(1)
	if g.delay > 0 {
		select {
		case <-time.After(g.delay):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	g.mu.Lock()
	shut, deny := g.shut, g.deny
	g.mu.Unlock()
	if shut == nil {
		return deny
	}
	select {
	case <-shut:
		return deny
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (g *gate) Get(ctx context.Context, key string, r objectstore.Range) (objectstore.Object, error) {
	if err := g.pass(ctx); err != nil {
		return objectstore.Object{}, err
	}
	return g.Store.Get(ctx, key, r)
}

func (g *gate) Put(ctx context.Context, key string, body objectstore.Body, c objectstore.Condition) (objectstore.Version, error) {
	g.mu.Lock()
	swallow := g.shut != nil && g.swallow
	g.mu.Unlock()
	if swallow {
		_, _ = g.Store.Put(ctx, key, body, c)
	}
	if err := g.pass(ctx); err != nil {
		return "", err
	}
	if swallow {
		return "", errBroken
	}
	return g.Store.Put(ctx, key, body, c)
}

// tampered is a leader and a follower to whom a topic "good" is pushed as "evil": a bug, or bad memory, that makes its state
// differ. Every entry carries the leader's hash.
func (c *cluster) tampered() (first, other *node) {
	c.t.Helper()
	var nodes []*node
	for _, name := range []string{"a", "b"} {
		n := c.addSilently(name, "", func(cfg *replica.Config) { cfg.CheckEvery = 1 })
		n.openSession(c.t, "")
		nodes = append(nodes, n)
	}
	first = leader(c.t, nodes...)
	other = others(first, nodes...)[0]
	c.net.mu.Lock()
	c.net.tamper = func(to string, e *journal.Entry) {
		if to == other.name {
			e.Body = bytes.ReplaceAll(bytes.Clone(e.Body), []byte("good"), []byte("evil"))
		}
	}
	c.net.mu.Unlock()
	return first, other
}
