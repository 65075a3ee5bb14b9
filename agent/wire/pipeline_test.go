package wire

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// gated is a handler that tells what begins and finishes a request when its correlation id is let go.
type gated struct {
	begun  chan int32
	finish [20]chan Response
	ctx    [20]context.Context
	marks  [20]uint64
	done   atomic.Int32
}

func newGated() *gated {
	g := &gated{begun: make(chan int32, 20)}
	for i := range g.finish {
		g.finish[i] = make(chan Response, 1)
	}
	return g
}

func (g *gated) Begin(ctx context.Context, r Request, body kmsg.Request) func() Response {
	id := r.CorrelationID
	g.ctx[id], g.marks[id] = ctx, r.Mark
	g.begun <- id
	return func() Response {
		defer g.done.Add(1)
		select {
		case resp := <-g.finish[id]:
			return resp
		case <-ctx.Done():
			return Response{Close: true}
		}
	}
}

func (g *gated) let(ids ...int32) {
	for _, id := range ids {
		g.finish[id] <- Response{Message: kmsg.NewPtrProduceResponse()}
	}
}

// piped runs f with one connection over a pipe, in a bubble of virtual time; the handler is gated.
func piped(t *testing.T, f func(g *gated, s *Server, c *client, reg *prometheus.Registry), edit ...func(*Config)) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		s, err := New(config(edit...), served, slog.New(slog.DiscardHandler), reg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		g := newGated() // its channels belong to the bubble
		s.start(ctx, g)
		ours, theirs := net.Pipe()
		s.connect(ours, s.cfg.Listeners[0])
		defer func() { // also if f has failed
			cancel()
			theirs.Close()
			s.drain()
			if n := s.budget.inUse() + s.reserve.inUse(); n != 0 {
				t.Errorf("%d bytes of the budget are lost", n)
			}
		}()
		f(g, s, &client{theirs, t}, reg)
	})
}

// connectPipe connects one more client by a pipe.
func connectPipe(t *testing.T, s *Server) *client {
	ours, theirs := net.Pipe()
	s.connect(ours, s.cfg.Listeners[0])
	return &client{theirs, t}
}

// pipes connects n clients by pipes to a server that answers emptily, until stop.
func pipes(t *testing.T, n int, edit ...func(*Config)) (s *Server, clients []*client, stop func()) {
	s, err := New(config(edit...), served, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.start(ctx, handlerFunc(empty))
	for range n {
		clients = append(clients, connectPipe(t, s))
	}
	return s, clients, func() { cancel(); s.drain() }
}

func produce(id int32) []byte {
	return frameOf(kmsg.NewPtrProduceRequest(), 9, id)
}

func metadata(id int32) []byte { return frameOf(kmsg.NewPtrMetadataRequest(), 9, id) }

// begins expects exactly these requests to begin, and no other until everything stands still.
func (g *gated) begins(t *testing.T, ids ...int32) {
	t.Helper()
	synctest.Wait()
	for _, want := range ids {
		select {
		case got := <-g.begun:
			if got != want {
				t.Fatalf("%d began, not %d", got, want)
			}
		default:
			t.Fatalf("%d has not begun", want)
		}
	}
	select {
	case id := <-g.begun:
		t.Fatalf("%d began too soon", id)
	default:
	}
}

func TestProducesBeginInOrderWithoutWaitingAndAreAnsweredInOrder(t *testing.T) {
	piped(t, func(g *gated, _ *Server, c *client, _ *prometheus.Registry) {
		for id := range int32(5) {
			c.send(produce(id))
		}
		g.begins(t, 0, 1, 2, 3, 4)
		g.let(4, 3, 2, 1, 0)
		for want := range int32(5) {
			if id, _ := c.receive(); id != want {
				t.Fatalf("answer %d, not %d", id, want)
			}
		}
	})
}

func TestOtherRequestsBeginWhenThoseBeforeAreDone(t *testing.T) {
	piped(t, func(g *gated, _ *Server, c *client, _ *prometheus.Registry) {
		go func() {
			for _, b := range [][]byte{produce(0), produce(1), metadata(2), produce(3), produce(4)} {
				if _, err := c.Write(b); err != nil {
					return
				}
			}
		}()
		g.begins(t, 0, 1)
		g.let(0)
		c.receive()
		g.begins(t)
		g.let(1)
		c.receive()
		g.begins(t, 2) // the produce behind it waits too
		g.finish[2] <- Response{Message: kmsg.NewPtrMetadataResponse()}
		c.receive()
		g.begins(t, 3, 4)
		g.let(3, 4)
		c.receive()
		c.receive()
	})
}

func TestRequestsInFlightAreBounded(t *testing.T) {
	piped(t, func(g *gated, _ *Server, c *client, _ *prometheus.Registry) {
		go func() {
			for id := range int32(5) {
				if _, err := c.Write(produce(id)); err != nil {
					return
				}
			}
		}()
		g.begins(t, 0, 1, 2)
		g.let(0)
		c.receive()
		g.begins(t, 3)
		g.let(1, 2, 3, 4)
		for range 4 {
			c.receive()
		}
		g.begins(t, 4)
	}, func(c *Config) { c.MaxInFlight = 3 })
}

func TestDeathOfTheConnectionReleasesWhatWaits(t *testing.T) {
	piped(t, func(g *gated, _ *Server, c *client, _ *prometheus.Registry) {
		c.send(produce(0))
		c.send(produce(1))
		g.begins(t, 0, 1)
		if g.ctx[1].Err() != nil {
			t.Fatal("ended early")
		}
		c.Close()
		synctest.Wait()
		if g.ctx[1].Err() == nil || g.done.Load() != 2 {
			t.Errorf("context %v, %d finished", g.ctx[1].Err(), g.done.Load())
		}
	})
}

func TestNoReplySendsNothingAndCloseCloses(t *testing.T) {
	piped(t, func(g *gated, _ *Server, c *client, _ *prometheus.Registry) {
		for id := range int32(4) {
			c.send(produce(id))
		}
		g.begins(t, 0, 1, 2, 3)
		g.finish[0] <- Response{NoReply: true}
		g.let(1)
		g.finish[2] <- Response{Close: true}
		g.let(3)
		if id, _ := c.receive(); id != 1 {
			t.Fatal(id)
		}
		c.closed()
		synctest.Wait()
		if g.done.Load() != 4 {
			t.Errorf("%d finished", g.done.Load())
		}
	})
}

func TestIdleConnectionIsClosed(t *testing.T) {
	piped(t, func(g *gated, s *Server, c *client, reg *prometheus.Registry) {
		from := time.Now()
		c.send(metadata(0)) // begins after 0 s, takes 30 min, during which it is not idle
		go func() {
			time.Sleep(30 * time.Minute)
			g.finish[0] <- Response{Message: kmsg.NewPtrMetadataResponse()}
		}()
		c.receive()
		if took := time.Since(from); took != 30*time.Minute {
			t.Fatal(took)
		}
		c.closed()
		if took := time.Since(from); took != 40*time.Minute {
			t.Errorf("closed after %v", took)
		}
		synctest.Wait()
		srv := server{Server: s, t: t, reg: reg}
		if srv.metric("leat_wire_connections_closed_total", string(reasonIdle)) != 1 {
			t.Error("not counted as idle")
		}
	})
}

func TestFrameThatDoesNotComeIsGivenUp(t *testing.T) {
	for name, sent := range map[string]int{"size": 2, "header": 6, "body": 15} {
		t.Run(name, func(t *testing.T) {
			piped(t, func(_ *gated, s *Server, c *client, reg *prometheus.Registry) {
				time.Sleep(time.Minute)
				from := time.Now()
				c.send(metadata(0)[:sent])
				c.closed()
				if took := time.Since(from); took != 30*time.Second {
					t.Errorf("closed after %v", took)
				}
				synctest.Wait()
				srv := server{Server: s, t: t, reg: reg}
				if srv.metric("leat_wire_connections_closed_total", string(reasonSlow)) != 1 {
					t.Error("not counted as slow")
				}
			})
		})
	}
}

func TestDrainLetsWhatIsInProgressFinish(t *testing.T) {
	piped(t, func(g *gated, s *Server, c *client, _ *prometheus.Registry) {
		c.send(metadata(0))
		c.send(metadata(1)) // read, but may not begin yet
		g.begins(t, 0)
		idle, client2 := net.Pipe()
		s.connect(idle, s.cfg.Listeners[0])
		synctest.Wait()
		for _, conn := range s.open() {
			conn.drain()
		}
		(&client{client2, t}).closed()
		synctest.Wait()
		if g.ctx[0].Err() != nil {
			t.Fatal("the request in progress was cut off")
		}
		g.finish[0] <- Response{Message: kmsg.NewPtrMetadataResponse()}
		c.receive()
		c.closed()
		g.begins(t)
	})
}

func TestDrainGivesUpAfterItsTime(t *testing.T) {
	g := newGated()
	begun := make(chan struct{})
	s := start(t, func(ctx context.Context, r Request, body kmsg.Request) func() Response {
		close(begun)
		return g.Begin(ctx, r, body)
	}, func(c *Config) { c.Drain = 20 * time.Millisecond })
	c := s.dial()
	c.send(metadata(0))
	<-begun
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	c.closed()
	if g.done.Load() != 1 {
		t.Error("Serve returned before its request did")
	}
	if _, err := net.Dial("tcp", s.Addr("main").String()); err == nil {
		t.Error("still accepting")
	}
}
