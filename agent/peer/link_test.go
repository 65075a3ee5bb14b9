package peer

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/leat-stream/leat/agent/peer/peerpb"
	"github.com/leat-stream/leat/localstack/proc"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/replica"
)

// answering is handlers that answer Status.
func answering() Handlers {
	return Handlers{Replica: &fakeReplica{status: func() replica.Status { return replica.Status{Applied: 1} }}}
}

// freePort answers an address where nothing listens.
func freePort(t *testing.T) string {
	t.Helper()
	address, err := proc.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func TestRefusedAndSilentAreToldApart(t *testing.T) {
	c := newTestClient(t, quick())
	t.Run("nothing listens", func(t *testing.T) {
		address := freePort(t)
		_, err := c.Status(t.Context(), address)
		_, err2 := c.Propose(t.Context(), address, replica.Proposal{})
		for _, err := range []error{err, err2} {
			if !errors.Is(err, replica.ErrRefused) || !errors.Is(err, metadata.ErrNotApplied) || errors.Is(err, metadata.ErrUnknown) {
				t.Error(err)
			}
		}
	})
	t.Run("never answers", func(t *testing.T) {
		cfg := Default()
		if cfg.StatusTimeout != 500*time.Millisecond {
			t.Errorf("Status may take %v", cfg.StatusTimeout)
		}
		c := newTestClient(t, cfg)
		l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, and nobody ever reads
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		began := time.Now()
		_, err = c.Status(t.Context(), l.Addr().String())
		if errors.Is(err, replica.ErrRefused) || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, metadata.ErrNotApplied) {
			t.Error(err)
		}
		if d := time.Since(began); d < cfg.StatusTimeout || d > time.Minute {
			t.Errorf("it took %v", d)
		}
	})
	t.Run("hangs up", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				conn.Close()
			}
		})
		_, err = c.Status(t.Context(), l.Addr().String())
		if errors.Is(err, replica.ErrRefused) || !errors.Is(err, metadata.ErrNotApplied) {
			t.Error(err)
		}
		l.Close()
		wg.Wait()
	})
}

func TestAPeerThatComesBackIsReachedAtOnce(t *testing.T) {
	address := freePort(t)
	c := newTestClient(t, quick())
	for range 20 { // a back-off would be long by now
		if _, err := c.Status(t.Context(), address); !errors.Is(err, replica.ErrRefused) {
			t.Fatal(err)
		}
	}
	s := listen(t, leisurely(), address, nil)
	stop := serve(t, s, answering())
	if _, err := c.Status(t.Context(), address); err != nil && !errors.Is(err, metadata.ErrUnavailable) {
		t.Fatal(err)
	}
	stop()
	if _, err := c.Status(t.Context(), address); !errors.Is(err, replica.ErrRefused) {
		t.Fatal(err)
	}
	serve(t, listen(t, quick(), address, nil), answering())
	eventually(t, "served", func() bool {
		_, err := c.Status(t.Context(), address)
		if err != nil && !errors.Is(err, metadata.ErrUnavailable) {
			t.Fatal(err)
		}
		return err == nil
	})
}

func TestACallWhoseConnectionBreaksIsUnknown(t *testing.T) {
	began := make(chan struct{})
	calls := 0
	h := answering()
	h.Replica.(*fakeReplica).propose = func(ctx context.Context, _ replica.Proposal) (replica.Proposed, error) {
		calls++
		close(began)
		<-ctx.Done()
		return replica.Proposed{}, ctx.Err()
	}
	p := newProxy(t, start(t, h))
	c := newTestClient(t, quick())
	go func() {
		<-began
		p.cut()
	}()
	_, err := c.Propose(t.Context(), p.Addr().String(), replica.Proposal{})
	if !errors.Is(err, metadata.ErrUnknown) || errors.Is(err, metadata.ErrNotApplied) || errors.Is(err, replica.ErrRefused) {
		t.Error(err)
	}
	if _, err := c.Status(t.Context(), p.Addr().String()); err != nil {
		t.Errorf("the next call: %v", err)
	}
	if calls != 1 || p.connections() != 2 {
		t.Errorf("%d calls over %d connections", calls, p.connections())
	}
}

func TestACallThatFindsItsConnectionGoneWasNeverSent(t *testing.T) {
	s := listen(t, quick(), "127.0.0.1:0", nil)
	stop := serve(t, s, answering())
	c := newTestClient(t, quick())
	if _, err := c.Status(t.Context(), s.Addr()); err != nil {
		t.Fatal(err)
	}
	l, err := c.connect(t.Context(), "Propose", s.Addr()) // it is there,
	if err != nil {
		t.Fatal(err)
	}
	stop() // and then it is not
	eventually(t, "the client notices", func() bool { return l.grpc.GetState() != connectivity.Ready })
	err = c.attempt(t.Context(), l, "Propose", acts, func(ctx context.Context, p peerpb.PeerClient, o grpc.CallOption) error {
		_, err := p.Propose(ctx, &peerpb.ProposeRequest{}, o)
		return err
	})
	if !errors.Is(err, replica.ErrRefused) || !errors.Is(err, metadata.ErrNotApplied) || errors.Is(err, metadata.ErrUnknown) {
		t.Error(err)
	}
	c.done(t.Context(), l, "Propose", time.Now())
}

func TestADeadConnectionIsReplacedAfterOneTimeout(t *testing.T) {
	h := answering()
	h.Replica.(*fakeReplica).follow = func(ctx context.Context, _ replica.Follow, _ func() (replica.Beat, error), push func(replica.Push) error) error {
		if err := push(replica.Push{Applied: 1}); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}
	p := newProxy(t, start(t, h))
	address, c := p.Addr().String(), newTestClient(t, quick())
	feed, err := c.Follow(t.Context(), address, replica.Follow{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := feed.Recv(); err != nil {
		t.Fatal(err)
	}
	p.freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.Status(ctx, address); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := c.Status(t.Context(), address); err != nil {
			t.Fatal(err)
		}
	}
	if n := p.connections(); n != 2 {
		t.Errorf("%d connections", n)
	}
	if c.mu.Lock(); len(c.retired) != 1 {
		t.Errorf("%d links are retired", len(c.retired))
	}
	c.mu.Unlock()
	feed.Close() // the last user of the old connection
	if c.mu.Lock(); len(c.retired) != 0 {
		t.Errorf("%d links are still retired", len(c.retired))
	}
	c.mu.Unlock()
}

func TestWhoCanBeReached(t *testing.T) {
	c := newTestClient(t, quick())
	if err := c.Reach(t.Context(), start(t, answering())); err != nil {
		t.Error(err)
	}
	if err := c.Reach(t.Context(), listen(t, quick(), "127.0.0.1:0", nil).Addr()); err != nil {
		t.Errorf("one that does not serve yet: %v", err)
	}
	if err := c.Reach(t.Context(), freePort(t)); !errors.Is(err, replica.ErrRefused) {
		t.Error(err)
	}
	p := newProxy(t, start(t, answering()))
	if err := c.Reach(t.Context(), p.Addr().String()); err != nil {
		t.Error(err)
	}
	p.freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := c.Reach(ctx, p.Addr().String()); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestAConnectionThatIsAliveOutlivesASlowCall(t *testing.T) {
	h, began := answering(), make(chan struct{})
	h.Replica.(*fakeReplica).propose = func(ctx context.Context, _ replica.Proposal) (replica.Proposed, error) {
		close(began)
		<-ctx.Done()
		return replica.Proposed{}, ctx.Err()
	}
	p := newProxy(t, start(t, h))
	address, c := p.Addr().String(), newTestClient(t, quick())
	ctx := expiring{t.Context(), make(chan struct{})}
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := c.Propose(ctx, address, replica.Proposal{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
	<-began
	if _, err := c.Status(t.Context(), address); err != nil { // another is answered meanwhile
		t.Error(err)
	}
	close(ctx.over)
	wg.Wait()
	if _, err := c.Status(t.Context(), address); err != nil || p.connections() != 1 {
		t.Errorf("%d connections, %v", p.connections(), err)
	}
}

func TestCallsShareAConnectionWhichIsClosedWhenUnused(t *testing.T) {
	const calls = 50
	var came atomic.Int64
	all := make(chan struct{})
	p := newProxy(t, start(t, Handlers{Replica: &fakeReplica{status: func() replica.Status {
		if came.Add(1) == calls {
			close(all)
		}
		<-all // so that the connection is in use until the last call has come
		return replica.Status{Applied: 1}
	}}}))
	cfg := quick()
	cfg.Idle = 20 * time.Millisecond
	c := newTestClient(t, cfg)
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			if _, err := c.Status(t.Context(), p.Addr().String()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := p.connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
	eventually(t, "closed", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.links) == 0
	})
	if _, err := c.Status(t.Context(), p.Addr().String()); err != nil || p.connections() != 2 {
		t.Error(p.connections(), err)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	h := answering()
	h.Replica.(*fakeReplica).follow = func(ctx context.Context, _ replica.Follow, _ func() (replica.Beat, error), _ func(replica.Push) error) error {
		<-ctx.Done()
		return ctx.Err()
	}
	first, second, third := start(t, h), start(t, h), start(t, h)
	cfg := quick()
	cfg.MaxPeers = 2
	c := newTestClient(t, cfg)
	feed, err := c.Follow(t.Context(), first, replica.Follow{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, address := range []string{second, third} { // each takes the place of the other, which is unused
			if _, err := c.Status(t.Context(), address); err != nil {
				t.Fatal(err)
			}
		}
	}
	feed2, err := c.Follow(t.Context(), third, replica.Follow{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(t.Context(), second); !errors.Is(err, ErrTooManyPeers) || !errors.Is(err, metadata.ErrNotApplied) {
		t.Error(err)
	}
	feed.Close()
	if _, err := c.Status(t.Context(), second); err != nil {
		t.Error(err)
	}
	c.Close()
	if _, err := feed2.Recv(); err == nil {
		t.Error("a stream outlives its client")
	}
	if _, err := c.Status(t.Context(), third); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	feed2.Close()
}

func TestManyForwardedRequestsDoNotStopTheReplicas(t *testing.T) {
	h := answering()
	h.Forward = func(ctx context.Context, _ ForwardedRequest) (ForwardedResponse, error) { // as JoinGroup
		<-ctx.Done()
		return ForwardedResponse{}, ctx.Err()
	}
	h.Chunks = sending(func(context.Context, string, int64, int64, int64) ([][]byte, error) { return [][]byte{{1}}, nil })
	cfg := quick()
	cfg.MaxStreams = 8
	s := listen(t, cfg, "127.0.0.1:0", nil)
	serve(t, s, h)
	c := newTestClient(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	var busy atomic.Int64
	for range 20 {
		wg.Go(func() {
			if _, err := c.Forward(ctx, s.Addr(), ForwardedRequest{}); errors.Is(err, ErrBusy) && errors.Is(err, metadata.ErrNotApplied) {
				busy.Add(1)
			}
		})
	}
	eventually(t, "the others are refused", func() bool { return busy.Load() == 20-6 })
	if _, err := c.Chunk(t.Context(), s.Addr(), "k", 1, 0, 1); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	if _, err := c.Status(t.Context(), s.Addr()); err != nil {
		t.Error(err)
	}
	cancel()
	wg.Wait()
	for range 10 { // none is counted twice, or for ever
		r, err := c.Chunk(t.Context(), s.Addr(), "k", 1, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
}
