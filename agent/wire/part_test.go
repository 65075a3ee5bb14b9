package wire

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const life = 5 * time.Minute

// behindOne is a listener with a shared address, whose connections last life give or take a fifth.
func behindOne(c *Config) {
	c.Listeners[0].Advertised, c.Listeners[0].Shared = "balancer:9092", true
	c.MaxAge, c.Idle = life, time.Hour
}

func fetchFrom(version int16, id int32) []byte {
	return frameOf(kmsg.NewPtrFetchRequest(), version, id)
}

// introduced has a client of that software say who it is, as request 0.
func (g *gated) introduced(t *testing.T, c *client, software string) {
	t.Helper()
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = software, "4.3.1"
	g.served(t, c, 0, frameOf(req, 3, 0), kmsg.NewPtrApiVersionsResponse())
}

// served expects that a request begins, and answers it.
func (g *gated) served(t *testing.T, c *client, id int32, frame []byte, answer kmsg.Response) {
	t.Helper()
	c.send(frame)
	g.begins(t, id)
	g.finish[id] <- Response{Message: answer}
	if got, _ := c.receive(); got != id {
		t.Fatalf("answer %d, not %d", got, id)
	}
}

func (g *gated) knows(t *testing.T, c *client, id int32) {
	t.Helper()
	g.served(t, c, id, metadata(id), kmsg.NewPtrMetadataResponse())
}

func (g *gated) fetches(t *testing.T, c *client, id int32) {
	t.Helper()
	g.served(t, c, id, fetchFrom(13, id), kmsg.NewPtrFetchResponse())
}

// stays expects that nothing is written and that the connection is not closed before d has passed.
func (c *client) stays(d time.Duration) {
	c.t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		c.t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n > 0 || !isTimeout(err) {
		c.t.Fatalf("%d bytes, %v", n, err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		c.t.Fatal(err)
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(interface{ Timeout() bool })
	return ok && timeout.Timeout()
}

func TestConnectionOfAJavaClientGoesWhenItAsksForMetadata(t *testing.T) {
	piped(t, func(g *gated, s *Server, c *client, reg *prometheus.Registry) {
		g.introduced(t, c, javaSoftware)
		g.knows(t, c, 1)
		g.knows(t, c, 2)
		c.stays(life + life/5 + refreshTime - 2*life/5) // long after its age, and as long as it may wait at least
		c.send(metadata(3))
		from := time.Now()
		c.closed()
		if took := time.Since(from); took != 0 {
			t.Errorf("closed %v later", took)
		}
		g.begins(t)
		srv := server{Server: s, t: t, reg: reg}
		if srv.metric("leat_wire_connections_closed_total", string(reasonAge)) != 1 {
			t.Error("not counted")
		}
	}, behindOne)
}

func TestJavaClientThatFetchesIsMadeToAskForMetadata(t *testing.T) {
	piped(t, func(g *gated, _ *Server, c *client, _ *prometheus.Registry) {
		g.introduced(t, c, javaSoftware)
		g.fetches(t, c, 1)
		g.fetches(t, c, 2)
		c.stays(life + life/5)
		c.send(fetchFrom(13, 3))
		id, body := c.receive()
		resp := kmsg.NewPtrFetchResponse()
		resp.SetVersion(13)
		if err := resp.ReadFrom(body[1:]); err != nil { // behind the tags of the header
			t.Fatal(err)
		}
		if id != 3 || resp.ErrorCode != 106 || resp.SessionID != 0 || len(resp.Topics) != 0 {
			t.Fatalf("%d: %+v", id, resp)
		}
		g.begins(t)
		g.fetches(t, c, 4) // once is enough
		c.send(metadata(5))
		c.closed()
		g.begins(t)
	}, behindOne)
}

func TestEarlierFetchesKnowNoTopicIdsToRefresh(t *testing.T) {
	piped(t, func(g *gated, _ *Server, c *client, _ *prometheus.Registry) {
		g.introduced(t, c, javaSoftware)
		for id := range int32(5) {
			g.served(t, c, id+1, fetchFrom(12, id+1), kmsg.NewPtrFetchResponse())
			c.stays(life / 3)
		}
	}, behindOne)
}

func TestJavaClientThatDoesNotAskGoesInTheEnd(t *testing.T) {
	piped(t, func(g *gated, _ *Server, c *client, _ *prometheus.Registry) {
		from := time.Now()
		g.introduced(t, c, javaSoftware)
		g.knows(t, c, 1)
		c.closed()
		took := time.Since(from)
		if took < life-life/5+refreshTime || took > life+life/5+refreshTime+retireGap {
			t.Errorf("closed after %v", took)
		}
	}, behindOne)
}

// A producer that always has requests in flight is served until it asks for Metadata; what it has sent before is answered.
func TestWhatHasBegunBeforeTheMetadataRequestIsAnswered(t *testing.T) {
	piped(t, func(g *gated, _ *Server, c *client, _ *prometheus.Registry) {
		g.introduced(t, c, javaSoftware)
		g.knows(t, c, 1)
		c.stays(life + life/5)
		for id := int32(2); id < 6; id++ {
			c.send(produce(id))
		}
		g.begins(t, 2, 3, 4, 5)
		c.send(metadata(6))
		c.stays(retireGrace + time.Second)
		g.let(2, 3, 4, 5)
		for id := int32(2); id < 6; id++ {
			if got, _ := c.receive(); got != id {
				t.Fatal(got)
			}
		}
		c.closed()
		g.begins(t)
	}, behindOne)
}

func TestProducerThatNeverAsksAndNeverRestsIsClosedAfterTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(config(behindOne), served, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		s.start(ctx, handlerFunc(func(ctx context.Context, r Request, body kmsg.Request) func() Response {
			time.Sleep(time.Millisecond)
			return func() Response {
				time.Sleep(500 * time.Millisecond)
				return empty(ctx, r, body)()
			}
		}))
		c, from := connectPipe(t, s), time.Now()
		go func() {
			hello := kmsg.NewPtrApiVersionsRequest()
			hello.ClientSoftwareName, hello.ClientSoftwareVersion = javaSoftware, "4.3.1"
			for b := append(frameOf(hello, 3, 0), metadata(1)...); ; b = produce(2) {
				if _, err := c.Write(b); err != nil {
					return
				}
			}
		}()
		_, _ = io.Copy(io.Discard, c)
		took := time.Since(from)
		if took < life-life/5+refreshTime+retireGrace || took > life+life/5+refreshTime+retireGrace+64*time.Second {
			t.Errorf("closed after %v", took)
		}
		c.Close()
		cancel()
		s.drain()
	})
}

func TestConnectionWithoutMetadataOrFetchGoesAtItsAge(t *testing.T) {
	piped(t, func(g *gated, _ *Server, c *client, _ *prometheus.Registry) {
		from := time.Now()
		g.introduced(t, c, javaSoftware)
		g.served(t, c, 1, frameOf(kmsg.NewPtrJoinGroupRequest(), 9, 1), kmsg.NewPtrJoinGroupResponse())
		c.closed()
		if took := time.Since(from); took > life+life/5+retireGap {
			t.Errorf("closed after %v", took)
		}
	}, behindOne)
}

func TestOtherClientsGoAtTheirAge(t *testing.T) {
	for name, edit := range map[string]func(*Config){
		"librdkafka": behindOne,
		javaSoftware: ageOf(life), // knows other brokers to ask
	} {
		piped(t, func(g *gated, _ *Server, c *client, _ *prometheus.Registry) {
			from := time.Now()
			g.introduced(t, c, name)
			g.knows(t, c, 1)
			g.fetches(t, c, 2)
			c.closed()
			if took := time.Since(from); took > life+life/5+retireGap {
				t.Errorf("%s: closed after %v", name, took)
			}
		}, edit)
	}
}

// However short connections live, a client gets on.
func TestFirstMetadataAndFirstFetchAreServedAtAnyAge(t *testing.T) {
	for _, first := range []func(g *gated, t *testing.T, c *client, id int32){(*gated).knows, (*gated).fetches} {
		piped(t, func(g *gated, s *Server, c *client, _ *prometheus.Registry) {
			g.introduced(t, c, javaSoftware)
			s.open()[0].retire(retirement{time.Now(), time.Now().Add(time.Hour), errAged})
			first(g, t, c, 1)
			c.stays(time.Minute) // now it waits for the next
			c.send(metadata(2))
			c.closed()
			g.begins(t)
		}, behindOne)
	}
}

func TestShedWaitsForMetadataAsLongAsItMay(t *testing.T) {
	const over = 10 * time.Second
	piped(t, func(g *gated, s *Server, asks *client, reg *prometheus.Registry) {
		silent := connectPipe(t, s)
		g.introduced(t, asks, javaSoftware)
		g.knows(t, asks, 1)
		g.introduced(t, silent, javaSoftware)
		g.knows(t, silent, 2)
		from := time.Now()
		shed := make(chan struct{})
		go func() {
			defer close(shed)
			s.Shed(context.Background(), over)
		}()
		asks.stays(over * 3 / 4)
		asks.send(metadata(3))
		asks.closed()
		if took := time.Since(from); took != over*3/4 {
			t.Errorf("the one that asks went after %v", took)
		}
		silent.closed()
		if took := time.Since(from); took != over+retireGap {
			t.Errorf("the silent one went after %v", took)
		}
		<-shed
		srv := server{Server: s, t: t, reg: reg}
		if srv.metric("leat_wire_connections_closed_total", string(reasonShed)) != 2 {
			t.Error("not counted")
		}
	}, behindOne)
}
