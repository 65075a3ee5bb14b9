package replica_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/replica"
	"github.com/leat-stream/leat/metadata/state"
)

// storm is agents that come and go, hang, and are cut off from each other and from the bucket, while each of them makes topics.
type storm struct {
	*cluster
	t     *testing.T
	rand  *rand.Rand // of the nemesis
	mu    sync.Mutex
	nodes []*node
	acked map[string]bool
	tried int
}

// TestR1EveryAcknowledgedCommandIsSeenWhateverHappens checks after each acknowledgement that the agent itself sees the command,
// and that a fresh read at another agent, begun later, does.
func TestR1EveryAcknowledgedCommandIsSeenWhateverHappens(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inCluster(t, func(t *testing.T, c *cluster) {
				s := &storm{cluster: c, t: t, rand: rand.New(rand.NewPCG(seed, 1)), acked: map[string]bool{}}
				for i := range 4 {
					s.nodes = append(s.nodes, s.begin(i))
				}
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				for i := range s.nodes {
					wg.Go(func() { s.client(ctx, i) })
				}
				for range 12 {
					s.strike()
				}
				wait(time.Minute)
				cancel()
				wg.Wait()
				if len(s.acked) < 100 {
					t.Errorf("only %d of %d commands were acknowledged", len(s.acked), s.tried)
				}
				s.check(s.nodes[0], s.snapshotAcked())
			})
		})
	}
}

func (s *storm) begin(i int) *node {
	n := s.addSilently(fmt.Sprintf("n%d", i), string(rune('x'+i%2)), func(cfg *replica.Config) { cfg.SnapshotAfter = 30; cfg.CheckEvery = 5 })
	n.openSession(s.t, n.cfg.Zone)
	return n
}

func (s *storm) at(i int) *node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodes[i]
}

func (s *storm) snapshotAcked() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]bool{}
	for name := range s.acked {
		all[name] = true
	}
	return all
}

// check has a node see all names in a fresh read, if it can answer one.
func (s *storm) check(n *node, names map[string]bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	seen := map[string]bool{}
	if err := n.Ask(ctx, metadata.Fresh(), func(r state.Reader) {
		for topic := range r.Topics() {
			seen[topic.Name] = true
		}
	}); err != nil {
		if !errors.Is(err, metadata.ErrUnavailable) && !errors.Is(err, metadata.ErrStopped) {
			s.t.Errorf("fresh read at %s: %v", n.name, err)
		}
		return
	}
	for name := range names {
		if !seen[name] {
			s.t.Errorf("%s answered a fresh read without %s, which was acknowledged before", n.name, name)
		}
	}
}

func (s *storm) client(ctx context.Context, i int) {
	for k := 0; ctx.Err() == nil; k++ {
		n, name := s.at(i), fmt.Sprintf("t%d-%d", i, k)
		s.mu.Lock()
		s.tried++
		s.mu.Unlock()
		id := state.UUID{0: 1}
		copy(id[1:], name)
		calling, stop := context.WithTimeout(ctx, 30*time.Second)
		results, err := n.who.Do(calling, state.CreateTopic{Topic: id, Name: name, Partitions: 1, ReplicationFactor: 1})
		stop()
		if err == nil {
			if results[0].Code != state.CodeOK {
				s.t.Errorf("create %s at %s: code %d", name, n.name, results[0].Code)
			}
			found := false
			_ = n.Ask(context.Background(), metadata.Local(), func(r state.Reader) { _, found = r.TopicByName(name) })
			select {
			case <-n.ended:
			default:
				if !found {
					s.t.Errorf("%s acknowledged %s and does not see it", n.name, name)
				}
			}
			s.mu.Lock()
			s.acked[name] = true
			s.mu.Unlock()
			s.check(s.at((i+1+k%3)%4), s.snapshotAcked())
		}
		wait(time.Duration(700+137*i) * time.Millisecond)
		select {
		case <-n.ended:
			if n.err != nil && s.at(i) == n {
				s.t.Errorf("%s ended: %v", n.name, n.err)
				return
			}
		default:
		}
	}
}

// wait lets virtual time pass.
func wait(d time.Duration) { <-time.After(d) }

// strike does harm for a while.
func (s *storm) strike() {
	i := s.rand.IntN(4)
	n, other := s.at(i), s.at((i+1+s.rand.IntN(3))%4)
	lasts := time.Duration(s.rand.IntN(12_000)) * time.Millisecond
	switch kind := s.rand.IntN(5); kind {
	case 0:
		s.restart(i)
		wait(lasts / 4)
	case 1:
		s.freeze(n)
		wait(lasts)
		s.thaw(n)
	case 2, 3:
		n.gate.closeFor(kind == 3)
		wait(lasts)
		n.gate.open()
	case 4:
		s.sever(n, other, true)
		wait(lasts)
		s.sever(n, other, false)
	}
	wait(time.Duration(s.rand.IntN(4000)) * time.Millisecond)
	for i := range s.nodes { // who was taken for dead begins anew
		select {
		case <-s.at(i).over:
			s.restart(i)
		default:
		}
	}
}

func (s *storm) restart(i int) {
	s.kill(s.at(i))
	n := s.begin(i)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes[i] = n
}
