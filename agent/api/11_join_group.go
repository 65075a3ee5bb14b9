package api

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/group"
	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/metadata/state"
)

// JoinGroup, versions 0 to 9.

func init() { on(kmsg.JoinGroup, joinGroup) }

func joinGroup(ctx context.Context, s *Server, r wire.Request, req *kmsg.JoinGroupRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.JoinGroupResponse)
	rebalance := req.RebalanceTimeoutMillis
	if r.Version < 1 {
		rebalance = req.SessionTimeoutMillis
	}
	join := group.JoinRequest{
		Group: req.Group, Member: req.MemberID, Instance: text(req.InstanceID), ClientID: r.ClientID, ClientHost: "/" + r.Host,
		SessionTimeout:   time.Duration(req.SessionTimeoutMillis) * time.Millisecond,
		RebalanceTimeout: time.Duration(rebalance) * time.Millisecond,
		ProtocolType:     req.ProtocolType, Reason: text(req.Reason),
		MemberIDRequired: r.Version >= 4, SkipAssignment: r.Version >= 9,
	}
	for _, p := range req.Protocols {
		join.Protocols = append(join.Protocols, state.Protocol{Name: p.Name, Metadata: p.Metadata})
	}
	joined, err := s.Coordinator.Join(ctx, join)
	resp.ErrorCode, resp.MemberID = code(err), joined.Member
	if err != nil {
		resp.Generation = -1
		if r.Version < 7 {
			resp.Protocol = new(string)
		}
		return resp
	}
	resp.Generation, resp.LeaderID, resp.SkipAssignment = joined.Generation, joined.Leader, joined.SkipAssignment
	resp.ProtocolType, resp.Protocol = &joined.ProtocolType, &joined.Protocol
	for _, m := range joined.Members {
		rm := kmsg.NewJoinGroupResponseMember()
		rm.MemberID, rm.InstanceID, rm.ProtocolMetadata = m.Member, optional(m.Instance), m.Metadata
		resp.Members = append(resp.Members, rm)
	}
	return resp
}
