package group

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/agent/group/classic"
	"github.com/leat-stream/leat/metadata/state"
)

// node is an agent of a cluster, with a replica and a view of its own.
type node struct {
	*life

	mu      sync.Mutex
	number  int
	owner   int // of all groups, as this node sees it
	changed chan struct{}
}

func (n *node) mine(string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.owner == n.number
}

func (n *node) changes() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changed
}

// sees changes the node's view.
func (n *node) sees(owner int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.owner = owner
	close(n.changed)
	n.changed = make(chan struct{})
}

// cluster is several coordinators over one world.
type cluster struct {
	*harness
	nodes []*node
}

// inCluster runs f with virtual time over a fresh world and three coordinators, of which the first should coordinate everything.
func inCluster(t *testing.T, f func(c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{harness: &harness{T: t, w: newWorld(t), cfg: Default(), ctx: t.Context()}}
		for range 3 {
			c.nodes = append(c.nodes, &node{number: len(c.nodes), changed: make(chan struct{})})
		}
		for i := range c.nodes {
			c.revive(i)
		}
		t.Cleanup(func() {
			for _, n := range c.nodes {
				n.d.sever(false)
				n.stop()
			}
		})
		c.at(0)
		synctest.Wait()
		f(c)
	})
}

// revive begins a new life of a node.
func (c *cluster) revive(i int) {
	n := c.nodes[i]
	n.life = c.begin(n.mine, n.changes)
}

// at makes the harness's helpers talk to a node.
func (c *cluster) at(i int) { c.harness.life = c.nodes[i].life }

// view makes every node see the same owner, and the helpers talk to it.
func (c *cluster) view(owner int) {
	for _, n := range c.nodes {
		n.sees(owner)
	}
	c.at(owner)
	synctest.Wait()
}

func (c *cluster) beat(i int, r JoinResponse) error {
	return c.nodes[i].c.Heartbeat(c.ctx, HeartbeatRequest{Group: "g", Member: r.Member, Generation: r.Generation})
}

func (c *cluster) claims() (n int) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	for _, e := range c.w.entries {
		for _, cmd := range e.Commands {
			if _, ok := cmd.Op.(state.ClaimGroup); ok {
				n++
			}
		}
	}
	return n
}

func TestMoveCausesNoRebalance_R11(t *testing.T) {
	inCluster(t, func(c *cluster) {
		topic := c.topic()
		told := c.stable("g", 3)
		for _, owner := range []int{1, 2, 0, 2, 1} {
			old := c.nodes[0].owner
			c.beatFor("g", told, 8*time.Second)
			c.view(owner)
			began := time.Now()
			c.is(c.beat(old, told[0]), ErrNotCoordinator)
			_, err := c.nodes[old].c.Join(c.ctx, joinRequest("g", told[1].Member))
			c.is(err, ErrNotCoordinator)
			_, err = c.nodes[old].c.Sync(c.ctx, syncRequest("g", told[1]))
			c.is(err, ErrNotCoordinator)
			_, err = c.nodes[old].c.Leave(c.ctx, LeaveRequest{Group: "g", Members: []Leaver{{Member: told[1].Member}}})
			c.is(err, ErrNotCoordinator)
			c.is(c.nodes[old].c.Describe(c.ctx, []string{"g"})[0].Err, ErrNotCoordinator)
			c.is(c.nodes[old].c.Delete(c.ctx, []string{"g"})[0], ErrNotCoordinator)
			if time.Since(began) != 0 {
				t.Errorf("refusing took %v", time.Since(began))
			}
			for _, n := range c.nodes { // offsets are everybody's
				_, err := n.c.Commit(c.ctx, CommitRequest{Group: "g", Member: told[2].Member, Generation: 1, Offsets: positions(topic, "")})
				c.is(err, nil)
				_, err = n.c.Offsets(c.ctx, "g", nil)
				c.is(err, nil)
			}
			time.Sleep(9 * time.Second) // members look for the coordinator; they have a whole session
			c.beatFor("g", told, 25*time.Second)
			c.sync("g", told)
		}
		c.generation("g", 1)
		c.state("g", "Stable")
	})
}

func TestDeathOfTheCoordinatorCausesNoRebalance_R11(t *testing.T) {
	inCluster(t, func(c *cluster) {
		told := c.stable("g", 3)
		c.beatFor("g", told, 7*time.Second)
		c.nodes[0].die()
		time.Sleep(8 * time.Second) // until the others know
		c.view(1)
		c.beatFor("g", told, 25*time.Second)
		c.generation("g", 1)
	})
}

func TestGroupThatMovesIsAdoptedThoughNobodyCalls(t *testing.T) {
	inCluster(t, func(c *cluster) {
		c.stable("g", 2)
		c.view(2)
		time.Sleep(9 * time.Second)
		c.state("g", "Stable")
		time.Sleep(3*time.Second + rebalanceTimeout)
		c.state("g", "Empty")
		if g := c.group("g"); len(g.Members) != 0 {
			t.Errorf("journal knows %+v", g)
		}
	})
}

func TestMoveInTheMiddleOfARebalance(t *testing.T) {
	inCluster(t, func(c *cluster) {
		static := joinRequest("g", "")
		static.Instance = "one"
		js := c.goJoin(static)
		a, b := c.newID("g"), c.newID("g")
		ja, jb := c.goJoin(joinRequest("g", a)), c.goJoin(joinRequest("g", b))
		one, ra, rb := js.wait(), ja.wait(), jb.wait()
		c.sync("g", []JoinResponse{one, ra, rb})

		newcomer := joinRequest("g", "")
		newcomer.MemberIDRequired = false
		jn := c.goJoin(newcomer)
		ja = c.goJoin(joinRequest("g", a))
		began := time.Now()
		c.view(1)
		jn.wait()
		ja.wait()
		c.is(jn.err, ErrNotCoordinator)
		c.is(ja.err, ErrNotCoordinator)
		if time.Since(began) != 0 {
			t.Errorf("who waits was released after %v", time.Since(began))
		}

		jn = c.goJoin(newcomer)
		c.is(c.heartbeat("g", rb), ErrRebalanceInProgress)
		ja, jb = c.goJoin(joinRequest("g", a)), c.goJoin(joinRequest("g", b))
		back := static
		back.Member = one.Member
		js = c.goJoin(back)
		told := []JoinResponse{js.wait(), ja.wait(), jb.wait(), jn.wait()}
		for i, want := range []string{one.Member, a, b} {
			if told[i].Member != want || told[i].Generation != 2 {
				t.Errorf("%s was told %+v", want, told[i])
			}
		}
		if len(told[0].Members) != 4 {
			t.Errorf("the leader was told %+v", told[0])
		}
		c.sync("g", told)
		c.view(2) // and the static member comes back elsewhere, without its member id
		resp, err := c.c.Join(c.ctx, static)
		c.is(err, nil)
		s := c.goSync(syncRequest("g", JoinResponse{Member: resp.Member, Generation: 2}))
		if <-s.done; string(s.resp.Assignment) != "for "+one.Member {
			t.Errorf("assigned %q, %v", s.resp.Assignment, s.err)
		}
		c.generation("g", 2)
	})
}

func TestMoveWhileTheAssignmentIsAwaited(t *testing.T) {
	inCluster(t, func(c *cluster) {
		a, b := c.newID("g"), c.newID("g")
		ja, jb := c.goJoin(joinRequest("g", a)), c.goJoin(joinRequest("g", b))
		told := []JoinResponse{ja.wait(), jb.wait()}
		follower := c.goSync(syncRequest("g", told[1]))
		c.view(1)
		<-follower.done
		c.is(follower.err, ErrNotCoordinator)
		c.state("g", "CompletingRebalance")
		c.sync("g", told)
		c.generation("g", 1)
	})
}

func TestWriteUnderWayEndsBeforeAGroupMoves(t *testing.T) {
	inCluster(t, func(c *cluster) {
		a := c.newID("g")
		c.nodes[0].d.before = func(op state.Op) {
			if _, ok := op.(state.WriteGroup); ok {
				c.nodes[0].d.before = nil
				c.pass(5 * time.Second)
			}
		}
		ja := c.goJoin(joinRequest("g", a))
		time.Sleep(4 * time.Second)
		c.view(1)
		c.is(c.beat(0, JoinResponse{Member: a, Generation: 1}), ErrNotCoordinator)
		if !ja.waiting() {
			t.Fatalf("answered before the write ended: %+v, %v", ja.resp, ja.err)
		}
		told := ja.wait()
		c.is(ja.err, nil)
		c.sync("g", []JoinResponse{told})
		c.is(c.beat(1, told), nil)
		c.generation("g", 1)
	})
}

// TestFirstWriteOfTheFormerCoordinatorIsNotOverwritten: a group without members is not claimed when it is loaded, so a write under the
// former claim may still be decided.
func TestFirstWriteOfTheFormerCoordinatorIsNotOverwritten(t *testing.T) {
	for _, wait := range []time.Duration{time.Second, 5 * time.Second} { // before and after the newcomers would be written
		t.Run(fmt.Sprint(wait), func(t *testing.T) {
			inCluster(t, func(c *cluster) {
				a := c.newID("g")
				c.nodes[0].d.before = func(op state.Op) {
					if _, ok := op.(state.WriteGroup); ok {
						c.nodes[0].d.before = nil
						c.pass(wait)
					}
				}
				ja := c.goJoin(joinRequest("g", a))
				time.Sleep(3*time.Second + time.Millisecond)
				c.view(1)
				c.nodes[1].d.lag(true)
				b := joinRequest("g", "")
				b.MemberIDRequired = false
				jb := c.goJoin(b)
				ra, rb := ja.wait(), jb.wait()
				if wait > 3*time.Second {
					c.is(ja.err, ErrNotCoordinator)
					c.is(jb.err, nil)
					c.sync("g", []JoinResponse{rb})
					c.generation("g", 1)
					return
				}
				c.is(ja.err, nil)
				c.is(jb.err, ErrCoordinatorNotAvailable)
				time.Sleep(2 * time.Second)
				c.is(c.heartbeat("g", ra), nil)
				jb = c.goJoin(b)
				c.is(c.heartbeat("g", ra), ErrRebalanceInProgress)
				ja = c.goJoin(joinRequest("g", a))
				if ra, rb = ja.wait(), jb.wait(); ra.Generation != 2 || rb.Generation != 2 || len(ra.Members) != 2 {
					t.Errorf("told %+v, %v and %+v, %v", ra, ja.err, rb, jb.err)
				}
			})
		})
	}
}

func TestReplacedClaimIsNoticedByAnAgentWithAnOlderView(t *testing.T) {
	inCluster(t, func(c *cluster) {
		told := c.stable("g", 2)
		waiting := c.goJoin(joinRequest("g", told[0].Member))
		c.nodes[1].sees(1)
		synctest.Wait()
		waiting.wait()
		c.is(waiting.err, ErrNotCoordinator)
		c.is(c.beat(0, told[1]), ErrNotCoordinator)
		c.is(c.beat(1, told[1]), nil)
		c.view(1)
		for range 40 { // and it does not take the group back
			time.Sleep(3 * time.Second)
			c.is(c.beat(1, told[0]), nil)
			c.is(c.beat(1, told[1]), nil)
		}
		c.generation("g", 1)
	})
}

func TestNothingAgainstAMemberIsSaidByAnAgentThatLagsBehind(t *testing.T) {
	for name, call := range map[string]func(c *cluster, old *Coordinator, r JoinResponse) (err, want error){
		"heartbeat": func(c *cluster, old *Coordinator, r JoinResponse) (err, want error) {
			return old.Heartbeat(c.ctx, HeartbeatRequest{Group: "g", Member: r.Member, Generation: 2}), ErrNotCoordinator
		},
		"sync": func(c *cluster, old *Coordinator, r JoinResponse) (err, want error) {
			_, err = old.Sync(c.ctx, syncRequest("g", r))
			return err, ErrNotCoordinator
		},
		"leave": func(c *cluster, old *Coordinator, r JoinResponse) (err, want error) {
			_, err = old.Leave(c.ctx, LeaveRequest{Group: "g", Members: []Leaver{{Member: "newcomer"}}})
			return err, ErrNotCoordinator
		},
		"commit": func(c *cluster, old *Coordinator, r JoinResponse) (err, want error) { // decided in Apply
			_, err = old.Commit(c.ctx, CommitRequest{Group: "g", Member: r.Member, Generation: 2, Offsets: positions(topicID, "")})
			return err, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			inCluster(t, func(c *cluster) {
				c.topic()
				told := c.stable("g", 2)
				c.nodes[0].d.lag(true)
				c.nodes[1].sees(1)
				c.at(1)
				synctest.Wait()
				told = c.together("g", told[0].Member, told[1].Member)
				c.generation("g", 2)
				err, want := call(c, c.nodes[0].c, told[1])
				c.is(err, want)
			})
		})
	}
}

func TestTwoAgentsWithTwoViewsDoNotTearAGroup(t *testing.T) {
	inCluster(t, func(c *cluster) {
		told := c.stable("g", 2)
		before := c.claims()
		c.nodes[1].sees(1)
		for range 600 { // clients that find one now and the other then
			time.Sleep(500 * time.Millisecond)
			for _, r := range told {
				for i := range 2 {
					if err := c.beat(i, r); err != nil && err != ErrNotCoordinator {
						t.Fatalf("heartbeat at %d: %v", i, err)
					}
				}
			}
		}
		if n := c.claims() - before; n < 3 || n > 20 {
			t.Errorf("%d claims in five minutes", n)
		}
		c.generation("g", 1)
		c.view(0)
		c.beatFor("g", told, 30*time.Second)
		c.generation("g", 1)
	})
}

func TestCoordinatorThatCannotConfirmItsClaimStopsAnswering_R11(t *testing.T) {
	inCluster(t, func(c *cluster) {
		told := c.stable("g", 2)
		c.beatFor("g", told, 7*time.Second)
		c.nodes[0].d.sever(true)
		cut := time.Now()
		c.nodes[1].sees(1)
		c.nodes[2].sees(1)
		c.at(1)
		synctest.Wait()
		moved := c.goJoin(joinRequest("g", told[0].Member)) // the leader wants a generation without the other
		for {
			err := c.beat(0, told[1])
			if time.Since(cut) > 2*c.cfg.ConfirmEvery {
				c.is(err, ErrCoordinatorNotAvailable)
			}
			if time.Since(cut) > 90*time.Second {
				break
			}
			time.Sleep(time.Second)
		}
		if r := moved.wait(); r.Generation != 2 || len(r.Members) != 1 {
			t.Errorf("told %+v, %v", r, moved.err)
		}
		_, err := c.nodes[0].c.Join(c.ctx, joinRequest("g", told[1].Member))
		c.is(err, ErrCoordinatorNotAvailable)
		c.nodes[0].d.sever(false)
		synctest.Wait()
		c.is(c.beat(0, told[1]), ErrNotCoordinator)
		c.nodes[0].sees(1)
		c.is(c.beat(1, told[1]), ErrUnknownMember)
	})
}

func TestNobodyIsOutWhileNobodyCouldBeAnswered_R11(t *testing.T) {
	for _, away := range []time.Duration{5 * time.Second, 11 * time.Second, time.Hour} {
		inBubble(t, func(h *harness) {
			told := h.stable("g", 2)
			id := h.newID("g")
			j := h.goJoin(joinRequest("g", id)) // a rebalance waits for the others
			h.is(h.heartbeat("g", told[0]), ErrRebalanceInProgress)
			h.d.sever(true)
			time.Sleep(away)
			h.d.sever(false)
			time.Sleep(3 * time.Second) // until the members have found the coordinator again
			j0, j1 := h.goJoin(joinRequest("g", told[0].Member)), h.goJoin(joinRequest("g", told[1].Member))
			if r := j0.wait(); j0.err != nil || len(r.Members) != 3 {
				t.Errorf("away for %v: told %+v, %v", away, r, j0.err)
			}
			if r := j1.wait(); r.Generation != 2 {
				t.Errorf("away for %v: told %+v, %v", away, r, j1.err)
			}
			j.wait()
			h.is(j.err, nil)
		})
	}
}

func TestNobodyIsOutAfterAPause(t *testing.T) {
	for _, pause := range []time.Duration{4 * time.Second, 4900 * time.Millisecond, 5100 * time.Millisecond, time.Hour} {
		inBubble(t, func(h *harness) {
			told := h.stable("g", 2)
			time.Sleep(6 * time.Second)
			h.c.mu.Lock()
			a := h.c.groups["g"]
			h.c.mu.Unlock()
			a.inbox <- func(*classic.Group, time.Time, bool) { h.pass(pause) } // what members send meanwhile waits
			time.Sleep(pause)
			for range 5 {
				for _, r := range told {
					h.is(h.heartbeat("g", r), nil)
				}
				time.Sleep(3 * time.Second)
			}
			time.Sleep(2 * sessionTimeout)
			h.state("g", "Empty") // but who is dead goes
		})
	}
}

func TestOneLookConfirmsAllClaims(t *testing.T) {
	inBubble(t, func(h *harness) {
		topic := h.topic()
		groups := map[string][]JoinResponse{}
		for i := range 2 {
			groups[fmt.Sprint(i)] = h.stable(fmt.Sprint(i), 2)
		}
		beat := func(each func(group string, r JoinResponse)) (looks int) {
			h.d.w.mu.Lock()
			h.d.looks = 0
			h.d.w.mu.Unlock()
			for range 600 {
				time.Sleep(time.Second)
				for g, told := range groups {
					for _, r := range told {
						h.is(h.heartbeat(g, r), nil)
						each(g, r)
					}
				}
			}
			h.d.w.mu.Lock()
			defer h.d.w.mu.Unlock()
			return h.d.looks
		}
		if n := beat(func(string, JoinResponse) {}); n > 201 || n < 190 {
			t.Errorf("%d looks in ten minutes", n)
		}
		if n := beat(func(g string, r JoinResponse) {
			_, err := h.c.Commit(h.ctx, CommitRequest{Group: g, Member: r.Member, Generation: r.Generation, Offsets: positions(topic, "")})
			h.is(err, nil)
		}); n > 5 {
			t.Errorf("%d looks beside commits that prove as much", n)
		}
		groups = nil
		time.Sleep(10 * time.Minute)
		if n := beat(func(string, JoinResponse) {}); n > 0 {
			t.Errorf("%d looks for nobody", n)
		}
	})
}

func TestReleasedCoordinatorHoldsNobodyUp(t *testing.T) {
	inCluster(t, func(c *cluster) {
		topic := c.topic()
		told := c.stable("g", 2)
		join := c.goJoin(joinRequest("g", told[0].Member))
		first := c.goJoin(joinRequest("new", c.newID("new")))
		began := time.Now()
		c.nodes[0].c.Release()
		join.wait()
		first.wait()
		c.is(join.err, ErrNotCoordinator)
		c.is(first.err, ErrNotCoordinator)
		c.is(c.heartbeat("g", told[0]), ErrNotCoordinator)
		_, err := c.c.Commit(c.ctx, CommitRequest{Group: "g", Member: told[1].Member, Generation: 1, Offsets: positions(topic, "")})
		c.is(err, nil)
		if time.Since(began) != 0 {
			t.Errorf("it took %v", time.Since(began))
		}
		c.view(2)
		c.beatFor("g", told, 30*time.Second)
		c.generation("g", 1)
	})
}

func TestOneAgentExpiresOffsets(t *testing.T) {
	inCluster(t, func(c *cluster) {
		var counts [3]int
		for i, n := range c.nodes {
			n.d.faults = func(op state.Op) fault {
				if _, ok := op.(state.ExpireOffsets); ok {
					counts[i]++
				}
				return faultNone
			}
		}
		told := c.stable("g", 1)
		c.view(1)
		c.beatFor("g", told, time.Hour)
		synctest.Wait()
		if counts[0] != 0 || counts[1] != 6 || counts[2] != 0 {
			t.Errorf("expired %v times", counts)
		}
	})
}

func TestInventedGroupsAreForgotten(t *testing.T) {
	inBubble(t, func(h *harness) {
		for i := range 20 {
			told := h.stable(fmt.Sprint(i), 1)
			_, err := h.c.Leave(h.ctx, LeaveRequest{Group: fmt.Sprint(i), Members: []Leaver{{Member: told[0].Member}}})
			h.is(err, nil)
		}
		time.Sleep(h.cfg.OffsetsCheckInterval)
		synctest.Wait()
		h.w.read(func(r state.Reader) {
			for id := range r.Groups() {
				t.Errorf("group %s is still known", id)
			}
			for i := range 20 {
				if _, claim := r.Claim(fmt.Sprint(i)); claim != 0 {
					t.Errorf("group %d is still claimed", i)
				}
			}
		})
		h.stable("0", 2)
	})
}

func TestGroupThatIsDeletedWhileMembersJoinBeginsAnew(t *testing.T) {
	inBubble(t, func(h *harness) {
		told := h.stable("g", 1)
		_, err := h.c.Leave(h.ctx, LeaveRequest{Group: "g", Members: []Leaver{{Member: told[0].Member}}})
		h.is(err, nil)
		j := h.goJoin(joinRequest("g", h.newID("g")))
		results, err := h.d.Do(context.Background(), state.DeleteGroup{Group: "g"})
		if h.is(err, nil); results[0].Code != state.CodeOK {
			t.Fatalf("delete: %+v", results[0])
		}
		r := j.wait()
		h.is(j.err, nil)
		h.sync("g", []JoinResponse{r})
		h.is(h.heartbeat("g", r), nil)
	})
}
