package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func ageOf(d time.Duration) func(*Config) { return func(c *Config) { c.MaxAge = d } }

func (g *gated) answer(id int32) { g.finish[id] <- Response{Message: kmsg.NewPtrMetadataResponse()} }

func TestIdleConnectionIsClosedAtItsAgeGiveOrTakeAFifth(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 5 {
		piped(t, func(_ *gated, s *Server, c *client, reg *prometheus.Registry) {
			from := time.Now()
			c.closed()
			took := time.Since(from)
			if took < 4*time.Minute || took > 6*time.Minute+time.Second {
				t.Errorf("closed after %v", took)
			}
			seen[took] = true
			synctest.Wait()
			srv := server{Server: s, t: t, reg: reg}
			if srv.metric("leat_wire_connections_closed_total", string(reasonAge)) != 1 {
				t.Error("not counted")
			}
		}, ageOf(5*time.Minute))
	}
	if len(seen) < 2 {
		t.Error("all ended at once:", seen)
	}
}

func TestPipelinedRequestsAreAllAnsweredWhenTheConnectionIsTooOld(t *testing.T) {
	piped(t, func(g *gated, _ *Server, c *client, _ *prometheus.Registry) {
		for id := range int32(5) {
			c.send(produce(id))
		}
		g.begins(t, 0, 1, 2, 3, 4)
		time.Sleep(10 * time.Minute) // all in flight, far beyond its age
		synctest.Wait()
		if g.ctx[0].Err() != nil {
			t.Fatal("closed with requests in flight")
		}
		g.let(0, 1, 2, 3, 4)
		for want := range int32(5) {
			if id, _ := c.receive(); id != want {
				t.Fatalf("answer %d, not %d", id, want)
			}
		}
		from := time.Now()
		c.closed()
		if took := time.Since(from); took > retireGap {
			t.Errorf("stayed open for %v", took)
		}
	}, ageOf(5*time.Minute))
}

func TestDeathOfTheClientIsSeenPastTheAge(t *testing.T) {
	piped(t, func(g *gated, _ *Server, c *client, _ *prometheus.Registry) {
		c.send(metadata(0))
		g.begins(t, 0)
		time.Sleep(10 * time.Minute)
		c.Close()
		synctest.Wait()
		if g.ctx[0].Err() == nil {
			t.Error("its request waits on")
		}
	}, ageOf(5*time.Minute))
}

func TestRequestThatIsThereIsServedBeforeTheConnectionGoes(t *testing.T) {
	piped(t, func(g *gated, s *Server, c *client, _ *prometheus.Registry) {
		go func() {
			for id := range int32(3) {
				if _, err := c.Write(metadata(id)); err != nil {
					return
				}
			}
		}()
		g.begins(t, 0)
		shed := make(chan struct{})
		go func() {
			defer close(shed)
			s.Shed(context.Background(), 1) // the connection is to go from now on
		}()
		synctest.Wait()
		for id := range int32(3) { // each within the grace: no time passes
			g.answer(id)
			if got, _ := c.receive(); got != id {
				t.Fatal(got)
			}
			if id < 2 {
				g.begins(t, id+1)
			}
		}
		c.closed()
		<-shed
	})
}

func TestClientThatAlwaysHasARequestOnItsWayIsClosedAfterTheGrace(t *testing.T) {
	s := start(t, empty, ageOf(50*time.Millisecond))
	c := s.dial()
	ended := make(chan error)
	go func() { // never waits for an answer
		for id := int32(0); ; id++ {
			if _, err := c.Write(produce(id)); err != nil {
				ended <- err
				return
			}
		}
	}()
	received := int32(0)
	for b := make([]byte, 4096); ; { // answers, and then the end, not a reset
		n, err := c.Read(b)
		received += int32(n)
		if err != nil {
			if err != io.EOF {
				t.Error(err)
			}
			break
		}
	}
	c.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) { // the server took all of it until we ended
		t.Error(err)
	}
	if received == 0 {
		t.Error("nothing was answered")
	}
	eventually(t, "its end", func() bool { return s.metric("leat_wire_connections_closed_total", string(reasonAge)) == 1 })
}

func TestShedSpreadsTheEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, clients, stop := pipes(t, 40)
		from := time.Now()
		var ends [4]atomic.Int32
		for _, c := range clients {
			c.send(metadata(1))
			c.receive()
			go func() {
				c.closed()
				ends[min(int((time.Since(from)-retireGap)/(5*time.Second)), 3)].Add(1) // it was silent for the gap before
			}()
		}
		synctest.Wait() // until then the server may not have noted that it has served somebody, who would then have all the time
		s.Shed(t.Context(), 20*time.Second)
		if took := time.Since(from); took > 21*time.Second {
			t.Errorf("took %v", took)
		}
		synctest.Wait()
		for i := range ends {
			if left := ends[i].Load(); (left == 0) != (i == 3) { // the last is for who waits for a good moment
				t.Errorf("%d left in quarter %d", left, i)
			}
		}
		stop()
	})
}

func TestShedLetsWhatIsInFlightFinishAndTakesThoseThatStillCome(t *testing.T) {
	piped(t, func(g *gated, s *Server, c *client, reg *prometheus.Registry) {
		c.send(metadata(0))
		g.begins(t, 0)
		shed := make(chan time.Duration)
		from := time.Now()
		go func() {
			s.Shed(context.Background(), 10*time.Second)
			shed <- time.Since(from)
		}()
		time.Sleep(5 * time.Second)
		late := connectPipe(t, s)
		late.closed()
		if took := time.Since(from); took > 10*time.Second+retireGap {
			t.Errorf("the late one left after %v", took)
		}
		time.Sleep(11*time.Second - time.Since(from))
		synctest.Wait()
		if g.ctx[0].Err() != nil {
			t.Fatal("cut off")
		}
		g.answer(0)
		c.receive()
		c.closed()
		if took := <-shed; took != 11*time.Second+retireGap {
			t.Errorf("shedding took %v", took)
		}
		srv := server{Server: s, t: t, reg: reg}
		if srv.metric("leat_wire_connections_closed_total", string(reasonShed)) != 2 {
			t.Error("not counted")
		}
	})
}

func TestShedGivesUpOnWhoDoesNotFinish(t *testing.T) {
	piped(t, func(g *gated, s *Server, c *client, _ *prometheus.Registry) {
		c.send(metadata(0))
		g.begins(t, 0)
		from := time.Now()
		s.Shed(context.Background(), time.Second)
		if took := time.Since(from); took != time.Second+retireGrace+lingerTime {
			t.Error(took)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.Shed(ctx, time.Hour)
	})
}

func TestFrameThatIsOnItsWayIsNotDisturbedByShedding(t *testing.T) {
	piped(t, func(g *gated, s *Server, c *client, _ *prometheus.Registry) {
		b := metadata(0)
		c.send(b[:len(b)-3])
		synctest.Wait()
		go s.Shed(context.Background(), time.Nanosecond)
		time.Sleep(20 * time.Second)
		c.send(b[len(b)-3:])
		g.begins(t, 0)
		g.answer(0)
		c.receive()
		c.closed()
	})
}

// A client of the usual kind, its connections ending all the time, loses nothing and tells its application nothing.
func TestFranzGoSeesNoErrorWhenConnectionsEndAllTheTime(t *testing.T) {
	var s *server
	var records atomic.Int64
	s = start(t, func(ctx context.Context, r Request, body kmsg.Request) func() Response {
		if _, ok := body.(*kmsg.ProduceRequest); ok {
			records.Add(1)
		}
		return tiny(func() string { return s.Advertised("main") })(ctx, r, body)
	}, ageOf(5*time.Millisecond))
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.Advertised("main")), kgo.DisableIdempotentWrite(), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxProduceRequestsInflightPerBroker(5))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for s.metric("leat_wire_connections_closed_total", string(reasonAge)) < 5 {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "words", Value: make([]byte, 1000)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if records.Load() == 0 {
		t.Error("nothing was produced")
	}
}
