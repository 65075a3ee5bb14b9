package group

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/metadata/state"
)

// nemesis moves, cuts off, delays and kills nodes. It is used by one goroutine; what it begins ends by itself.
type nemesis struct {
	*cluster
	r     *rand.Rand
	quiet bool // no faults of single commands
	work  sync.WaitGroup
}

// later does something within a time.
func (n *nemesis) later(within time.Duration, f func()) {
	d := time.Duration(n.r.Int64N(int64(within)))
	n.work.Go(func() {
		n.pass(d)
		f()
	})
}

// move lets the nodes see a new owner, one after the other.
func (n *nemesis) move(owner int, within time.Duration) {
	for _, node := range n.nodes {
		n.later(within, func() { node.sees(owner) })
	}
}

// strike does one thing to one node.
func (n *nemesis) strike() {
	i := n.r.IntN(len(n.nodes))
	node := n.nodes[i]
	switch d := n.door(i); n.r.IntN(6) {
	case 0, 1:
		n.move(n.r.IntN(len(n.nodes)), 4*time.Second)
	case 2:
		node.sees(n.r.IntN(len(n.nodes))) // and nobody else does
	case 3:
		d.sever(true)
		n.later(20*time.Second, func() { d.sever(false) })
	case 4:
		d.lag(true)
		n.later(20*time.Second, func() { d.lag(false) })
	case 5:
		node.mu.Lock()
		dying := node.life
		node.mu.Unlock()
		dying.die()
		d.sever(false)
		<-dying.done
		fresh := n.begin(node.mine, node.changes)
		node.mu.Lock()
		node.life = fresh
		node.mu.Unlock()
		n.trouble(fresh.d)
	}
}

func (n *nemesis) door(i int) *door {
	n.nodes[i].mu.Lock()
	defer n.nodes[i].mu.Unlock()
	return n.nodes[i].d
}

// trouble lets one command in twelve go wrong.
func (n *nemesis) trouble(d *door) {
	if n.quiet {
		return
	}
	own := rand.New(rand.NewPCG(n.r.Uint64(), 3))
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	d.faults = func(state.Op) fault {
		if own.IntN(12) > 0 {
			return faultNone
		}
		return fault(1 + own.IntN(int(faultSlow)))
	}
}

// client finds coordinators by asking any node, which tells whom it believes to be the one.
func (n *nemesis) client(j *judge) *client {
	c := j.client()
	c.find = func(asked int) *Coordinator {
		node := n.nodes[asked%len(n.nodes)]
		node.mu.Lock()
		owner := n.nodes[node.owner]
		node.mu.Unlock()
		owner.mu.Lock()
		defer owner.mu.Unlock()
		return owner.c
	}
	return c
}

// end lets everything heal, and all agree.
func (n *nemesis) end() {
	n.work.Wait()
	for i, node := range n.nodes {
		d := n.door(i)
		d.sever(false)
		d.lag(false)
		n.w.mu.Lock()
		d.faults = nil
		n.w.mu.Unlock()
		node.sees(1)
	}
	synctest.Wait()
}

func randomly(t *testing.T, quiet bool, f func(n *nemesis)) {
	seeds := 40
	if testing.Short() {
		seeds = 8
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			inCluster(t, func(c *cluster) {
				n := &nemesis{cluster: c, r: rand.New(rand.NewPCG(uint64(seed), 4)), quiet: quiet}
				for i := range c.nodes {
					n.trouble(n.door(i))
				}
				f(n)
			})
		})
	}
}

// TestNothingThatHappensToAgentsDisturbsAGroup_R11: whatever coordinators do, while the same members call whoever they are sent to, no
// generation but theirs begins, and nobody is told to start over.
func TestNothingThatHappensToAgentsDisturbsAGroup_R11(t *testing.T) {
	randomly(t, true, func(n *nemesis) {
		j := newJudge(n.harness, "g")
		var clients []*client
		for i := range 4 {
			c := n.client(j)
			if i == 3 {
				c.instance = "static"
			}
			c.begin()
			clients = append(clients, c)
		}
		j.settled(clients, 3*time.Minute)
		before := n.group("g")
		for range 40 {
			n.strike()
			n.pass(time.Duration(n.r.IntN(9000)) * time.Millisecond)
		}
		n.end()
		n.pass(20 * time.Second)
		j.settled(clients, 0)
		after := n.group("g")
		if after.Generation != before.Generation {
			t.Errorf("generation went from %d to %d", before.Generation, after.Generation)
		}
		for i, m := range after.Members {
			if m.ID != before.Members[i].ID {
				t.Errorf("member %s became %s", before.Members[i].ID, m.ID)
			}
		}
		for _, c := range clients {
			c.end(true)
		}
	})
}

// TestRandomLivesOfACluster lets members come and go meanwhile, and commands fail.
func TestRandomLivesOfACluster(t *testing.T) {
	randomly(t, false, func(n *nemesis) {
		j := newJudge(n.harness, "g")
		var alive []*client
		statics := 0
		for range 40 {
			switch what := n.r.IntN(10); {
			case what < 3 && len(alive) < 6:
				c := n.client(j)
				if n.r.IntN(4) == 0 {
					statics++
					c.instance = fmt.Sprintf("static-%d", statics)
				}
				c.begin()
				alive = append(alive, c)
			case what < 4 && len(alive) > 1:
				i := n.r.IntN(len(alive))
				alive[i].end(n.r.IntN(2) == 0)
				alive = append(alive[:i], alive[i+1:]...)
			case what < 5 && len(alive) > 0: // a client dies and comes back, forgetting its id
				c := alive[n.r.IntN(len(alive))]
				c.end(false)
				c.metadata = fmt.Sprint("m", n.r.IntN(3))
				c.begin()
			case what < 9:
				n.strike()
			}
			n.pass(time.Duration(n.r.IntN(8000)) * time.Millisecond)
		}
		n.end()
		j.settled(alive, 6*time.Minute)
		for _, c := range alive {
			c.end(true)
		}
		synctest.Wait()
	})
}
