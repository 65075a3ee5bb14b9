package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/journal/etcd/etcdproc"
	"github.com/leat-stream/leat/metadata/journal/journaltest"
)

// own starts an etcd of the test's own, and answers how to reach a journal in it.
func own(t *testing.T, members int) (*etcdproc.Cluster, Config) {
	t.Helper()
	c, err := etcdproc.Start(testContext(t), t.TempDir(), etcdproc.Options{Members: members})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	cfg, err := ParseURL(c.URL("/leat/test"))
	if err != nil {
		t.Fatal(err)
	}
	return c, cfg
}

// stream is a leader that appends one entry after the other until it is stopped.
type stream struct {
	t    *testing.T
	term journal.Term
	stop chan struct{}
	done sync.WaitGroup
	halt func() // stops it and waits

	mu    sync.Mutex // guards all below
	more  *sync.Cond
	acked journaltest.Replica
	worst time.Duration // longest append
}

func startStream(t *testing.T, j *Journal) *stream {
	term, r := lead(t, j)
	s := &stream{t: t, term: term, stop: make(chan struct{}), acked: *r}
	s.more = sync.NewCond(&s.mu)
	s.done.Go(s.run)
	s.halt = sync.OnceFunc(func() { close(s.stop); s.done.Wait() })
	t.Cleanup(s.halt)
	return s
}

func (s *stream) run() {
	for n := 0; ; n++ {
		select {
		case <-s.stop:
			return
		default:
		}
		body := fmt.Sprint("entry ", n)
		if n%20 == 7 {
			body = strings.Repeat(body, inlineLimit/len(body)+1) // in parts
		}
		began := time.Now()
		e, err := s.term.Append(testContext(s.t), []byte(body))
		if err != nil {
			s.t.Errorf("append %d: %v", n, err)
			e = journal.Entry{}
		}
		s.mu.Lock()
		if err == nil {
			s.acked = append(s.acked, e)
		}
		s.worst = max(s.worst, time.Since(began))
		s.more.Broadcast()
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// acks waits for n more acknowledged entries.
func (s *stream) acks(n int) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for want := len(s.acked) + n; len(s.acked) < want && !s.t.Failed(); {
		s.more.Wait()
	}
	if s.t.Failed() {
		s.t.FailNow()
	}
}

// end stops the stream and checks that the journal holds what was acknowledged and nothing else.
func (s *stream) end(j *Journal) {
	s.t.Helper()
	s.halt()
	wantReplay(s.t, j, s.acked)
	s.t.Logf("%d entries, the longest append took %s", len(s.acked), s.worst.Round(time.Millisecond))
}

func TestEtcdKilledInTheMiddleOfAppends(t *testing.T) {
	c, cfg := own(t, 1)
	s := startStream(t, openTest(t, cfg))
	for round := range 4 {
		s.acks(20 + 7*round)
		c.Members[0].Kill()
		if err := c.Members[0].Start(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	s.acks(20)
	s.end(openTest(t, cfg))
}

func TestThreeMembersLoseOne(t *testing.T) {
	c, cfg := own(t, 3)
	s := startStream(t, openTest(t, cfg))
	for _, whose := range []string{"leader", "follower", "leader"} {
		s.acks(30)
		m, err := c.Leader(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		if whose == "follower" {
			m = c.Others(m)[0]
		}
		m.Kill()
		s.acks(30) // with two
		if err := m.Start(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	s.acks(30)
	s.end(openTest(t, cfg))
}

// TestLostQuorumMakesAppendWait: nothing is answered while two of three members are gone, and the same append goes on when one
// comes back.
func TestLostQuorumMakesAppendWait(t *testing.T) {
	c, cfg := own(t, 3)
	failed := make(chan struct{}, 1000)
	j := openTest(t, cfg, grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			err := invoke(ctx, method, request, reply, cc, opts...)
			if err != nil {
				failed <- struct{}{}
			}
			return err
		}))
	term, r := lead(t, j)
	appendTo(t, term, r, "2", "3")
	leader, err := c.Leader(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	last := c.Others(leader)[0]
	for _, m := range c.Others(last) {
		m.Kill()
	}
	// The one that is left has not missed its leader yet; it must not answer from what it knows.
	short, cancel := contextOf(300 * time.Millisecond)
	defer cancel()
	if err := j.Tip(short, r.Applied()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("tip without a quorum: %v", err)
	}
	done := make(chan error, 1)
	go func() {
		e, err := term.Append(testContext(t), []byte("4"))
		*r = append(*r, e)
		done <- err
	}()
	for range 5 { // attempts of the append
		select {
		case <-failed:
		case err := <-done:
			t.Fatalf("append answered %v without a quorum", err)
		}
	}
	if err := leader.Launch(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	appendTo(t, term, r, "5")
	wantReplay(t, openTest(t, cfg), *r)
}
