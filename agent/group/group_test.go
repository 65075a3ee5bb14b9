package group

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/metadata/state"
)

func TestMembersOfANewGroupJoinTogetherAfterTheInitialDelay(t *testing.T) {
	inBubble(t, func(h *harness) {
		began := time.Now()
		told := h.stable("g", 3)
		if d := time.Since(began); d < 3*time.Second || d > 7*time.Second {
			h.Errorf("initial rebalance took %v", d)
		}
		leaders := 0
		for _, r := range told {
			if r.Generation != 1 || r.Protocol != "range" || r.ProtocolType != "consumer" || r.Leader != told[0].Member {
				h.Errorf("told %+v", r)
			}
			if len(r.Members) > 0 {
				leaders++
			}
		}
		if leaders != 1 || len(told[0].Members) != 3 {
			h.Errorf("%d leaders, of %d members", leaders, len(told[0].Members))
		}
		h.state("g", "Stable")
		d := h.c.Describe(h.ctx, []string{"g", "nobody"})
		if len(d[0].Members) != 3 || d[0].Protocol != "range" || !bytes.HasPrefix(d[0].Members[0].Assignment, []byte("for ")) ||
			string(d[0].Members[0].Metadata) != "topics" {
			h.Errorf("described as %+v", d[0])
		}
		if d[1].State != "Dead" || d[1].Err != ErrNoSuchGroup {
			h.Errorf("unknown group described as %+v", d[1])
		}
		h.beatFor("g", told, time.Minute)
		h.generation("g", 1)
	})
}

func TestInitialDelayIsExtendedWhileMembersCome(t *testing.T) {
	inBubble(t, func(h *harness) {
		began := time.Now()
		first := h.goJoin(joinRequest("g", h.newID("g")))
		time.Sleep(2 * time.Second)
		second := h.goJoin(joinRequest("g", h.newID("g")))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		third := h.goJoin(joinRequest("g", h.newID("g")))
		if !first.waiting() || !second.waiting() {
			h.Fatal("the delay was not extended")
		}
		first.wait()
		second.wait()
		third.wait()
		if d := time.Since(began); d != 9*time.Second || first.resp.Generation != 1 || third.resp.Generation != 1 {
			h.Errorf("took %v, told %+v and %+v", d, first.resp, third.resp)
		}
	})
}

func TestMemberWithoutMemberIDFromAnOldClientJoinsAtOnce(t *testing.T) {
	inBubble(t, func(h *harness) {
		r := joinRequest("g", "")
		r.MemberIDRequired = false
		resp := h.goJoin(r).wait()
		if resp.Generation != 1 || !strings.HasPrefix(resp.Member, "client-") {
			h.Errorf("told %+v", resp)
		}
	})
}

func TestJoinIsRefused(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.stable("g", 1)
		for name, c := range map[string]struct {
			change func(*JoinRequest)
			want   error
		}{
			"no group id":           {func(r *JoinRequest) { r.Group = "" }, ErrInvalidGroupID},
			"group id of 1 MiB":     {func(r *JoinRequest) { r.Group = strings.Repeat("x", 1<<20) }, ErrInvalidGroupID},
			"session too short":     {func(r *JoinRequest) { r.SessionTimeout = 5999 * time.Millisecond }, ErrInvalidSessionTimeout},
			"session too long":      {func(r *JoinRequest) { r.SessionTimeout = 31 * time.Minute }, ErrInvalidSessionTimeout},
			"unknown member":        {func(r *JoinRequest) { r.Member = "who" }, ErrUnknownMember},
			"unknown group":         {func(r *JoinRequest) { r.Group, r.Member = "new", "who" }, ErrUnknownMember},
			"other protocol type":   {func(r *JoinRequest) { r.ProtocolType = "connect" }, ErrInconsistentProtocol},
			"no common protocol":    {func(r *JoinRequest) { r.Protocols = []state.Protocol{{Name: "other"}} }, ErrInconsistentProtocol},
			"no protocol, no group": {func(r *JoinRequest) { r.Group, r.Protocols = "new", nil }, ErrInconsistentProtocol},
			"unknown instance":      {func(r *JoinRequest) { r.Member, r.Instance = "who", "i" }, ErrUnknownMember},
			"endless instance":      {func(r *JoinRequest) { r.Instance = strings.Repeat("x", MaxGroupID) }, ErrInvalidRequest},
			"larger than a group":   {func(r *JoinRequest) { r.Instance, r.Protocols[0].Metadata = "i", make([]byte, 5<<20) }, ErrGroupFull},
		} {
			r := joinRequest("g", "")
			c.change(&r)
			resp, err := h.c.Join(h.ctx, r)
			if err != c.want || resp.Generation != 0 || resp.Member != r.Member {
				h.Errorf("%s: %+v, %v; want %v", name, resp, err, c.want)
			}
		}
		h.state("g", "Stable")
		h.generation("g", 1)
	})
}

func TestNewMemberMakesTheOthersJoinAgain(t *testing.T) {
	inBubble(t, func(h *harness) {
		told := h.stable("g", 2)
		id := h.newID("g")
		j := h.goJoin(joinRequest("g", id))
		h.state("g", "PreparingRebalance")
		h.is(h.heartbeat("g", told[0]), ErrRebalanceInProgress)
		_, err := h.c.Sync(h.ctx, syncRequest("g", told[1]))
		h.is(err, ErrRebalanceInProgress)
		if !j.waiting() {
			h.Fatal("join was answered before the others were asked")
		}
		again := h.together("g", told[0].Member, told[1].Member)
		_ = again
		h.is(j.err, nil)
	})
}

func TestGroupIsNotToldBeforeTheJournalKnows(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.d.faults = func(op state.Op) fault {
			if _, ok := op.(state.WriteGroup); ok {
				return faultSlow
			}
			return faultNone
		}
		id := h.newID("g")
		j := h.goJoin(joinRequest("g", id))
		time.Sleep(3*time.Second + time.Millisecond)
		synctest.Wait()
		if !j.waiting() {
			h.Fatal("join was answered before its generation was written")
		}
		resp := j.wait()
		h.generation("g", 1)
		s := h.goSync(syncRequest("g", resp))
		select {
		case <-s.done:
			h.Fatal("sync was answered before its assignment was written")
		default:
		}
		<-s.done
		if g := h.group("g"); g.State != state.GroupStable || string(g.Members[0].Assignment) != "for "+id {
			h.Errorf("journal knows %+v", g)
		}
	})
}

func TestMemberWhoseSessionEndsIsOut(t *testing.T) {
	inBubble(t, func(h *harness) {
		told := h.stable("g", 2)
		h.beatFor("g", told[:1], 9*time.Second)
		h.state("g", "Stable")
		time.Sleep(2 * time.Second)
		h.is(h.heartbeat("g", told[0]), ErrRebalanceInProgress)
		h.is(h.heartbeat("g", told[1]), ErrUnknownMember)
		again := h.together("g", told[0].Member)
		if again[0].Generation != 2 || len(again[0].Members) != 1 {
			h.Errorf("told %+v", again)
		}
		time.Sleep(11 * time.Second)
		h.state("g", "Empty")
		h.generation("g", 3)
	})
}

func TestMemberThatDoesNotJoinInTimeIsOut(t *testing.T) {
	inBubble(t, func(h *harness) {
		told := h.stable("g", 2)
		j := h.goJoin(joinRequest("g", told[0].Member))
		for range 19 {
			time.Sleep(3 * time.Second)
			h.is(h.heartbeat("g", told[1]), ErrRebalanceInProgress)
		}
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if j.waiting() || len(j.resp.Members) != 1 {
			h.Fatalf("told %+v, %v", j.resp, j.err)
		}
		h.is(h.heartbeat("g", told[1]), ErrUnknownMember)
	})
}

func TestMemberThatDoesNotSyncInTimeIsOut(t *testing.T) {
	inBubble(t, func(h *harness) {
		a, b := h.newID("g"), h.newID("g")
		ja, jb := h.goJoin(joinRequest("g", a)), h.goJoin(joinRequest("g", b))
		ra, rb := ja.wait(), jb.wait()
		s := h.goSync(syncRequest("g", ra))
		<-s.done
		h.is(s.err, nil)
		for range 19 {
			time.Sleep(3 * time.Second)
			h.is(h.heartbeat("g", ra), nil)
			h.is(h.heartbeat("g", rb), nil)
		}
		time.Sleep(4 * time.Second)
		h.is(h.heartbeat("g", rb), ErrUnknownMember)
		h.is(h.heartbeat("g", ra), ErrRebalanceInProgress)
	})
}

func TestHandedOutMemberIDExpires(t *testing.T) {
	inBubble(t, func(h *harness) {
		told := h.stable("g", 1)
		h.newID("g")
		j := h.goJoin(joinRequest("g", told[0].Member)) // its rebalance waits for the newcomer
		if !j.waiting() {
			h.Fatal("a generation began without the newcomer")
		}
		time.Sleep(sessionTimeout + time.Millisecond)
		synctest.Wait()
		if j.waiting() || j.resp.Generation != 2 {
			h.Fatalf("told %+v, %v", j.resp, j.err)
		}
	})
}

func TestLeave(t *testing.T) {
	inBubble(t, func(h *harness) {
		told := h.stable("g", 2)
		errs, err := h.c.Leave(h.ctx, LeaveRequest{Group: "g", Members: []Leaver{
			{Member: "who"}, {Member: told[0].Member}, {Instance: "none"}, {Member: told[0].Member},
		}})
		h.is(err, nil)
		for i, want := range []error{ErrUnknownMember, nil, ErrUnknownMember, ErrUnknownMember} {
			h.is(errs[i], want)
		}
		h.is(h.heartbeat("g", told[1]), ErrRebalanceInProgress)
		if errs := h.c.Delete(h.ctx, []string{"g"}); errs[0] != ErrGroupNotEmpty {
			h.Errorf("delete of a group with members: %v", errs)
		}
		h.d.faults = func(state.Op) fault { return faultSlow }
		_, err = h.c.Leave(h.ctx, LeaveRequest{Group: "g", Members: []Leaver{{Member: told[1].Member}}})
		h.is(err, nil)
		if g := h.group("g"); g.State != state.GroupEmpty || g.ProtocolType != "consumer" {
			h.Errorf("journal knows %+v", g)
		}
		if errs := h.c.Delete(h.ctx, []string{"g", "g", "x"}); errs[0] != nil || errs[1] != ErrNoSuchGroup || errs[2] != ErrNoSuchGroup {
			h.Errorf("delete: %v", errs)
		}
		h.state("g", "Dead")
		errs, err = h.c.Leave(h.ctx, LeaveRequest{Group: "nobody", Members: []Leaver{{Member: "x"}}})
		h.is(err, nil)
		h.is(errs[0], ErrUnknownMember)
	})
}

func TestSyncAndHeartbeatAreRefused(t *testing.T) {
	inBubble(t, func(h *harness) {
		told := h.stable("g", 1)
		id := told[0].Member
		for name, c := range map[string]struct {
			r    SyncRequest
			want error
			beat error
		}{
			"good":                {SyncRequest{Group: "g", Member: id, Generation: 1}, nil, nil},
			"old generation":      {SyncRequest{Group: "g", Member: id, Generation: 0}, ErrIllegalGeneration, ErrIllegalGeneration},
			"next generation":     {SyncRequest{Group: "g", Member: id, Generation: 2}, ErrIllegalGeneration, ErrIllegalGeneration},
			"unknown member":      {SyncRequest{Group: "g", Member: "who", Generation: 1}, ErrUnknownMember, ErrUnknownMember},
			"unknown instance":    {SyncRequest{Group: "g", Member: id, Instance: "i", Generation: 1}, ErrUnknownMember, ErrUnknownMember},
			"unknown group":       {SyncRequest{Group: "x", Member: id, Generation: 1}, ErrUnknownMember, ErrUnknownMember},
			"no group":            {SyncRequest{Member: id, Generation: 1}, ErrInvalidGroupID, ErrInvalidGroupID},
			"other protocol":      {SyncRequest{Group: "g", Member: id, Generation: 1, Protocol: "x"}, ErrInconsistentProtocol, nil},
			"other protocol type": {SyncRequest{Group: "g", Member: id, Generation: 1, ProtocolType: "x"}, ErrInconsistentProtocol, nil},
		} {
			if _, err := h.c.Sync(h.ctx, c.r); err != c.want {
				h.Errorf("%s: sync: %v, want %v", name, err, c.want)
			}
			beat := HeartbeatRequest{Group: c.r.Group, Member: c.r.Member, Instance: c.r.Instance, Generation: c.r.Generation}
			if err := h.c.Heartbeat(h.ctx, beat); err != c.beat {
				h.Errorf("%s: heartbeat: %v, want %v", name, err, c.beat)
			}
		}
	})
}

func TestEmptyGroupThatSomebodyIsJoiningIsNotDeleted(t *testing.T) {
	inBubble(t, func(h *harness) {
		_, err := h.c.Commit(h.ctx, CommitRequest{Group: "g", Generation: -1, Offsets: positions(h.topic(), "")})
		h.is(err, nil)
		j := h.goJoin(joinRequest("g", h.newID("g")))
		h.is(h.c.Delete(h.ctx, []string{"g"})[0], ErrGroupNotEmpty)
		j.wait()
		h.is(j.err, nil)
		if got, err := h.c.Offsets(h.ctx, "g", nil); err != nil || len(got) != 1 {
			h.Errorf("offsets are %+v, %v", got, err)
		}
	})
}

func TestLeaderAloneMayForceARebalance(t *testing.T) {
	inBubble(t, func(h *harness) {
		told := h.stable("g", 2)
		j := h.goJoin(joinRequest("g", told[1].Member))
		if resp := j.wait(); resp.Generation != 1 || len(resp.Members) != 0 {
			h.Errorf("follower without news is told %+v, %v", resp, j.err)
		}
		h.state("g", "Stable")
		r := joinRequest("g", told[1].Member)
		r.Protocols = []state.Protocol{{Name: "range", Metadata: []byte("other topics")}}
		changed := h.goJoin(r)
		h.state("g", "PreparingRebalance")
		leader := h.goJoin(joinRequest("g", told[0].Member))
		if resp := leader.wait(); resp.Generation != 2 || len(resp.Members) != 2 {
			h.Errorf("told %+v, %v", resp, leader.err)
		}
		changed.wait()
		again := h.goJoin(r) // missed its answer
		if resp := again.wait(); resp.Generation != 2 {
			h.Errorf("told %+v, %v", resp, again.err)
		}
	})
}

func TestJoinGroupThatIsSentAgainReplacesTheFirst(t *testing.T) {
	inBubble(t, func(h *harness) {
		told := h.stable("g", 2)
		first := h.goJoin(joinRequest("g", told[0].Member))
		second := h.goJoin(joinRequest("g", told[0].Member))
		if first.waiting() || first.err != ErrRebalanceInProgress {
			h.Errorf("the first is told %+v, %v", first.resp, first.err)
		}
		h.goJoin(joinRequest("g", told[1].Member)).wait()
		if second.wait(); second.err != nil || second.resp.Generation != 2 {
			h.Errorf("the second is told %+v, %v", second.resp, second.err)
		}
	})
}

func TestGroupHasAtMostMaxSizeMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &harness{T: t, w: newWorld(t), cfg: Default(), ctx: t.Context()}
		h.cfg.MaxSize = 2
		h.start()
		h.stable("g", 2)
		_, err := h.c.Join(h.ctx, joinRequest("g", ""))
		h.is(err, ErrGroupFull)
		h.state("g", "Stable")
		h.stop()
	})
}

func TestNewcomersAreBoundedAndTheirMemoryIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &harness{T: t, w: newWorld(t), cfg: Default(), ctx: t.Context()}
		h.cfg.MaxNewcomerBytes = 5 << 10
		h.start()
		var err error
		for i := 0; err != ErrCoordinatorNotAvailable; i++ {
			if i == 100 {
				t.Fatal("no bound was reached")
			}
			_, err = h.c.Join(h.ctx, joinRequest("g"+string(rune('a'+i)), ""))
		}
		time.Sleep(sessionTimeout + time.Second)
		told := h.stable("g", 2)
		h.c.Leave(h.ctx, LeaveRequest{Group: "g", Members: []Leaver{{Member: told[0].Member}, {Member: told[1].Member}}})
		one := h.newID("h")
		j := h.goJoin(joinRequest("h", one)) // leaves before there is a generation
		h.c.Leave(h.ctx, LeaveRequest{Group: "h", Members: []Leaver{{Member: one}}})
		j.wait()
		h.is(j.err, ErrUnknownMember)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n := h.c.newcomers.Load(); n != 0 {
			t.Errorf("%d bytes are held for members that left", n)
		}
		time.Sleep(2 * idleLinger)
		synctest.Wait()
		if n := h.c.newcomers.Load(); n != 0 || h.c.held() != 0 {
			t.Errorf("%d bytes are held for nobody, by %v groups", n, h.c.held())
		}
		h.stop()
	})
}

func TestStaticMemberComesBackWithoutARebalance(t *testing.T) {
	inBubble(t, func(h *harness) {
		static := joinRequest("g", "")
		static.Instance = "one"
		j := h.goJoin(static) // leader
		id := h.newID("g")
		j2 := h.goJoin(joinRequest("g", id))
		first, second := j.wait(), j2.wait()
		if !strings.HasPrefix(first.Member, "one-") || first.Leader != first.Member || first.Members[0].Instance != "one" {
			h.Fatalf("told %+v, %v", first, j.err)
		}
		h.sync("g", []JoinResponse{first, second})

		back, err := h.c.Join(h.ctx, static)
		h.is(err, nil)
		if back.Generation != 1 || back.Member == first.Member || back.Leader != back.Member || !back.SkipAssignment || len(back.Members) != 2 {
			h.Errorf("told %+v", back)
		}
		s := h.goSync(syncRequest("g", JoinResponse{Member: back.Member, Generation: 1}))
		<-s.done
		if h.is(s.err, nil); string(s.resp.Assignment) != "for "+first.Member {
			h.Errorf("assignment %q", s.resp.Assignment)
		}
		h.state("g", "Stable")
		err = h.c.Heartbeat(h.ctx, HeartbeatRequest{Group: "g", Member: first.Member, Instance: "one", Generation: 1})
		h.is(err, ErrFencedInstance)
		h.is(h.c.Heartbeat(h.ctx, HeartbeatRequest{Group: "g", Member: back.Member, Instance: "one", Generation: 1}), nil)
		_, err = h.c.Sync(h.ctx, SyncRequest{Group: "g", Member: first.Member, Instance: "one", Generation: 1})
		h.is(err, ErrFencedInstance)

		// The journal knows the new id before the client does.
		h.restart()
		h.is(h.c.Heartbeat(h.ctx, HeartbeatRequest{Group: "g", Member: back.Member, Instance: "one", Generation: 1}), nil)

		old := static
		old.SkipAssignment = false
		older, err := h.c.Join(h.ctx, old)
		h.is(err, nil)
		if older.Leader != back.Member || older.SkipAssignment || len(older.Members) != 0 {
			h.Errorf("an older client is told that it leads: %+v", older)
		}

		// With other protocols it does need a rebalance.
		static.Protocols = []state.Protocol{{Name: "sticky"}, {Name: "range"}}
		h.goJoin(static)
		h.state("g", "Stable") // range is still what all offer
		errs, err := h.c.Leave(h.ctx, LeaveRequest{Group: "g", Members: []Leaver{{Instance: "one"}}})
		h.is(err, nil)
		h.is(errs[0], nil)
		h.is(h.heartbeat("g", second), ErrRebalanceInProgress)
	})
}

func TestStaticMemberThatIsAwayIsKeptUntilItsSessionEnds(t *testing.T) {
	inBubble(t, func(h *harness) {
		static := joinRequest("g", "")
		static.Instance, static.SessionTimeout = "one", 5*time.Minute
		j := h.goJoin(static)
		id := h.newID("g")
		j2 := h.goJoin(joinRequest("g", id))
		first, second := j.wait(), j2.wait()
		h.sync("g", []JoinResponse{first, second})
		j2 = h.goJoin(func() JoinRequest { // a rebalance without the static member, which led
			r := joinRequest("g", id)
			r.Protocols = []state.Protocol{{Name: "range", Metadata: []byte("more")}}
			return r
		}())
		resp := j2.wait()
		if resp.Generation != 2 || resp.Leader != id || len(resp.Members) != 2 {
			h.Errorf("told %+v, %v", resp, j2.err)
		}
	})
}

func TestTooLargeAssignmentIsRefusedAndTheGroupGoesOn(t *testing.T) {
	inBubble(t, func(h *harness) {
		id := h.newID("g")
		j := h.goJoin(joinRequest("g", id))
		r := syncRequest("g", j.wait())
		r.Assignments[0].Bytes = make([]byte, 5<<20)
		_, err := h.c.Sync(h.ctx, r)
		h.is(err, ErrAssignmentTooLarge)
		h.together("g", id)
	})
}

func TestListShowsWhatMemoryAndJournalKnow(t *testing.T) {
	inBubble(t, func(h *harness) {
		told := h.stable("b", 1)
		h.goJoin(joinRequest("b", told[0].Member))
		h.stable("a", 1)
		id := h.newID("c")
		h.goJoin(joinRequest("c", id))
		_, err := h.c.Commit(h.ctx, CommitRequest{Group: "simple", Generation: -1, Offsets: positions(h.topic(), "")})
		h.is(err, nil)
		check := func(states, types []string, want ...Listing) {
			t.Helper()
			got, err := h.c.List(h.ctx, states, types)
			h.is(err, nil)
			if len(got) != len(want) {
				h.Fatalf("listed %+v, want %+v", got, want)
			}
			for i := range got {
				if got[i] != want[i] {
					h.Errorf("listed %+v, want %+v", got[i], want[i])
				}
			}
		}
		a, b := Listing{"a", "consumer", "Stable"}, Listing{"b", "consumer", "CompletingRebalance"}
		c, simple := Listing{"c", "consumer", "PreparingRebalance"}, Listing{"simple", "", "Empty"}
		check(nil, nil, a, b, c, simple)
		check([]string{"stable", "EMPTY"}, []string{"Classic"}, a, simple)
		check(nil, []string{"share"})
	})
}
