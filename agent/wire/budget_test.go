package wire

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// taken starts a grow and tells by the channel when it has what it wants.
func taken(ctx context.Context, c *charge, n int64) chan error {
	done := make(chan error, 1)
	go func() { done <- c.grow(ctx, n) }()
	synctest.Wait()
	return done
}

func waits(t *testing.T, what string, done chan error) {
	t.Helper()
	synctest.Wait()
	if len(done) > 0 {
		t.Fatal(what + " does not wait")
	}
}

func TestBudgetHoldsBackAndServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &budget{limit: 100}
		ctx := t.Context()
		first, second, third := b.newCharge(), b.newCharge(), b.newCharge()
		if err := first.grow(ctx, 80); err != nil {
			t.Fatal(err)
		}
		big := taken(ctx, second, 50)
		small := taken(ctx, third, 10) // would fit, but may not overtake
		waits(t, "50 beside 80", big)
		waits(t, "the one behind it", small)
		if third.tryGrow(0) != true || b.newCharge().tryGrow(1) {
			t.Error("tryGrow overtakes")
		}
		first.release()
		if <-big != nil || <-small != nil || b.inUse() != 60 {
			t.Errorf("%d", b.inUse())
		}
		second.release()
		second.release()
		third.release()
		if b.inUse() != 0 {
			t.Errorf("%d left", b.inUse())
		}
	})
}

func TestOneChargeMayOverdrawSoThatSomeoneFinishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &budget{limit: 100}
		ctx := t.Context()
		one, two, three := b.newCharge(), b.newCharge(), b.newCharge()
		one.grow(ctx, 50)
		two.grow(ctx, 50)
		if err := one.grow(ctx, 30); err != nil || !one.overdrawn() || b.inUse() != 130 {
			t.Fatalf("%v %d", err, b.inUse())
		}
		more := taken(ctx, two, 1)
		fresh := taken(ctx, three, 1)
		waits(t, "a second overdraft", more)
		waits(t, "a fresh one", fresh)
		if err := one.grow(ctx, 20); err != nil {
			t.Fatal(err)
		}
		one.release()
		if <-more != nil || <-fresh != nil || b.inUse() != 52 {
			t.Errorf("%d", b.inUse())
		}
	})
}

func TestGivingUpLetsThoseBehindGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &budget{limit: 100}
		ctx, cancel := context.WithCancel(t.Context())
		one, two, three := b.newCharge(), b.newCharge(), b.newCharge()
		one.grow(ctx, 60)
		big := taken(ctx, two, 90)
		small := taken(t.Context(), three, 30)
		waits(t, "the one behind", small)
		cancel()
		if err := <-big; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := <-small; err != nil || b.inUse() != 90 {
			t.Errorf("%v %d", err, b.inUse())
		}
	})
}

// produceOf is a Produce with that many bytes of records.
func produceOf(n int, id int32) []byte {
	records := kmsg.NewPtrProduceRequest()
	topic, part := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	part.Records = make([]byte, n)
	topic.Partitions = append(topic.Partitions, part)
	records.Topics = append(records.Topics, topic)
	return frameOf(records, 9, id)
}

// A connection that finds the budget used up is not read; when there is room again, it goes on.
func TestUsedUpMemoryHoldsConnectionsBackUntilRequestsFinish(t *testing.T) {
	piped(t, func(g *gated, s *Server, c *client, _ *prometheus.Registry) {
		all := s.budget.newCharge()
		if !all.tryGrow(s.cfg.Memory) {
			t.Fatal("not free")
		}
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			c.Write(produce(0))
		}()
		time.Sleep(5 * time.Minute) // holding nothing, it may wait long
		g.begins(t)
		all.release()
		g.begins(t, 0)
		<-sent
		g.let(0)
		c.receive()
	})
}

func TestHalfAFrameDoesNotWaitForMemoryForEver(t *testing.T) {
	piped(t, func(_ *gated, s *Server, c *client, reg *prometheus.Registry) {
		hog, all := s.budget.newCharge(), s.budget.newCharge()
		hog.grow(t.Context(), 1)
		all.grow(t.Context(), s.cfg.Memory-1-firstStep)
		hog.grow(t.Context(), firstStep+1) // overdraws, so nobody else can
		if s.budget.over != hog {
			t.Fatal("did not overdraw")
		}
		all.release()
		all.grow(t.Context(), s.cfg.Memory-firstStep-2-firstStep)
		from := time.Now()
		go c.Write(produceOf(100<<10, 0))
		c.closed()
		if took := time.Since(from); took != 30*time.Second {
			t.Errorf("closed after %v", took)
		}
		synctest.Wait()
		srv := server{Server: s, t: t, reg: reg}
		if srv.metric("leat_wire_connections_closed_total", string(reasonMemory)) != 1 {
			t.Error("not counted as memory")
		}
		hog.release()
		all.release()
	})
}

func TestSmallRequestsGoOnWhileProducersHoldAllMemory(t *testing.T) {
	piped(t, func(g *gated, s *Server, c *client, _ *prometheus.Registry) {
		all := s.budget.newCharge()
		if !all.tryGrow(s.cfg.Memory) {
			t.Fatal("not free")
		}
		g.knows(t, c, 0)
		b := metadata(1)
		for i := range 3 { // also if not even its key comes with its size
			c.send(b[i*2 : i*2+2])
		}
		c.send(b[6:])
		g.begins(t, 1)
		g.answer(1)
		c.receive()

		// When the reserve is used up, they wait with all others.
		rest := s.reserve.newCharge()
		if !rest.tryGrow(s.reserve.limit-10) || rest.tryGrow(11) {
			t.Fatal("the reserve is not what it should be")
		}
		go c.Write(metadata(2))
		time.Sleep(5 * time.Minute)
		g.begins(t)
		all.release()
		g.begins(t, 2)
		if n := s.reserve.inUse(); n != s.reserve.limit-10 {
			t.Errorf("%d bytes of the reserve are held", n)
		}
		g.answer(2)
		c.receive()
		rest.release()
	})
}

// A client whose frame comes slowly is cut off when others wait for memory, and only then.
func TestSlowFrameGivesWayToThoseWhoWait(t *testing.T) {
	for _, wanted := range []bool{false, true} {
		piped(t, func(g *gated, s *Server, c *client, _ *prometheus.Registry) {
			frame := produceOf(3<<20, 0)
			go func() {
				for len(frame) > 0 { // 1 MiB takes 20 s
					n := min(len(frame), 1<<18)
					if _, err := c.Write(frame[:n]); err != nil {
						return
					}
					frame = frame[n:]
					time.Sleep(5 * time.Second)
				}
			}()
			time.Sleep(time.Second)
			others := s.budget.newCharge()
			free := s.cfg.Memory - 4<<20
			others.grow(t.Context(), free)
			if !wanted {
				g.begins(t)
				time.Sleep(80 * time.Second)
				g.begins(t, 0)
				g.let(0)
				c.receive()
				others.release()
				return
			}
			other := s.budget.newCharge()
			waiting := taken(context.Background(), other, 4<<20)
			waits(t, "another", waiting)
			if err := c.SetReadDeadline(time.Now().Add(2 * s.cfg.FrameTimeout)); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("it holds memory all the time: %v", err)
			}
			c.Close()
			if err := <-waiting; err != nil {
				t.Error(err)
			}
			other.release()
			others.release()
		})
	}
}
