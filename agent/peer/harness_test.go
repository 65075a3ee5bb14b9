package peer

import (
	"context"
	"io"
	"log/slog"
	"net"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/leat-stream/leat/agent/peer/peerpb"
	"github.com/leat-stream/leat/metadata/replica"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testSecret = Secret{cluster: testCluster, bytes: [32]byte{5}}

// fakeReplica answers with what a test put into it.
type fakeReplica struct {
	status   func() replica.Status
	propose  func(context.Context, replica.Proposal) (replica.Proposed, error)
	tip      func(context.Context, int) (uint64, error)
	takeOver func(context.Context, uint64) error
	follow   func(context.Context, replica.Follow, func() (replica.Beat, error), func(replica.Push) error) error
}

func (f *fakeReplica) Status() replica.Status { return f.status() }

func (f *fakeReplica) Propose(ctx context.Context, p replica.Proposal) (replica.Proposed, error) {
	return f.propose(ctx, p)
}

func (f *fakeReplica) Tip(ctx context.Context, hops int) (uint64, error) { return f.tip(ctx, hops) }

func (f *fakeReplica) TakeOver(ctx context.Context, term uint64) error { return f.takeOver(ctx, term) }

func (f *fakeReplica) Follow(
	ctx context.Context, start replica.Follow, beats func() (replica.Beat, error), push func(replica.Push) error,
) error {
	return f.follow(ctx, start, beats, push)
}

// quick is a configuration for tests: stopping takes no time, and a busy machine makes no call fail.
func quick() Config {
	cfg := Default()
	cfg.Drain = 100 * time.Millisecond
	cfg.StatusTimeout, cfg.ConnectTimeout = 2*time.Minute, 2*time.Minute
	return cfg
}

// leisurely is quick, but a server that stops waits until its clients, none of which calls any more, have noticed.
func leisurely() Config {
	cfg := quick()
	cfg.Drain = time.Minute
	return cfg
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// listen starts a server that does not serve yet.
func listen(t testing.TB, cfg Config, address string, reg prometheus.Registerer) *Server {
	t.Helper()
	s, err := NewServer(cfg, testSecret, quiet(), reg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(context.Background(), address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// serve runs a server until the test ends, or stop is called.
func serve(t testing.TB, s *Server, h Handlers) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Serve(ctx, h); err != nil {
			t.Error(err)
		}
	})
	stop = func() {
		cancel()
		wg.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// start answers the address of a server with these handlers.
func start(t testing.TB, h Handlers) string {
	t.Helper()
	s := listen(t, quick(), "127.0.0.1:0", nil)
	serve(t, s, h)
	return s.Addr()
}

func newTestClient(t testing.TB, cfg Config) *Client {
	t.Helper()
	c, err := NewClient(cfg, testSecret, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// eventually polls for a condition of real sockets, which no bubble can hold.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// expiring is a context whose time is over when over is closed: a call's time is not to run out before it was sent.
type expiring struct {
	context.Context
	over chan struct{}
}

// Done implements context.Context.
func (e expiring) Done() <-chan struct{} { return e.over }

// Err implements context.Context.
func (e expiring) Err() error {
	select {
	case <-e.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// filled fails the test if a field of v, or of a struct within, is zero: then a round trip would not show that it travels.
func filled(t *testing.T, v any) {
	t.Helper()
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		if v.IsZero() {
			t.Errorf("the test leaves %s zero", path)
		}
		switch v.Kind() {
		case reflect.Pointer:
			walk(path, v.Elem())
		case reflect.Struct:
			for i := range v.NumField() {
				walk(path+"."+v.Type().Field(i).Name, v.Field(i))
			}
		case reflect.Slice:
			if v.Type().Elem().Kind() == reflect.Struct {
				for i := range v.Len() {
					walk(path, v.Index(i))
				}
			}
		}
	}
	walk(reflect.TypeOf(v).Name(), reflect.ValueOf(v))
}

// proxy passes bytes on, until its connections are cut or frozen.
type proxy struct {
	net.Listener
	to string
	wg sync.WaitGroup

	mu    sync.Mutex
	conns []*proxied
	fed   int // connections ever
}

// proxied is one direction of a connection.
type proxied struct {
	net.Conn
	frozen atomic.Bool
}

// Write passes nothing on when it is frozen, as a network that loses everything.
func (p *proxied) Write(b []byte) (int, error) {
	if p.frozen.Load() {
		return len(b), nil
	}
	return p.Conn.Write(b)
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, to: to}
	p.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			p.pass(&proxied{Conn: in}, &proxied{Conn: out})
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) pass(in, out *proxied) {
	p.mu.Lock()
	p.conns, p.fed = append(p.conns, in, out), p.fed+1
	p.mu.Unlock()
	for _, pair := range [][2]*proxied{{in, out}, {out, in}} {
		p.wg.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			pair[0].Close()
			pair[1].Close()
		})
	}
}

// cut breaks all connections.
func (p *proxy) cut() { p.each(func(c *proxied) { c.Close() }) }

// freeze has all connections of now pass nothing on any more.
func (p *proxy) freeze() { p.each(func(c *proxied) { c.frozen.Store(true) }) }

func (p *proxy) each(do func(*proxied)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		do(c)
	}
}

func (p *proxy) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fed
}

// rawServer serves what only a broken agent would answer, and answers its address.
func rawServer(t *testing.T, service peerpb.PeerServer) string {
	t.Helper()
	id, err := newIdentity(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(id.tls())), grpc.WaitForHandlers(true))
	peerpb.RegisterPeerServer(s, service)
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() {
		s.Stop()
		wg.Wait()
	})
	return l.Addr().String()
}

// rawClient calls as only a broken agent would.
func rawClient(t *testing.T, address string) peerpb.PeerClient {
	t.Helper()
	id, err := newIdentity(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	cc, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(id.tls())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return peerpb.NewPeerClient(cc)
}

// sending is a handler of Chunk that answers parts.
func sending(f func(ctx context.Context, key string, size, off, n int64) ([][]byte, error)) func(context.Context, string, int64, int64, int64, func([][]byte) error) error {
	return func(ctx context.Context, key string, size, off, n int64, send func([][]byte) error) error {
		parts, err := f(ctx, key, size, off, n)
		if err != nil {
			return err
		}
		return send(parts)
	}
}
