package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/brokers"
	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/metadata"
)

// The calls about groups that their coordinators must answer. OffsetCommit and OffsetFetch are not among them: any agent answers
// those from the metadata.

func init() {
	passGroup(kmsg.JoinGroup, 0, func(r *kmsg.JoinGroupRequest) string { return r.Group },
		func(r *kmsg.JoinGroupResponse) *int16 { return &r.ErrorCode },
		func(req *kmsg.JoinGroupRequest, resp *kmsg.JoinGroupResponse) {
			resp.MemberID, resp.Generation = req.MemberID, -1
			if req.Version < 7 {
				resp.Protocol = new(string)
			}
		})
	passGroup(kmsg.SyncGroup, 0, func(r *kmsg.SyncGroupRequest) string { return r.Group },
		func(r *kmsg.SyncGroupResponse) *int16 { return &r.ErrorCode },
		func(_ *kmsg.SyncGroupRequest, resp *kmsg.SyncGroupResponse) { resp.MemberAssignment = []byte{} })
	passGroup(kmsg.Heartbeat, quickForward, func(r *kmsg.HeartbeatRequest) string { return r.Group },
		func(r *kmsg.HeartbeatResponse) *int16 { return &r.ErrorCode }, nil)
	passGroup(kmsg.LeaveGroup, quickForward, func(r *kmsg.LeaveGroupRequest) string { return r.Group },
		func(r *kmsg.LeaveGroupResponse) *int16 { return &r.ErrorCode }, nil)
	pass(kmsg.DescribeGroups, passDescribeGroups)
	pass(kmsg.DeleteGroups, passDeleteGroups)
	pass(kmsg.ListGroups, passListGroups)
}

// pass registers how a call is passed on.
func pass[Body kmsg.Request](key kmsg.Key, serve func(context.Context, *Server, wire.Request, Body) kmsg.Response) {
	passOn[key.Int16()] = func(ctx context.Context, s *Server, r wire.Request, body kmsg.Request) wire.Response {
		return wire.Response{Message: serve(ctx, s, r, body.(Body))}
	}
}

// passGroup registers a call about one group. limit is how long another agent may take, 0 being as long as it wants and can be
// reached: members wait for each other in it. failed completes an answer that so far has an error code alone; nil if there is nothing more to it.
func passGroup[Body kmsg.Request, Answer kmsg.Response](
	key kmsg.Key, limit time.Duration, group func(Body) string, code func(Answer) *int16, failed func(Body, Answer),
) {
	pass(key, func(ctx context.Context, s *Server, r wire.Request, req Body) kmsg.Response {
		return gather(ctx, s, []string{group(req)}, asking[Answer]{
			ask: func(ctx context.Context, peer string, _ []string) ([]Answer, error) {
				resp, err := s.from(ctx, peer, limit, r, req)
				if err != nil {
					return nil, err
				}
				return []Answer{resp.(Answer)}, nil
			},
			code: func(a Answer) int16 { return *code(a) },
			failed: func(_ string, errorCode int16) Answer {
				a := req.ResponseKind().(Answer)
				if *code(a) = errorCode; failed != nil {
					failed(req, a)
				}
				return a
			},
		})[0]
	})
}

// from has an agent answer: the one at a peer address, within limit, or if that is 0 as long as it can be reached; for an empty address
// this one.
func (s *Server) from(ctx context.Context, peer string, limit time.Duration, r wire.Request, req kmsg.Request) (kmsg.Response, error) {
	if peer == "" {
		return handlers[r.Key](ctx, s, r, req).Message, nil
	}
	var cancel func()
	if limit > 0 {
		ctx, cancel = context.WithTimeout(ctx, limit)
	} else {
		ctx, cancel = s.reaches.within(ctx, s.Forward, peer)
	}
	defer cancel()
	return s.elsewhere(ctx, peer, r, req)
}

// asking is how the coordinators of groups are asked. Answer is for one group.
type asking[Answer any] struct {
	// ask has the agent at a peer address, this one if that is empty, answer for groups: one answer for each, in their order.
	ask    func(ctx context.Context, peer string, groups []string) ([]Answer, error)
	code   func(Answer) int16                         // the error in an answer
	failed func(group string, errorCode int16) Answer // an answer with that error
}

// gather has every group answered by the agent that coordinates it. While agents do not agree which that is, or it can't be reached,
// the groups in question are tried again, for forwardPatience at most; a changed view is a reason to try at once. Then, and
// where nobody knows whether a request was served, the answer is COORDINATOR_NOT_AVAILABLE, which clients try again.
func gather[Answer any](ctx context.Context, s *Server, groups []string, how asking[Answer]) []Answer {
	answers := make([]Answer, len(groups))
	missing := make([]int, len(groups))
	for i := range missing {
		missing[i] = i
	}
	patience := time.NewTimer(forwardPatience)
	defer patience.Stop()
	for pause := forwardPause; ; pause = min(2*pause, forwardPauseMax) {
		changed := s.Brokers.Changed()
		parts := s.byCoordinator(s.Brokers.View(), groups, missing)
		each(len(parts), func(i int) { askPart(ctx, s, &parts[i], groups, answers, how) })
		missing = missing[:0]
		for _, p := range parts {
			missing = append(missing, p.again...)
		}
		if len(missing) == 0 {
			return answers
		}
		wait := time.NewTimer(pause)
		select {
		case <-changed:
		case <-wait.C:
		case <-patience.C:
			return giveUp(answers, missing, groups, how)
		case <-ctx.Done(): // nobody reads the answer
			return giveUp(answers, missing, groups, how)
		}
		wait.Stop()
	}
}

func giveUp[Answer any](answers []Answer, missing []int, groups []string, how asking[Answer]) []Answer {
	for _, i := range missing {
		answers[i] = how.failed(groups[i], kerr.CoordinatorNotAvailable.Code)
	}
	return answers
}

// part is what one agent is asked for, as places in the list of groups.
type part struct {
	peer  string // "": this agent
	at    []int
	again []int // of at, that must be asked for again
}

// byCoordinator parts the groups at places by who coordinates them. An agent without a peer address can't be asked: then this one says
// what it can.
func (s *Server) byCoordinator(view *brokers.View, groups []string, places []int) (parts []part) {
	for _, place := range places {
		peer := ""
		if b, ok := view.Coordinator(groups[place]); ok && b.Session != s.Session.ID() {
			peer = b.Peer
		}
		i := slices.IndexFunc(parts, func(p part) bool { return p.peer == peer })
		if i < 0 {
			i = len(parts)
			parts = append(parts, part{peer: peer})
		}
		parts[i].at = append(parts[i].at, place)
	}
	return parts
}

// askPart asks one agent, and sorts its answers.
func askPart[Answer any](ctx context.Context, s *Server, p *part, groups []string, answers []Answer, how asking[Answer]) {
	names := make([]string, len(p.at))
	for i, place := range p.at {
		names[i] = groups[place]
	}
	got, err := how.ask(ctx, p.peer, names)
	if err == nil && len(got) != len(names) {
		err = fmt.Errorf("%d answers for %d groups", len(got), len(names))
	}
	if err != nil && ctx.Err() == nil {
		s.Log.Debug("the coordinator of groups did not answer a forwarded request", "peer", p.peer, "groups", len(names), "error", err)
	}
	for i, place := range p.at {
		switch {
		case err == nil && how.code(got[i]) != kerr.NotCoordinator.Code:
			answers[place] = got[i]
		case errors.Is(err, metadata.ErrTooLarge): // for good
			answers[place] = how.failed(groups[place], kerr.UnknownServerError.Code)
		case err == nil, errors.Is(err, ErrNotServed), errors.Is(err, metadata.ErrNotApplied), errors.Is(err, errBusy):
			p.again = append(p.again, place)
		default:
			answers[place] = how.failed(groups[place], kerr.CoordinatorNotAvailable.Code)
		}
	}
}

// each runs f for 0 to n-1 at once and waits for all. A panic of any is one of the caller.
func each(n int, f func(i int)) {
	if n == 1 {
		f(0)
		return
	}
	var wg sync.WaitGroup
	panics := make(chan any, n)
	for i := range n {
		wg.Go(func() {
			defer func() {
				if v := recover(); v != nil {
					panics <- v
				}
			}()
			f(i)
		})
	}
	wg.Wait()
	select {
	case v := <-panics:
		panic(v)
	default:
	}
}

func passDescribeGroups(ctx context.Context, s *Server, r wire.Request, req *kmsg.DescribeGroupsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DescribeGroupsResponse)
	resp.Groups = gather(ctx, s, req.Groups, asking[kmsg.DescribeGroupsResponseGroup]{
		ask: func(ctx context.Context, peer string, groups []string) ([]kmsg.DescribeGroupsResponseGroup, error) {
			some := *req
			some.Groups = groups
			got, err := s.from(ctx, peer, quickForward, r, &some)
			if err != nil {
				return nil, err
			}
			return got.(*kmsg.DescribeGroupsResponse).Groups, nil
		},
		code: func(g kmsg.DescribeGroupsResponseGroup) int16 { return g.ErrorCode },
		failed: func(group string, errorCode int16) kmsg.DescribeGroupsResponseGroup {
			g := kmsg.NewDescribeGroupsResponseGroup()
			g.Group, g.ErrorCode = group, errorCode
			return g
		},
	})
	return resp
}

func passDeleteGroups(ctx context.Context, s *Server, r wire.Request, req *kmsg.DeleteGroupsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DeleteGroupsResponse)
	resp.Groups = gather(ctx, s, distinct(req.Groups), asking[kmsg.DeleteGroupsResponseGroup]{
		ask: func(ctx context.Context, peer string, groups []string) ([]kmsg.DeleteGroupsResponseGroup, error) {
			some := *req
			some.Groups = groups
			got, err := s.from(ctx, peer, quickForward, r, &some)
			if err != nil {
				return nil, err
			}
			return got.(*kmsg.DeleteGroupsResponse).Groups, nil
		},
		code: func(g kmsg.DeleteGroupsResponseGroup) int16 { return g.ErrorCode },
		failed: func(group string, errorCode int16) kmsg.DeleteGroupsResponseGroup {
			return kmsg.DeleteGroupsResponseGroup{Group: group, ErrorCode: errorCode}
		},
	})
	return resp
}

// passListGroups asks every agent, and takes from each what it says of the groups that it coordinates. Every agent knows all groups, but
// only the coordinator whether one is rebalancing; of an agent that does not answer, this one says what it knows itself.
func passListGroups(ctx context.Context, s *Server, r wire.Request, req *kmsg.ListGroupsRequest) kmsg.Response {
	view := s.Brokers.View()
	live := view.All()
	said := make([]*kmsg.ListGroupsResponse, len(live)+1) // the last is this agent's
	each(len(said), func(i int) {
		peer := ""
		if i < len(live) {
			if peer = live[i].Peer; live[i].Session == s.Session.ID() || peer == "" {
				return
			}
		}
		got, err := s.from(ctx, peer, quickForward, r, req)
		if err != nil {
			s.Log.Debug("an agent did not list its groups", "peer", peer, "error", err)
			return
		}
		if l, ok := got.(*kmsg.ListGroupsResponse); ok && (l.ErrorCode == 0 || peer == "") {
			said[i] = l
		}
	})
	own := said[len(live)]
	if own.ErrorCode != 0 {
		return own
	}
	resp := req.ResponseKind().(*kmsg.ListGroupsResponse)
	for i, l := range said {
		if l == nil {
			continue
		}
		for _, g := range l.Groups {
			if i == placeOf(view, live, said, g.Group) {
				resp.Groups = append(resp.Groups, g)
			}
		}
	}
	slices.SortFunc(resp.Groups, func(a, b kmsg.ListGroupsResponseGroup) int { return cmp.Compare(a.Group, b.Group) })
	return resp
}

// placeOf is whose word counts for a group: the place among what was said.
func placeOf(view *brokers.View, live []brokers.Broker, said []*kmsg.ListGroupsResponse, group string) int {
	at := len(live)
	if b, ok := view.Coordinator(group); ok {
		if i := slices.IndexFunc(live, func(l brokers.Broker) bool { return l.Session == b.Session }); i >= 0 && said[i] != nil {
			at = i
		}
	}
	return at
}

// distinct is the strings in order of their first mention.
func distinct(list []string) (once []string) {
	seen := make(map[string]bool, len(list))
	for _, v := range list {
		if !seen[v] {
			seen[v] = true
			once = append(once, v)
		}
	}
	return once
}
