package group

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/metadata/state"
)

// hold keeps the node's next commit of offsets back, for so long: after the node took it from the client, before it is decided. The
// node has no other commits meanwhile.
func (n *node) hold(c *cluster, d time.Duration) {
	n.d.before = func(op state.Op) {
		if _, ok := op.(state.CommitOffsets); ok {
			n.d.before = nil
			c.pass(d)
		}
	}
}

func (c *cluster) commit(i int, r JoinResponse, offset int64) error {
	_, err := c.nodes[i].c.Commit(c.ctx, CommitRequest{Group: "g", Member: r.Member, Generation: r.Generation, Offsets: []state.OffsetCommit{
		{TopicPartition: state.TopicPartition{Topic: topicID}, Offset: offset},
	}})
	return err
}

func (c *cluster) offset(want int64) {
	c.Helper()
	var got state.CommittedOffset
	c.w.read(func(r state.Reader) { got, _ = r.Offset("g", state.TopicPartition{Topic: topicID}) })
	if got.Offset != want {
		c.Errorf("the group's offset is %d, want %d", got.Offset, want)
	}
}

// TestCommitThatAnAgentHeldIsNotAppliedAfterALaterOne: the agent is stopped with the commit in its hands; the client gives it up, goes to
// another agent and commits there; the agent wakes.
func TestCommitThatAnAgentHeldIsNotAppliedAfterALaterOne(t *testing.T) {
	for name, moves := range map[string]bool{"the group moves": true, "one address": false} {
		t.Run(name, func(t *testing.T) {
			inCluster(t, func(c *cluster) {
				c.topic()
				told := c.stable("g", 1)
				c.is(c.commit(0, told[0], 5), nil)
				c.nodes[0].hold(c, 6*time.Second)
				late := make(chan error)
				go func() { late <- c.commit(0, told[0], 10) }()
				time.Sleep(4 * time.Second)
				if moves {
					c.view(1)
				}
				c.is(c.commit(1, told[0], 20), nil)
				c.is(<-late, ErrOvertaken)
				c.offset(20)
				c.is(c.commit(0, told[0], 25), nil) // who asks again, there or elsewhere, is welcome
				c.is(c.commit(1, told[0], 30), nil)
				c.offset(30)
			})
		})
	}
}

// TestCommitIsAsOldAsItsRequest: it is not made younger by what the agent learns before it begins with the request.
func TestCommitIsAsOldAsItsRequest(t *testing.T) {
	inCluster(t, func(c *cluster) {
		c.topic()
		told := c.stable("g", 1)
		var before uint64
		c.w.read(func(r state.Reader) { before = r.Index() })
		c.is(c.commit(1, told[0], 20), nil)
		_, err := c.nodes[0].c.Commit(c.ctx, CommitRequest{Group: "g", Member: told[0].Member, Generation: 1, Accepted: before,
			Offsets: []state.OffsetCommit{{TopicPartition: state.TopicPartition{Topic: topicID}, Offset: 10}}})
		c.is(err, ErrOvertaken)
		c.offset(20)
	})
}

// TestCommitsThroughOneAgentAreNeverOvertaken: pipelined ones neither, though each is decided after the next was taken.
func TestCommitsThroughOneAgentAreNeverOvertaken(t *testing.T) {
	inCluster(t, func(c *cluster) {
		c.topic()
		told := c.stable("g", 1)
		c.nodes[0].d.lag(true)
		for i := range int64(20) {
			var all sync.WaitGroup
			for j := range int64(3) {
				all.Go(func() {
					if err := c.commit(0, told[0], 3*i+j); err != nil {
						t.Errorf("commit %d: %v", 3*i+j, err)
					}
				})
			}
			all.Wait()
		}
	})
}

func TestCommitDoesNotBringADeletedGroupBack(t *testing.T) {
	inCluster(t, func(c *cluster) {
		c.topic()
		nobody := JoinResponse{Generation: -1}
		c.is(c.commit(1, nobody, 5), nil)
		c.nodes[1].hold(c, 3*time.Second)
		late := make(chan error)
		go func() { late <- c.commit(1, nobody, 6) }()
		time.Sleep(time.Second)
		c.is(c.c.Delete(c.ctx, []string{"g"})[0], nil)
		c.is(<-late, ErrOvertaken)
		c.state("g", "Dead")
		c.is(c.commit(1, nobody, 7), nil)
		c.offset(7)
	})
}

// TestOffsetsOfAClientThatMovesNeverGoBackwards: a client commits ever larger offsets, waits for each as long as it likes, and goes on
// at any agent; agents hold commits back, and lag behind.
func TestOffsetsOfAClientThatMovesNeverGoBackwards(t *testing.T) {
	for seed := range uint64(20) {
		inCluster(t, func(c *cluster) {
			c.topic()
			told := c.stable("g", 1)
			r := rand.New(rand.NewPCG(seed, 9))
			for i, n := range c.nodes {
				slow := rand.New(rand.NewPCG(seed, uint64(i)))
				order := make(chan struct{}, 1) // a lane's commands are carried out in their order
				n.d.after = func(op state.Op) {
					if _, ok := op.(state.CommitOffsets); ok {
						<-order
					}
				}
				n.d.before = func(op state.Op) {
					if _, ok := op.(state.CommitOffsets); ok {
						order <- struct{}{}
						if slow.IntN(3) == 0 {
							c.pass(time.Duration(slow.Int64N(int64(3 * time.Second))))
						}
					}
				}
			}
			var all sync.WaitGroup
			highest, overtaken := int64(-1), 0
			var mu sync.Mutex
			for offset := range int64(60) {
				i := r.IntN(len(c.nodes))
				c.nodes[i].d.lag(r.IntN(3) == 0)
				done := make(chan struct{})
				all.Go(func() {
					defer close(done)
					err := c.commit(i, told[0], offset)
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil:
						highest = max(highest, offset)
					case errors.Is(err, ErrOvertaken):
						overtaken++
					default:
						t.Errorf("seed %d: commit %d: %v", seed, offset, err)
					}
				})
				select {
				case <-done:
				case <-time.After(time.Duration(r.Int64N(int64(2 * time.Second)))): // given up
				}
				mu.Lock()
				var at state.CommittedOffset
				c.w.read(func(r state.Reader) { at, _ = r.Offset("g", state.TopicPartition{Topic: topicID}) })
				if at.Offset < highest {
					t.Fatalf("seed %d: the offset is %d, and %d was committed", seed, at.Offset, highest)
				}
				mu.Unlock()
			}
			all.Wait()
			synctest.Wait()
			c.offset(highest)
			if seed == 0 && overtaken == 0 {
				t.Error("nothing was overtaken: this test tests nothing")
			}
		})
	}
}
