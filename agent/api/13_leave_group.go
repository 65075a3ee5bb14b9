package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/group"
	"github.com/leat-stream/leat/agent/wire"
)

// LeaveGroup, versions 0 to 5: one member up to 2, several from 3 on.

func init() { on(kmsg.LeaveGroup, leaveGroup) }

func leaveGroup(ctx context.Context, s *Server, r wire.Request, req *kmsg.LeaveGroupRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.LeaveGroupResponse)
	leave := group.LeaveRequest{Group: req.Group}
	if r.Version < 3 {
		leave.Members = []group.Leaver{{Member: req.MemberID}}
	}
	for _, m := range req.Members {
		leave.Members = append(leave.Members, group.Leaver{Member: m.MemberID, Instance: text(m.InstanceID), Reason: text(m.Reason)})
	}
	errs, err := s.Coordinator.Leave(ctx, leave)
	resp.ErrorCode = code(err)
	switch {
	case err != nil:
	case r.Version < 3:
		resp.ErrorCode = code(errs[0])
	default:
		for i, m := range req.Members {
			rm := kmsg.NewLeaveGroupResponseMember()
			rm.MemberID, rm.InstanceID, rm.ErrorCode = m.MemberID, m.InstanceID, code(errs[i])
			resp.Members = append(resp.Members, rm)
		}
	}
	return resp
}
