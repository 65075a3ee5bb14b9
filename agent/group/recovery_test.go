package group

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/metadata/state"
)

func TestRestartCausesNoRebalance_R11(t *testing.T) {
	inBubble(t, func(h *harness) {
		topic := h.topic()
		told := h.stable("g", 3)
		h.beatFor("g", told, 7*time.Second)
		for range 5 {
			h.restart()
			h.beatFor("g", told, 25*time.Second)
			_, err := h.c.Commit(h.ctx, CommitRequest{Group: "g", Member: told[2].Member, Generation: 1, Offsets: positions(topic, "")})
			h.is(err, nil)
			h.sync("g", told)
		}
		h.generation("g", 1)
		h.state("g", "Stable")
	})
}

func TestMembersThatDiedWithTheCoordinatorExpireThoughNobodyCalls(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.stable("g", 2)
		time.Sleep(9 * time.Second)
		h.restart()
		time.Sleep(9 * time.Second)
		h.state("g", "Stable") // a whole session from the restart on
		time.Sleep(3*time.Second + rebalanceTimeout)
		h.state("g", "Empty")
		if g := h.group("g"); len(g.Members) != 0 {
			h.Errorf("journal knows %+v", g)
		}
	})
}

func TestRestartWhileTheAssignmentIsAwaited_R11(t *testing.T) {
	inBubble(t, func(h *harness) {
		a, b := h.newID("g"), h.newID("g")
		ja, jb := h.goJoin(joinRequest("g", a)), h.goJoin(joinRequest("g", b))
		told := []JoinResponse{ja.wait(), jb.wait()}
		follower := h.goSync(syncRequest("g", told[1]))
		h.restart()
		<-follower.done
		if follower.err == nil {
			h.Fatal("sync was answered without an assignment")
		}
		h.state("g", "CompletingRebalance")
		for _, r := range told {
			h.is(h.heartbeat("g", r), nil)
		}
		if again := h.goJoin(joinRequest("g", b)); again.wait().Generation != 1 {
			h.Errorf("a follower that lost its answer is told %+v, %v", again.resp, again.err)
		}
		h.sync("g", told)
		h.generation("g", 1)
	})
}

func TestRestartWhileMembersJoinAgainLeavesThemTheOldGeneration(t *testing.T) {
	inBubble(t, func(h *harness) {
		told := h.stable("g", 2)
		id := h.newID("g")
		j := h.goJoin(joinRequest("g", id))
		h.restart()
		j.wait()
		if j.err == nil {
			h.Fatal("join was answered")
		}
		h.is(h.heartbeat("g", told[0]), nil)
		_, err := h.c.Join(h.ctx, joinRequest("g", id))
		h.is(err, ErrUnknownMember) // the client starts over
		h.state("g", "Stable")
	})
}

func TestRestartAfterAMemberLeftDoesNotWaitForIt(t *testing.T) {
	inBubble(t, func(h *harness) {
		told := h.stable("g", 3)
		newcomer := h.goJoin(joinRequest("g", h.newID("g")))
		errs, err := h.c.Leave(h.ctx, LeaveRequest{Group: "g", Members: []Leaver{{Member: told[1].Member}}})
		h.is(errors.Join(append(errs, err)...), nil)
		if g := h.group("g"); len(g.Members) != 2 || g.Generation != 1 {
			h.Fatalf("the journal knows %+v", g)
		}
		h.restart()
		newcomer.wait()
		h.is(h.heartbeat("g", told[1]), ErrUnknownMember)
		h.is(h.heartbeat("g", told[0]), ErrRebalanceInProgress) // its partitions were the other's, or will be
		began := time.Now()
		told = h.together("g", told[0].Member, told[2].Member)
		if took := time.Since(began); took > time.Second {
			h.Errorf("the rebalance took %s", took)
		}
		h.generation("g", 2)
		h.beatFor("g", told, 2*sessionTimeout)
	})
}

func TestRestartAfterAllButNewcomersLeftFindsAnEmptyGroup(t *testing.T) {
	inBubble(t, func(h *harness) {
		told := h.stable("g", 1)
		h.goJoin(joinRequest("g", h.newID("g")))
		h.newID("g") // whoever has it is awaited
		_, err := h.c.Leave(h.ctx, LeaveRequest{Group: "g", Members: []Leaver{{Member: told[0].Member}}})
		h.is(err, nil)
		h.state("g", "PreparingRebalance")
		if g := h.group("g"); g.State != state.GroupEmpty || len(g.Members) != 0 {
			h.Fatalf("the journal knows %+v", g)
		}
		h.restart()
		h.state("g", "Empty")
		h.stable("g", 2)
		h.generation("g", 2)
	})
}

func TestLostClaimIsNoticedAndNobodyIsAnsweredFromMemory(t *testing.T) {
	inBubble(t, func(h *harness) {
		told := h.stable("g", 2)
		j := h.goJoin(joinRequest("g", told[0].Member))
		old := h.c
		thief := h.w.open()
		var claim uint64
		h.w.read(func(r state.Reader) { _, claim = r.Claim("g") })
		res, err := thief.Do(h.ctx, state.ClaimGroup{Group: "g", Replaces: claim})
		if err != nil || res[0].Code != state.CodeOK {
			h.Fatalf("claim: %+v, %v", res, err)
		}
		h.is(old.Heartbeat(h.ctx, HeartbeatRequest{Group: "g", Member: told[1].Member, Generation: 1}), ErrNotCoordinator)
		j.wait()
		h.is(j.err, ErrNotCoordinator)
	})
}

func TestWriteUnderALostClaimIsRefused(t *testing.T) {
	inBubble(t, func(h *harness) {
		told := h.stable("g", 1)
		thief := h.w.open()
		h.d.before = func(op state.Op) {
			if w, ok := op.(state.WriteGroup); ok {
				h.d.before = nil
				if _, err := thief.Do(h.ctx, state.ClaimGroup{Group: "g", Replaces: w.Claim}); err != nil {
					h.Error(err)
				}
			}
		}
		j := h.goJoin(joinRequest("g", told[0].Member))
		j.wait()
		h.is(j.err, ErrNotCoordinator)
		h.generation("g", 1)
	})
}

func TestAskingForGroupsThatDoNotExistLeavesNoTrace(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.is(h.c.Heartbeat(h.ctx, HeartbeatRequest{Group: "g", Member: "m", Generation: 1}), ErrUnknownMember)
		_, err := h.c.Sync(h.ctx, SyncRequest{Group: "g", Member: "m", Generation: 1})
		h.is(err, ErrUnknownMember)
		h.newID("g")
		time.Sleep(time.Minute)
		h.w.read(func(r state.Reader) {
			for id := range r.Groups() {
				h.Errorf("journal has group %s", id)
			}
			if _, claim := r.Claim("g"); claim != 0 {
				h.Error("journal has a claim")
			}
		})
	})
}

func TestSlowJournalEndsNoSession(t *testing.T) {
	for range 8 { // a session that ended and a heartbeat that waits are taken in any order
		inBubble(t, func(h *harness) {
			a, b := h.newID("g"), h.newID("g")
			ja, jb := h.goJoin(joinRequest("g", a)), h.goJoin(joinRequest("g", b))
			leader, follower := ja.wait(), jb.wait()
			time.Sleep(5 * time.Second)
			h.d.before = func(state.Op) {
				time.Sleep(9 * time.Second)
				h.d.before = nil
			}
			s := h.goSync(syncRequest("g", leader))
			time.Sleep(4 * time.Second)
			h.is(h.heartbeat("g", follower), nil) // in time, but waits for the write
			<-s.done
			h.is(s.err, nil)
			time.Sleep(9 * time.Second)
			h.is(h.heartbeat("g", follower), nil)
		})
	}
}

func TestGroupWhoseWriteFailedIsTakenUpAgainThoughNobodyCalls(t *testing.T) {
	inBubble(t, func(h *harness) {
		told := h.stable("g", 2)
		h.d.faults = func(state.Op) fault { return faultLost }
		j, j2 := h.goJoin(joinRequest("g", told[0].Member)), h.goJoin(joinRequest("g", told[1].Member))
		j.wait()
		j2.wait()
		h.is(j.err, ErrCoordinatorNotAvailable)
		time.Sleep(time.Minute)
		h.w.mu.Lock()
		h.d.faults = nil
		h.w.mu.Unlock()
		time.Sleep(2*time.Second + sessionTimeout + rebalanceTimeout)
		h.state("g", "Empty")
	})
}

func TestGroupsThatCouldNotBeLoadedAreNotRemembered(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.stable("g", 1)
		h.w.mu.Lock()
		h.d.dead = true
		h.w.mu.Unlock()
		for i := range 100 {
			_, err := h.c.Join(h.ctx, joinRequest(fmt.Sprint("x", i), ""))
			h.is(err, ErrCoordinatorNotAvailable)
		}
		h.c.Heartbeat(h.ctx, HeartbeatRequest{Group: "g", Member: "m"})
		h.c.mu.Lock()
		defer h.c.mu.Unlock()
		if _, ok := h.c.orphans["g"]; !ok || len(h.c.orphans) != 1 {
			h.Errorf("%d groups wait to be adopted, of which g: %v", len(h.c.orphans), ok)
		}
	})
}

func TestRestartClaimsTheGroupsAtOnce(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.stable("g", 1)
		h.restart()
		h.w.read(func(r state.Reader) {
			if owner, _ := r.Claim("g"); owner != h.d.id {
				h.Errorf("the group is claimed by %s, not by %s", owner, h.d.id)
			}
		})
	})
}

// TestEveryWriteMayFailInEveryWay: paired faults. Whatever happens to the n-th command of a group's life, clients that try
// again become a stable group, and what was told of a generation stays true.
func TestEveryWriteMayFailInEveryWay(t *testing.T) {
	for _, f := range []fault{faultRefused, faultLost, faultLate, faultHang, faultSlow} {
		for n := 1; n <= 5; n++ {
			t.Run(fmt.Sprintf("fault %d of command %d", f, n), func(t *testing.T) {
				inBubble(t, func(h *harness) {
					count := 0
					h.d.faults = func(state.Op) fault {
						if count++; count == n {
							return f
						}
						return faultNone
					}
					lifeOfAGroup(h)
					if count < n {
						h.Errorf("only %d commands", count)
					}
				})
			})
		}
	}
}

// TestKillBetweenAnyTwoSteps_R11 kills the coordinator before and after each command that a group's life needs.
func TestKillBetweenAnyTwoSteps_R11(t *testing.T) {
	for n := 1; n <= 5; n++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("command %d, after %v", n, after), func(t *testing.T) {
				inBubble(t, func(h *harness) {
					count := 0
					kill := func(state.Op) {
						if count++; count == n {
							h.die()
							go func() {
								<-h.done
								h.start()
							}()
						}
					}
					if after {
						h.d.after = kill
					} else {
						h.d.before = kill
					}
					lifeOfAGroup(h)
				})
			})
		}
	}
}

// lifeOfAGroup: three clients meet, work, lose one that leaves, and stay stable over a restart.
func lifeOfAGroup(h *harness) {
	j := newJudge(h, "g")
	clients := []*client{j.client(), j.client(), j.client()}
	for _, c := range clients {
		c.begin()
	}
	j.settled(clients, 3*time.Minute)
	clients[2].end(true)
	j.settled(clients[:2], 3*time.Minute)
	generation := h.group("g").Generation
	h.restart()
	h.pass(time.Minute)
	j.settled(clients[:2], 0)
	h.generation("g", generation)
	clients[0].end(true)
	clients[1].end(true)
	h.pass(2 * time.Minute)
	if g := h.group("g"); g.State != state.GroupEmpty {
		h.Errorf("journal knows %+v", g)
	}
	synctest.Wait()
}

func TestRequestsBeforeAndAfterRunAreToldToComeAgain(t *testing.T) {
	inBubble(t, func(h *harness) {
		told := h.stable("g", 2)
		waiting := h.goJoin(joinRequest("g", told[0].Member))
		h.stop()
		waiting.wait()
		h.is(waiting.err, ErrCoordinatorNotAvailable)
		h.is(h.heartbeat("g", told[0]), ErrCoordinatorNotAvailable)
		_, err := h.c.Join(h.ctx, joinRequest("g", ""))
		h.is(err, ErrCoordinatorNotAvailable)
	})
}

func TestMetadataThatIsAwayIsNotGuessed(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.stable("g", 1)
		h.w.mu.Lock()
		h.d.dead = true
		h.w.mu.Unlock()
		if d := h.c.Describe(h.ctx, []string{"x"})[0]; !errors.Is(d.Err, ErrCoordinatorNotAvailable) {
			h.Errorf("described as %+v", d)
		}
		_, err := h.c.Offsets(h.ctx, "g", nil)
		h.is(err, ErrNotCoordinator)
		h.is(h.c.Heartbeat(h.ctx, HeartbeatRequest{Group: "x", Member: "m", Generation: 1}), ErrCoordinatorNotAvailable)
		h.is(h.c.Delete(h.ctx, []string{"x"})[0], ErrCoordinatorNotAvailable)
		_, err = h.c.Commit(h.ctx, CommitRequest{Group: "x", Generation: -1})
		h.is(err, ErrCoordinatorNotAvailable)
		_, err = h.c.List(h.ctx, nil, nil)
		h.is(err, ErrCoordinatorNotAvailable)
	})
}
