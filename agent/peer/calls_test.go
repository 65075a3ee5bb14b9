package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/agent/peer/peerpb"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/replica"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
)

func TestCallsCarryEveryField(t *testing.T) {
	status := replica.Status{Session: state.UUID{1, 15: 9}, Applied: 1<<64 - 1, Term: 1 << 63, Heard: -1}
	proposal := replica.Proposal{Hops: 2, Commands: []byte("commands")}
	proposed := replica.Proposed{Index: 1<<64 - 2, Results: []byte{0, 255}}
	request := ForwardedRequest{
		Key: -3, Version: 32767, Body: []byte{1, 2}, Principal: "User:a", ClientHost: "::1", ClientID: "not \xff UTF-8", Listener: "l",
		Zone: "z", SoftwareName: "n", SoftwareVersion: "v", ForwardedBy: "agent",
	}
	response := ForwardedResponse{Body: []byte{3}, Refusal: RefusedStopping}
	for _, v := range []any{status, proposal, proposed, request, response} {
		filled(t, v)
	}
	var got []any
	address := start(t, Handlers{
		Replica: &fakeReplica{
			status: func() replica.Status { return status },
			propose: func(_ context.Context, p replica.Proposal) (replica.Proposed, error) {
				got = append(got, p)
				return proposed, nil
			},
			tip: func(_ context.Context, hops int) (uint64, error) {
				got = append(got, hops)
				return 1<<64 - 3, nil
			},
			takeOver: func(_ context.Context, term uint64) error {
				got = append(got, term)
				return nil
			},
		},
		Forward: func(_ context.Context, r ForwardedRequest) (ForwardedResponse, error) {
			got = append(got, r)
			return response, nil
		},
	})
	c, ctx := newTestClient(t, quick()), t.Context()
	if s, err := c.Status(ctx, address); err != nil || s != status {
		t.Errorf("Status: %+v, %v", s, err)
	}
	if p, err := c.Propose(ctx, address, proposal); err != nil || !reflect.DeepEqual(p, proposed) {
		t.Errorf("Propose: %+v, %v", p, err)
	}
	if index, err := c.Tip(ctx, address, 7); err != nil || index != 1<<64-3 {
		t.Errorf("Tip: %d, %v", index, err)
	}
	if err := c.TakeOver(ctx, address, 1<<64-4); err != nil {
		t.Errorf("TakeOver: %v", err)
	}
	if r, err := c.Forward(ctx, address, request); err != nil || !reflect.DeepEqual(r, response) {
		t.Errorf("Forward: %+v, %v", r, err)
	}
	if want := []any{proposal, 7, uint64(1<<64 - 4), request}; !reflect.DeepEqual(got, want) {
		t.Errorf("arrived %+v\nwant %+v", got, want)
	}
}

func TestTheLargestProposalAndEntryPassAndLargerOnesAreRefused(t *testing.T) {
	largest := bytes.Repeat([]byte{7}, journal.MaxBody)
	address := start(t, Handlers{
		Replica: &fakeReplica{
			propose: func(_ context.Context, p replica.Proposal) (replica.Proposed, error) {
				return replica.Proposed{Index: 1, Results: p.Commands}, nil
			},
			follow: func(_ context.Context, _ replica.Follow, _ func() (replica.Beat, error), push func(replica.Push) error) error {
				if err := push(replica.Push{Entry: &journal.Entry{Index: 1, Kind: journal.KindCommands, Body: largest}}); err != nil {
					return err
				}
				return push(replica.Push{Entry: &journal.Entry{Index: 2, Kind: journal.KindCommands, Body: make([]byte, maxMessage+1)}})
			},
		},
		Forward: func(_ context.Context, r ForwardedRequest) (ForwardedResponse, error) {
			return ForwardedResponse{Body: append(r.Body, 0)}, nil
		},
	})
	c, ctx := newTestClient(t, quick()), t.Context()
	if p, err := c.Propose(ctx, address, replica.Proposal{Commands: largest}); err != nil || !bytes.Equal(p.Results, largest) {
		t.Error(len(p.Results), err)
	}
	_, err := c.Propose(ctx, address, replica.Proposal{Commands: make([]byte, journal.MaxBody+1)})
	if !errors.Is(err, metadata.ErrTooLarge) || !errors.Is(err, metadata.ErrNotApplied) {
		t.Error(err)
	}
	if _, err := c.Forward(ctx, address, ForwardedRequest{Body: make([]byte, MaxForward+1)}); !errors.Is(err, metadata.ErrTooLarge) {
		t.Error(err)
	}
	if _, err := c.Forward(ctx, address, ForwardedRequest{Body: largest}); !errors.Is(err, metadata.ErrUnknown) {
		t.Errorf("an answer that is too large: %v", err)
	}
	feed, err := c.Follow(ctx, address, replica.Follow{})
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	if p, err := feed.Recv(); err != nil || !bytes.Equal(p.Entry.Body, largest) {
		t.Error(err)
	}
	if p, err := feed.Recv(); err == nil {
		t.Errorf("an entry of %d bytes arrived", len(p.Entry.Body))
	}
}

func TestErrorsKeepTheirMeaning(t *testing.T) {
	var answer error
	address := start(t, Handlers{
		Replica: &fakeReplica{
			propose: func(context.Context, replica.Proposal) (replica.Proposed, error) { return replica.Proposed{}, answer },
			tip:     func(context.Context, int) (uint64, error) { return 1, answer },
		},
		Chunks: sending(func(context.Context, string, int64, int64, int64) ([][]byte, error) { return nil, answer }),
	})
	c, ctx := newTestClient(t, quick()), t.Context()
	all := []error{metadata.ErrNotApplied, metadata.ErrTooLarge, metadata.ErrUnavailable, metadata.ErrUnknown, metadata.ErrFenced,
		metadata.ErrStopped, replica.ErrNotLeader, replica.ErrRefused, objectstore.ErrNotFound, objectstore.ErrRange, ErrInvalid, context.Canceled}
	type list = []error
	for name, c1 := range map[string]struct {
		answer        error
		propose, read []error // all that they match
	}{
		"not applied":  {metadata.ErrNotApplied, list{metadata.ErrNotApplied}, list{metadata.ErrNotApplied}},
		"two at once":  {fmt.Errorf("%w: %w", metadata.ErrTooLarge, metadata.ErrNotApplied), list{metadata.ErrNotApplied, metadata.ErrTooLarge}, list{metadata.ErrNotApplied, metadata.ErrTooLarge}},
		"unknown":      {metadata.ErrUnknown, list{metadata.ErrUnknown}, list{metadata.ErrUnknown}},
		"not leader":   {replica.ErrNotLeader, list{replica.ErrNotLeader}, list{replica.ErrNotLeader}},
		"unavailable":  {metadata.ErrUnavailable, list{metadata.ErrUnavailable, metadata.ErrUnknown}, list{metadata.ErrUnavailable}},
		"not found":    {objectstore.ErrNotFound, list{objectstore.ErrNotFound, metadata.ErrUnknown}, list{objectstore.ErrNotFound}},
		"range":        {objectstore.ErrRange, list{objectstore.ErrRange, metadata.ErrUnknown}, list{objectstore.ErrRange}},
		"nothing more": {errors.New("metadata: certainly NOT_APPLIED"), list{metadata.ErrUnknown}, nil},
		"its own end":  {metadata.ErrStopped, list{metadata.ErrUnavailable, metadata.ErrUnknown}, list{metadata.ErrUnavailable}},
		"its own fate": {metadata.ErrFenced, list{metadata.ErrUnavailable, metadata.ErrUnknown}, list{metadata.ErrUnavailable}},
		"not ours":     {replica.ErrRefused, list{metadata.ErrUnknown}, nil},
		"canceled":     {context.Canceled, list{metadata.ErrUnknown}, nil},
		"not UTF-8":    {errors.New(strings.Repeat("\xff", 1<<20)), list{metadata.ErrUnknown}, nil},
	} {
		answer = fmt.Errorf("words for people: %w", c1.answer)
		check := func(method string, err error, want []error) {
			t.Helper()
			if err == nil || !strings.Contains(err.Error(), "words for people") || !strings.Contains(err.Error(), address) || len(err.Error()) > 5000 {
				t.Errorf("%s, %s: %v", name, method, err)
			}
			for _, e := range all {
				wanted := false
				for _, w := range want {
					wanted = wanted || w == e
				}
				if errors.Is(err, e) != wanted {
					t.Errorf("%s, %s: %q matches %q: %v", name, method, err, e, !wanted)
				}
			}
		}
		_, err := c.Propose(ctx, address, replica.Proposal{})
		check("Propose", err, c1.propose)
		_, err = c.Tip(ctx, address, 0)
		check("Tip", err, c1.read)
		_, err = c.Chunk(ctx, address, "k", 10, 0, 10)
		check("Chunk", err, c1.read)
	}
}

func TestBeforeServeAndWithoutHandlerNothingIsAvailable(t *testing.T) {
	s := listen(t, leisurely(), "127.0.0.1:0", nil)
	c, ctx := newTestClient(t, quick()), t.Context()
	check := func() {
		t.Helper()
		_, err1 := c.Status(ctx, s.Addr())
		_, err2 := c.Propose(ctx, s.Addr(), replica.Proposal{})
		_, err3 := c.Tip(ctx, s.Addr(), 0)
		err4 := c.TakeOver(ctx, s.Addr(), 1)
		_, err5 := c.Chunk(ctx, s.Addr(), "k", 1, 0, 1)
		_, err6 := c.Forward(ctx, s.Addr(), ForwardedRequest{})
		feed, err := c.Follow(ctx, s.Addr(), replica.Follow{})
		if err != nil {
			t.Fatal(err)
		}
		_, err7 := feed.Recv()
		for i, err := range []error{err1, err2, err3, err4, err5, err6, err7} {
			if !errors.Is(err, metadata.ErrUnavailable) || !errors.Is(err, metadata.ErrNotApplied) || errors.Is(err, replica.ErrRefused) {
				t.Errorf("%d: %v", i, err)
			}
		}
	}
	check()
	stop := serve(t, s, Handlers{})
	eventually(t, "served", func() bool { return s.handlers.Load() != nil })
	check()
	stop()
	if _, err := c.Status(ctx, s.Addr()); !errors.Is(err, replica.ErrRefused) {
		t.Errorf("after the end: %v", err)
	}
}

func TestAPanicInAHandlerIsAnAnswer(t *testing.T) {
	address := start(t, Handlers{Replica: &fakeReplica{}}) // whose functions are nil
	c := newTestClient(t, quick())
	if _, err := c.Propose(t.Context(), address, replica.Proposal{}); !errors.Is(err, metadata.ErrUnknown) || errors.Is(err, metadata.ErrNotApplied) {
		t.Error(err)
	}
	if _, err := c.Status(t.Context(), address); err == nil {
		t.Error("no error")
	}
}

func TestARequestThatMakesNoSenseIsRefused(t *testing.T) {
	address := start(t, Handlers{
		Chunks:  sending(func(context.Context, string, int64, int64, int64) ([][]byte, error) { panic("called") }),
		Replica: &fakeReplica{},
	})
	c := newTestClient(t, quick())
	for _, r := range []struct {
		key          string
		size, off, n int64
	}{
		{"", 10, 0, 10}, {"a/../b", 10, 0, 10}, {"k", 10, -1, 5}, {"k", 10, 0, 0}, {"k", 10, 0, -1}, {"k", 10, 11, 1}, {"k", 10, 5, 6},
		{"k", 10, 1, 1<<63 - 1}, {"k", -1, 0, 1},
	} {
		if _, err := c.Chunk(t.Context(), address, r.key, r.size, r.off, r.n); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	raw := rawClient(t, start(t, Handlers{Forward: func(context.Context, ForwardedRequest) (ForwardedResponse, error) { panic("called") }}))
	for _, m := range []*peerpb.ForwardRequest{{Key: 1 << 15}, {Version: -1<<15 - 1}} {
		_, err := raw.Forward(t.Context(), m)
		if err = decodeError(t.Context(), err, "", "", acts); !errors.Is(err, ErrInvalid) || !errors.Is(err, metadata.ErrNotApplied) {
			t.Errorf("%v: %v", m, err)
		}
	}
}

func TestACallEndsWithItsContext(t *testing.T) {
	began, ended := make(chan struct{}), make(chan error, 2)
	address := start(t, Handlers{Replica: &fakeReplica{
		propose: func(ctx context.Context, _ replica.Proposal) (replica.Proposed, error) {
			began <- struct{}{}
			<-ctx.Done()
			ended <- ctx.Err()
			return replica.Proposed{}, ctx.Err()
		},
		status: func() replica.Status { return replica.Status{} },
	}})
	c := newTestClient(t, quick())
	ctx := expiring{t.Context(), make(chan struct{})}
	go func() { <-began; close(ctx.over) }()
	_, err := c.Propose(ctx, address, replica.Proposal{})
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, metadata.ErrUnknown) || errors.Is(err, metadata.ErrNotApplied) {
		t.Errorf("time-out: %v", err)
	}
	<-ended
	why := errors.New("why")
	ctx2, cancel2 := context.WithCancelCause(t.Context())
	go func() { <-began; cancel2(why) }()
	if _, err = c.Propose(ctx2, address, replica.Proposal{}); !errors.Is(err, why) || !errors.Is(err, context.Canceled) || !errors.Is(err, metadata.ErrUnknown) {
		t.Errorf("cancelled: %v", err)
	}
	<-ended
	if _, err = c.Propose(ctx2, address, replica.Proposal{}); !errors.Is(err, why) {
		t.Errorf("cancelled before: %v", err)
	}
}

func TestAStoppingServerLetsCallsEndAndThenEndsThem(t *testing.T) {
	for _, patient := range []bool{true, false} {
		cfg := quick()
		cfg.Drain = 2 * time.Minute
		if !patient {
			cfg.Drain = time.Millisecond
		}
		began, follows, release := make(chan struct{}), make(chan struct{}), make(chan struct{})
		s := listen(t, cfg, "127.0.0.1:0", nil)
		stop := serve(t, s, Handlers{Replica: &fakeReplica{
			propose: func(ctx context.Context, _ replica.Proposal) (replica.Proposed, error) {
				close(began)
				if patient {
					<-release
					return replica.Proposed{Index: 5}, nil
				}
				<-ctx.Done()
				return replica.Proposed{}, context.Cause(ctx)
			},
			follow: func(ctx context.Context, _ replica.Follow, _ func() (replica.Beat, error), _ func(replica.Push) error) error {
				close(follows)
				<-ctx.Done()
				close(release) // Follow ends first, and lets the other one go on
				return context.Cause(ctx)
			},
		}})
		c := newTestClient(t, quick())
		feed, err := c.Follow(t.Context(), s.Addr(), replica.Follow{})
		if err != nil {
			t.Fatal(err)
		}
		result := make(chan error, 1)
		go func() {
			p, err := c.Propose(t.Context(), s.Addr(), replica.Proposal{})
			if err == nil && p.Index != 5 {
				err = fmt.Errorf("index %d", p.Index)
			}
			result <- err
		}()
		<-began
		<-follows
		stop()
		if err := <-result; patient && err != nil || !patient && !errors.Is(err, metadata.ErrUnknown) {
			t.Errorf("patient %v: %v", patient, err)
		}
		if _, err := feed.Recv(); err == nil {
			t.Error("the stream goes on")
		}
	}
}

func TestCallsAndBytesAreCounted(t *testing.T) {
	reg := prometheus.NewRegistry() // one for both sides, as in an agent
	s := listen(t, quick(), "127.0.0.1:0", reg)
	stop := serve(t, s, Handlers{Replica: &fakeReplica{tip: func(_ context.Context, hops int) (uint64, error) {
		if hops > 0 {
			return 0, replica.ErrNotLeader
		}
		return 1, nil
	}}})
	c, err := NewClient(quick(), testSecret, reg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for hops := range 2 {
		_, _ = c.Tip(t.Context(), s.Addr(), hops)
	}
	for _, side := range []string{"server", "client"} {
		for name, least := range map[string]float64{
			"leat_peer_calls_total{Tip,not_leader," + side + "}": 1,
			"leat_peer_calls_total{Tip,ok," + side + "}":         1,
			"leat_peer_connections_open{" + side + "}":           1,
			"leat_peer_sent_bytes_total{" + side + "}":           500,
			"leat_peer_received_bytes_total{" + side + "}":       500,
		} {
			if got := gather(t, reg, name); got < least || least == 1 && got > 1 {
				t.Errorf("%s is %v", name, got)
			}
		}
	}
	c.Close()
	stop()
	for _, side := range []string{"server", "client"} {
		eventually(t, "closed", func() bool { return gather(t, reg, "leat_peer_connections_open{"+side+"}") == 0 })
	}
}

// gather answers a counter or gauge by its name and the values of its labels, in the order of their names.
func gather(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			if f.GetName()+"{"+strings.Join(labels, ",")+"}" == name {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return -1
}
