package api

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// cable is a Forwarder between agents of one process. Clients of the listener "lb" know one address for all of them.
type cable struct {
	agents map[string]*server // by peer address

	mu     sync.Mutex
	passed []wire.Request // that were passed on
	// meddle, unless nil, decides what becomes of a request; done false lets it through.
	meddle func(ctx context.Context, r wire.Request) (answer []byte, err error, done bool)
	reach  func(ctx context.Context, peer string) error // nil: everybody is reached
}

func (c *cable) Forward(ctx context.Context, peer string, r wire.Request, body []byte) ([]byte, error) {
	c.mu.Lock()
	c.passed = append(c.passed, r)
	meddle := c.meddle
	c.mu.Unlock()
	if meddle != nil {
		if answer, err, done := meddle(ctx, r); done {
			return answer, err
		}
	}
	to := c.agents[peer]
	if to == nil {
		return nil, fmt.Errorf("%s: %w", peer, metadata.ErrNotApplied)
	}
	return to.ServeForwarded(ctx, r, append([]byte(nil), body...))
}

// Reach implements Forwarder.
func (c *cable) Reach(ctx context.Context, peer string) error {
	c.mu.Lock()
	reach := c.reach
	c.mu.Unlock()
	if reach == nil {
		return nil
	}
	return reach(ctx, peer)
}

func (c *cable) set(meddle func(ctx context.Context, r wire.Request) ([]byte, error, bool)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.meddle, c.passed = meddle, nil
}

// count is how many requests of a call were passed on.
func (c *cable) count(key kmsg.Key) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.passed {
		if r.Key == key.Int16() {
			n++
		}
	}
	return n
}

// twins are two agents behind one address: what "near" answers itself, and what it has "far" answer.
type twins struct {
	*cable
	world     *world
	near, far *server
}

func newTwins(t *testing.T) *twins {
	t.Helper()
	w, c := newWorld(t), &cable{agents: map[string]*server{}}
	w.spread = true
	agent := func(id byte) *server {
		peer := fmt.Sprint("peer", id)
		s := w.agent(metadata.Identity{
			Session: state.UUID{id}, NodeID: int32(id), Agent: peer, Zone: "z1", Peer: peer,
			Listeners: []state.Listener{{Name: "lb", Address: "lb:9092"}, {Name: "direct", Address: peer + ":9092"}},
		}, func(d *Deps) {
			d.Shared, d.Forward = func(listener string) bool { return listener == "lb" }, c
		})
		s.client.Listener = "lb"
		c.agents[peer] = s
		return s
	}
	tw := &twins{cable: c, world: w, near: agent(1), far: agent(2)}
	for len(tw.near.Brokers.View().All()) < 2 || len(tw.far.Brokers.View().All()) < 2 {
		select {
		case <-tw.near.Brokers.Changed():
		case <-tw.far.Brokers.Changed():
		case <-time.After(time.Millisecond): // it may have changed between look and wait
		}
	}
	return tw
}

// group names a group that an agent coordinates.
func (tw *twins) group(at *server, prefix string) string {
	for i := 0; ; i++ {
		name := fmt.Sprint(prefix, i)
		if b, ok := tw.near.Brokers.View().Coordinator(name); ok && b.Session == at.Session.ID() {
			return name
		}
	}
}

// life is everything that a group's member and an administrator are answered, in one version of each call.
func life(s *server, version int16, group string) (answers []kmsg.Response) {
	ask := func(req kmsg.Request) kmsg.Response {
		resp := s.ask(req)
		answers = append(answers, resp)
		return resp
	}
	describeIt := func() {
		ask(edited(kmsg.NewPtrDescribeGroupsRequest(), func(r *kmsg.DescribeGroupsRequest) {
			r.Version, r.Groups, r.IncludeAuthorizedOperations = min(version, 6), []string{group, group}, true
		}))
	}
	list := func() {
		resp := s.ask(edited(kmsg.NewPtrListGroupsRequest(), func(r *kmsg.ListGroupsRequest) { r.Version = min(version, 5) })).(*kmsg.ListGroupsResponse)
		for _, g := range resp.Groups {
			if g.Group == group {
				resp.Groups = []kmsg.ListGroupsResponseGroup{g}
				answers = append(answers, resp)
				return
			}
		}
		resp.Groups = nil
		answers = append(answers, resp)
	}
	remove := func() {
		ask(edited(kmsg.NewPtrDeleteGroupsRequest(), func(r *kmsg.DeleteGroupsRequest) {
			r.Version, r.Groups = min(version, 2), []string{group, group}
		}))
	}
	describeIt()
	list()
	ask(beat(min(version, 4), group, "nobody", 1))
	ask(syncWith(min(version, 5), group, "nobody", 1))
	ask(leave(min(version, 5), group, "nobody"))
	ask(join(version, group, "nobody"))
	joined := ask(join(version, group, "")).(*kmsg.JoinGroupResponse)
	if version >= 4 {
		joined = ask(join(version, group, joined.MemberID)).(*kmsg.JoinGroupResponse)
	}
	describeIt()
	ask(syncWith(min(version, 5), group, joined.MemberID, joined.Generation))
	ask(beat(min(version, 4), group, joined.MemberID, joined.Generation))
	ask(beat(min(version, 4), group, joined.MemberID, 99))
	describeIt()
	list()
	remove()
	ask(leave(min(version, 5), group, joined.MemberID))
	list()
	remove()
	describeIt()
	member := joined.MemberID
	for _, a := range answers {
		blank(reflect.ValueOf(a), group, member)
	}
	return answers
}

// blank replaces strings in an answer by what they stand for.
func blank(v reflect.Value, group, member string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			blank(v.Elem(), group, member)
		}
	case reflect.Slice:
		for i := range v.Len() {
			blank(v.Index(i), group, member)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			blank(v.Field(i), group, member)
		}
	case reflect.String:
		v.SetString(strings.ReplaceAll(strings.ReplaceAll(v.String(), member, "<member>"), group, "<group>"))
	}
}

func TestForwardedAnswersEqualLocalOnes(t *testing.T) {
	tw := newTwins(t)
	for version := range int16(10) {
		tw.set(nil)
		own := life(tw.near, version, tw.group(tw.near, fmt.Sprint("own", version, "-")))
		before := len(tw.passed)
		passed := life(tw.near, version, tw.group(tw.far, fmt.Sprint("passed", version, "-")))
		tw.far.client.Listener = "direct" // where the other agent's clients are
		direct := life(tw.far, version, tw.group(tw.far, fmt.Sprint("direct", version, "-")))
		tw.far.client.Listener = "lb"
		for i := range own {
			if !reflect.DeepEqual(own[i], passed[i]) {
				t.Fatalf("version %d, answer %d, here and passed on:\n%+v\n%+v", version, i, own[i], passed[i])
			}
			if !reflect.DeepEqual(direct[i], passed[i]) {
				t.Errorf("version %d, answer %d, at the coordinator and passed on:\n%+v\n%+v", version, i, direct[i], passed[i])
			}
		}
		for key := range passOn {
			if tw.count(kmsg.Key(key)) == 0 {
				t.Errorf("version %d: %s was never passed on", version, kmsg.NameForKey(key))
			}
		}
		for _, r := range tw.passed[:before] {
			if r.Key != kmsg.ListGroups.Int16() {
				t.Errorf("version %d: %s about a group of this agent was passed on", version, kmsg.NameForKey(r.Key))
			}
		}
	}
}

func TestTheCoordinatorLearnsWhoAsks(t *testing.T) {
	tw := newTwins(t)
	group := tw.group(tw.far, "g")
	tw.near.client = wire.Request{
		Principal: "User:alice", ClientID: "app", Host: "203.0.113.7", Listener: "lb", Zone: "z9", Conn: 5,
		ClientSoftware: wire.Software{Name: "kgo", Version: "1"},
	}
	joined := tw.near.ask(join(9, group, "")).(*kmsg.JoinGroupResponse)
	if !strings.HasPrefix(joined.MemberID, "app-") {
		t.Error(joined.MemberID)
	}
	tw.near.ask(join(9, group, joined.MemberID))
	got := tw.passed[0]
	want := tw.near.client
	want.Header, want.ForwardedBy = wire.Header{Key: 11, Version: 9}, tw.near.Session.ID().String()
	if got != want {
		t.Errorf("%+v\n%+v", got, want)
	}
	described := tw.far.ask(edited(kmsg.NewPtrDescribeGroupsRequest(), func(r *kmsg.DescribeGroupsRequest) {
		r.Version, r.Groups = 5, []string{group}
	})).(*kmsg.DescribeGroupsResponse).Groups[0]
	if len(described.Members) != 1 || described.Members[0].ClientHost != "/203.0.113.7" || described.Members[0].ClientID != "app" {
		t.Errorf("%+v", described)
	}
}

func TestManyGroupsAreAnsweredByTheirCoordinatorsInOrder(t *testing.T) {
	tw := newTwins(t)
	var names []string
	for i := range 6 {
		at := []*server{tw.near, tw.far}[i%2]
		names = append(names, tw.group(at, fmt.Sprint("many", i, "-")))
		tw.near.ask(join(3, names[i], "")) // a member each
	}
	tw.set(nil)
	asked := append([]string{names[1], "nowhere", names[0]}, names...)
	got := tw.near.ask(edited(kmsg.NewPtrDescribeGroupsRequest(), func(r *kmsg.DescribeGroupsRequest) { r.Version, r.Groups = 5, asked })).(*kmsg.DescribeGroupsResponse)
	for i, g := range got.Groups {
		if g.Group != asked[i] || (g.State == "Dead") != (asked[i] == "nowhere") {
			t.Errorf("%d: %+v", i, g)
		}
	}
	if len(got.Groups) != len(asked) || tw.count(kmsg.DescribeGroups) != 1 {
		t.Errorf("%d answers, %d requests", len(got.Groups), tw.count(kmsg.DescribeGroups))
	}
	listed := tw.near.ask(edited(kmsg.NewPtrListGroupsRequest(), func(r *kmsg.ListGroupsRequest) {
		r.Version, r.StatesFilter = 5, []string{"CompletingRebalance"}
	})).(*kmsg.ListGroupsResponse)
	if len(listed.Groups) != len(names) {
		t.Errorf("%+v", listed.Groups)
	}
	tw.set(func(context.Context, wire.Request) ([]byte, error, bool) { return nil, errors.New("cut off"), true })
	alone := tw.near.ask(edited(kmsg.NewPtrListGroupsRequest(), func(r *kmsg.ListGroupsRequest) { r.Version = 5 })).(*kmsg.ListGroupsResponse)
	if len(alone.Groups) != len(names) {
		t.Errorf("without the other agent: %+v", alone.Groups)
	}
	got = tw.near.ask(edited(kmsg.NewPtrDescribeGroupsRequest(), func(r *kmsg.DescribeGroupsRequest) { r.Version, r.Groups = 5, names })).(*kmsg.DescribeGroupsResponse)
	for i, g := range got.Groups {
		if want := []string{"ok", "COORDINATOR_NOT_AVAILABLE"}[i%2]; g.Group != names[i] || errorName(g.ErrorCode) != want {
			t.Errorf("%d without the other agent: %+v", i, g)
		}
	}
}

// groupCalls are all calls about one group that are passed on.
func groupCalls(group string) []kmsg.Request {
	return []kmsg.Request{
		join(9, group, "m"), join(5, group, "m"), syncWith(5, group, "m", 1), beat(4, group, "m", 1), leave(5, group, "m"), leave(2, group, "m"),
		edited(kmsg.NewPtrDescribeGroupsRequest(), func(r *kmsg.DescribeGroupsRequest) { r.Version, r.Groups = 6, []string{group} }),
		edited(kmsg.NewPtrDeleteGroupsRequest(), func(r *kmsg.DeleteGroupsRequest) { r.Version, r.Groups = 2, []string{group} }),
	}
}

func TestNotCoordinatorIsTriedAgainAndNeverReachesTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tw := newTwins(t)
		group := tw.group(tw.far, "g")
		notYet := func(refusals int) func(context.Context, wire.Request) ([]byte, error, bool) {
			n := 0
			return func(_ context.Context, r wire.Request) ([]byte, error, bool) {
				if n++; n <= refusals {
					return notCoordinatorAnswer(r, group), nil, true
				}
				return nil, nil, false
			}
		}
		for _, req := range groupCalls(group) {
			tw.set(notYet(3))
			if got := errorsOf(tw.near.ask(req)); strings.Contains(got, "COORDINATOR") || tw.count(kmsg.Key(req.Key())) != 4 {
				t.Errorf("%s: %s after %d requests", versionsLabel(req), got, len(tw.passed))
			}
			tw.set(notYet(1 << 20))
			from := time.Now()
			resp := tw.near.ask(req)
			if got := errorsOf(resp); !strings.HasSuffix(got, "COORDINATOR_NOT_AVAILABLE") {
				t.Errorf("%s: %s", versionsLabel(req), got)
			}
			if took := time.Since(from); took != forwardPatience || tw.count(kmsg.Key(req.Key())) > 20 {
				t.Errorf("%s: gave up after %v and %d requests", versionsLabel(req), took, len(tw.passed))
			}
			if j, ok := resp.(*kmsg.JoinGroupResponse); ok && (j.MemberID != "m" || j.Generation != -1 || (j.Protocol == nil) != (req.GetVersion() >= 7)) {
				t.Errorf("%+v", j)
			}
		}
	})
}

// notCoordinatorAnswer is what an agent that does not coordinate a group answers.
func notCoordinatorAnswer(r wire.Request, group string) []byte {
	req := kmsg.RequestForKey(r.Key)
	req.SetVersion(r.Version)
	resp := req.ResponseKind()
	code := kerr.NotCoordinator.Code
	switch a := resp.(type) {
	case *kmsg.DescribeGroupsResponse:
		g := kmsg.NewDescribeGroupsResponseGroup()
		g.Group, g.ErrorCode = group, code
		a.Groups = append(a.Groups, g)
	case *kmsg.DeleteGroupsResponse:
		a.Groups = append(a.Groups, kmsg.DeleteGroupsResponseGroup{Group: group, ErrorCode: code})
	default:
		reflect.ValueOf(resp).Elem().FieldByName("ErrorCode").SetInt(int64(code))
	}
	return resp.AppendTo(nil)
}

func TestWhatForwardingErrorsMean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tw := newTwins(t)
		group := tw.group(tw.far, "g")
		for name, c := range map[string]struct {
			err   error
			want  string
			tries bool
		}{
			"not reached":       {metadata.ErrNotApplied, "COORDINATOR_NOT_AVAILABLE", true},
			"refused":           {ErrNotServed, "COORDINATOR_NOT_AVAILABLE", true},
			"outcome unknown":   {errors.New("connection lost"), "COORDINATOR_NOT_AVAILABLE", false},
			"too large to pass": {errors.Join(metadata.ErrTooLarge, metadata.ErrNotApplied), "UNKNOWN_SERVER_ERROR", false},
		} {
			for _, req := range groupCalls(group) {
				tw.set(func(context.Context, wire.Request) ([]byte, error, bool) {
					return nil, fmt.Errorf("x: %w", c.err), true
				})
				if got := errorsOf(tw.near.ask(req)); !strings.HasSuffix(got, c.want) || len(tw.passed) > 1 != c.tries {
					t.Errorf("%s, %s: %s after %d requests", name, versionsLabel(req), got, len(tw.passed))
				}
			}
		}
		tw.set(func(context.Context, wire.Request) ([]byte, error, bool) { return []byte{0, 0}, nil, true })
		if got := errorsOf(tw.near.ask(beat(4, group, "m", 1))); got != "COORDINATOR_NOT_AVAILABLE" {
			t.Error(got)
		}
		tw.set(nil)
		tw.near.sent.take(maxForwardBytes)
		if got := errorsOf(tw.near.ask(beat(4, group, "m", 1))); got != "COORDINATOR_NOT_AVAILABLE" || len(tw.passed) > 0 {
			t.Errorf("beyond the bound: %s, %d passed", got, len(tw.passed))
		}
		tw.near.sent.give(maxForwardBytes)
		if n := tw.near.sent.used.Load(); n != 0 {
			t.Errorf("%d bytes are lost", n)
		}
	})
}

func TestQuickCallsDoNotWaitForAnAgentThatHangsAndJoinsDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tw := newTwins(t)
		group := tw.group(tw.far, "g")
		tw.set(func(ctx context.Context, _ wire.Request) ([]byte, error, bool) {
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Minute):
			}
			return nil, errors.New("hung"), true
		})
		for _, req := range groupCalls(group) {
			from, want := time.Now(), quickForward
			if key := kmsg.Key(req.Key()); key == kmsg.JoinGroup || key == kmsg.SyncGroup {
				want = 5 * time.Minute
			}
			tw.near.ask(req)
			if took := time.Since(from); took != want {
				t.Errorf("%s took %v", versionsLabel(req), took)
			}
		}
	})
}

// TestJoinsDoNotWaitForAnAgentThatIsOutOfReach: an agent that two others can reach, and that still coordinates, but not this one.
func TestJoinsDoNotWaitForAnAgentThatIsOutOfReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tw := newTwins(t)
		group := tw.group(tw.far, "g")
		parted := fmt.Errorf("parted: the question: %w", metadata.ErrNotApplied)
		tw.set(func(ctx context.Context, _ wire.Request) ([]byte, error, bool) {
			<-ctx.Done()
			return nil, context.Cause(ctx), true
		})
		for _, c := range []struct {
			name  string
			reach func(ctx context.Context, n int) error // n counts from 1
			after time.Duration
		}{
			{"refused", func(context.Context, int) error { return parted }, reachTries * reachEvery},
			{"silent", func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }, reachTries * (reachEvery + reachTimeout)},
			{"reached now and then", func(_ context.Context, n int) error {
				if n < 100 && n%reachTries == 0 {
					return nil
				}
				return parted
			}, (99 + reachTries) * reachEvery},
		} {
			var mu sync.Mutex
			asked, askers := 0, 0
			tw.mu.Lock()
			tw.passed = nil
			tw.reach = func(ctx context.Context, peer string) error {
				mu.Lock()
				if asked, askers = asked+1, askers+1; peer != "peer2" || askers > 1 {
					t.Errorf("%s: %s is asked by %d at once", c.name, peer, askers)
				}
				n := asked
				mu.Unlock()
				defer func() {
					mu.Lock()
					askers--
					mu.Unlock()
				}()
				return c.reach(ctx, n)
			}
			tw.mu.Unlock()
			var waiting sync.WaitGroup
			calls := 0
			for _, req := range groupCalls(group) {
				if key := kmsg.Key(req.Key()); key != kmsg.JoinGroup && key != kmsg.SyncGroup {
					continue
				}
				calls++
				waiting.Go(func() {
					from := time.Now()
					if got := errorsOf(tw.near.ask(req)); got != "COORDINATOR_NOT_AVAILABLE" {
						t.Errorf("%s: %s: %s", c.name, versionsLabel(req), got)
					}
					if took := time.Since(from); took != c.after {
						t.Errorf("%s: %s took %v, not %v", c.name, versionsLabel(req), took, c.after)
					}
				})
			}
			waiting.Wait()
			if n := len(tw.passed); n != calls {
				t.Errorf("%s: %d requests were passed on %d times: nobody knows whether they were served", c.name, calls, n)
			}
			if n := len(tw.near.reaches.all); n != 0 {
				t.Errorf("%s: %d agents are still asked", c.name, n)
			}
		}
	})
}

func TestAJoinThatWaitsEndsWithItsClient(t *testing.T) {
	tw := newTwins(t)
	group := tw.group(tw.far, "g")
	first := tw.near.ask(join(3, group, "")).(*kmsg.JoinGroupResponse)
	if first.ErrorCode != 0 {
		t.Fatal(errorsOf(first))
	}
	ctx, cancel := context.WithCancel(t.Context())
	second := join(3, group, "")
	reached := make(chan struct{}, 1)
	tw.set(func(context.Context, wire.Request) ([]byte, error, bool) {
		reached <- struct{}{}
		return nil, nil, false
	})
	r := tw.near.client
	r.Header = wire.Header{Key: second.Key(), Version: second.Version}
	done := make(chan wire.Response)
	go func() { done <- tw.near.Begin(ctx, r, second)() }() // waits for the first to join again
	<-reached
	cancel()
	<-done
	if n := tw.far.received.used.Load(); n != 0 {
		t.Errorf("%d bytes are still held where it waited", n)
	}
}

func TestWhatIsNotServedToOtherAgents(t *testing.T) {
	tw := newTwins(t)
	by := tw.near.client
	by.ForwardedBy = "another"
	for name, c := range map[string]struct {
		req  kmsg.Request
		edit func(*wire.Request, *[]byte)
		want error
	}{
		"produce":         {produceOne(9, "t", 0, nil), nil, ErrNotServed},
		"metadata":        {kmsg.NewPtrMetadataRequest(), nil, ErrNotServed},
		"no such call":    {beat(4, "g", "m", 1), func(r *wire.Request, _ *[]byte) { r.Key = 999 }, ErrNotServed},
		"newer version":   {beat(4, "g", "m", 1), func(r *wire.Request, _ *[]byte) { r.Version = 5 }, ErrNotServed},
		"version -1":      {beat(4, "g", "m", 1), func(r *wire.Request, _ *[]byte) { r.Version = -1 }, ErrNotServed},
		"by nobody":       {beat(4, "g", "m", 1), func(r *wire.Request, _ *[]byte) { r.ForwardedBy = "" }, ErrNotServed},
		"cut short":       {join(9, "g", "m"), func(_ *wire.Request, b *[]byte) { *b = (*b)[:len(*b)-4] }, ErrForwardMalformed},
		"hostile length":  {join(5, "g", "m"), func(_ *wire.Request, b *[]byte) { *b = append((*b)[:len(*b)-20], 0x7f, 0xff, 0xff, 0xff) }, ErrForwardMalformed},
		"nothing":         {join(5, "g", "m"), func(_ *wire.Request, b *[]byte) { *b = nil }, ErrForwardMalformed},
		"more than fits":  {beat(4, "g", "m", 1), func(_ *wire.Request, b *[]byte) { *b = append(*b, make([]byte, maxForwardBytes)...) }, ErrForwardMalformed},
		"as good as ever": {beat(4, "g", "m", 1), nil, nil},
	} {
		r, body := by, c.req.AppendTo(nil)
		r.Header = wire.Header{Key: c.req.Key(), Version: c.req.GetVersion()}
		if c.edit != nil {
			c.edit(&r, &body)
		}
		answer, err := tw.far.ServeForwarded(t.Context(), r, body)
		if !errors.Is(err, c.want) || (answer == nil) != (c.want != nil) {
			t.Errorf("%s: %x, %v", name, answer, err)
		}
	}
	tw.far.received.take(maxForwardBytes)
	r := by
	r.Header = wire.Header{Key: 12, Version: 4}
	if _, err := tw.far.ServeForwarded(t.Context(), r, beat(4, "g", "m", 1).AppendTo(nil)); !errors.Is(err, ErrNotServed) {
		t.Error("beyond the bound:", err)
	}
}

func TestNothingIsPassedOnTwice(t *testing.T) {
	tw := newTwins(t)
	for _, req := range groupCalls(tw.group(tw.near, "g")) { // which the agent that gets it does not coordinate
		r := tw.near.client
		r.Header, r.ForwardedBy = wire.Header{Key: req.Key(), Version: req.GetVersion()}, "another"
		answer, err := tw.far.ServeForwarded(t.Context(), r, req.AppendTo(nil))
		if err != nil {
			t.Error(versionsLabel(req), err)
			continue
		}
		resp, err := decodeAnswer(r, req.ResponseKind(), answer)
		if err != nil || errorsOf(resp) != "NOT_COORDINATOR" {
			t.Errorf("%s: %s, %v", versionsLabel(req), errorsOf(resp), err)
		}
	}
	if len(tw.passed) > 0 {
		t.Errorf("%+v", tw.passed)
	}
}

func TestOtherListenersAreNotPassedOn(t *testing.T) {
	tw := newTwins(t)
	tw.near.client.Listener = "direct"
	for _, req := range groupCalls(tw.group(tw.far, "g")) {
		tw.near.ask(req)
	}
	if len(tw.passed) > 0 {
		t.Errorf("%+v", tw.passed)
	}
}

// TestAListenerOfOneAgentServesAllGroups: a client that reaches one agent alone is sent to no other, and its group works all the same.
func TestAListenerOfOneAgentServesAllGroups(t *testing.T) {
	tw := newTwins(t)
	tw.near.client.Listener = "inside"
	group := tw.group(tw.far, "g")
	found := tw.near.ask(edited(kmsg.NewPtrFindCoordinatorRequest(), func(r *kmsg.FindCoordinatorRequest) {
		r.Version, r.CoordinatorKeys = 6, []string{group}
	})).(*kmsg.FindCoordinatorResponse).Coordinators[0]
	if found.ErrorCode != 0 || found.NodeID != 1 {
		t.Errorf("coordinator %+v", found)
	}
	joined := tw.near.ask(join(3, group, "")).(*kmsg.JoinGroupResponse)
	for _, req := range []kmsg.Request{
		syncWith(3, group, joined.MemberID, joined.Generation), beat(3, group, joined.MemberID, joined.Generation), leave(2, group, joined.MemberID),
	} {
		if got := errorsOf(tw.near.ask(req)); got != "ok" {
			t.Errorf("%T: %s", req, got)
		}
	}
	if n := len(tw.passed); joined.ErrorCode != 0 || n != 4 {
		t.Errorf("%+v, %d requests were passed on", joined, n)
	}
}

func TestAnswersBehindOneAddressSendNobodyElsewhere(t *testing.T) {
	codes := func(message kmsg.Response) string {
		stayHere(message)
		return errorsOf(message)
	}
	leader, coordinator := kerr.NotLeaderForPartition.Code, kerr.NotCoordinator.Code
	for _, c := range []struct {
		message kmsg.Response
		want    string
	}{
		{&kmsg.ProduceResponse{Topics: []kmsg.ProduceResponseTopic{{Partitions: []kmsg.ProduceResponseTopicPartition{{ErrorCode: leader}, {}}}}}, "KAFKA_STORAGE_ERROR ok"},
		{&kmsg.ListOffsetsResponse{Topics: []kmsg.ListOffsetsResponseTopic{{Partitions: []kmsg.ListOffsetsResponseTopicPartition{{ErrorCode: leader}}}}}, "KAFKA_STORAGE_ERROR"},
		{&kmsg.OffsetForLeaderEpochResponse{Topics: []kmsg.OffsetForLeaderEpochResponseTopic{{Partitions: []kmsg.OffsetForLeaderEpochResponseTopicPartition{{ErrorCode: leader}}}}}, "KAFKA_STORAGE_ERROR"},
		{&kmsg.OffsetCommitResponse{Topics: []kmsg.OffsetCommitResponseTopic{{Partitions: []kmsg.OffsetCommitResponseTopicPartition{{ErrorCode: coordinator}}}}}, "COORDINATOR_NOT_AVAILABLE"},
		{&kmsg.OffsetFetchResponse{
			ErrorCode: coordinator, Groups: []kmsg.OffsetFetchResponseGroup{{ErrorCode: coordinator}},
			Topics: []kmsg.OffsetFetchResponseTopic{{Partitions: []kmsg.OffsetFetchResponseTopicPartition{{ErrorCode: coordinator}}}},
		}, "COORDINATOR_LOAD_IN_PROGRESS COORDINATOR_LOAD_IN_PROGRESS COORDINATOR_LOAD_IN_PROGRESS"},
		{&kmsg.HeartbeatResponse{ErrorCode: kerr.UnknownMemberID.Code}, "UNKNOWN_MEMBER_ID"},
	} {
		if got := codes(c.message); got != c.want {
			t.Errorf("%T: %s", c.message, got)
		}
	}
}
