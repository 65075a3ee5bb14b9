package wire

import (
	"context"
	"errors"
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
			c.Write(metadata(0))
		}()
		time.Sleep(5 * time.Minute) // holding nothing, it may wait long
		g.begins(t)
		all.release()
		g.begins(t, 0)
		<-sent
		g.finish[0] <- Response{Message: kmsg.NewPtrMetadataResponse()}
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
		records := kmsg.NewPtrProduceRequest()
		topic, part := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
		part.Records = make([]byte, 100<<10)
		topic.Partitions = append(topic.Partitions, part)
		records.Topics = append(records.Topics, topic)
		go c.Write(frameOf(records, 9, 0))
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
