package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/group"
	"github.com/leat-stream/leat/agent/wire"
)

// Heartbeat, versions 0 to 4.

func init() { on(kmsg.Heartbeat, heartbeat) }

func heartbeat(ctx context.Context, s *Server, _ wire.Request, req *kmsg.HeartbeatRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
	resp.ErrorCode = code(s.Coordinator.Heartbeat(ctx, group.HeartbeatRequest{
		Group: req.Group, Member: req.MemberID, Instance: text(req.InstanceID), Generation: req.Generation,
	}))
	return resp
}
