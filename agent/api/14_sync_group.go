package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/group"
	"github.com/leat-stream/leat/agent/wire"
)

// SyncGroup, versions 0 to 5. From 5 on the protocol must be named (KIP-559).

func init() { on(kmsg.SyncGroup, syncGroup) }

func syncGroup(ctx context.Context, s *Server, r wire.Request, req *kmsg.SyncGroupRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.SyncGroupResponse)
	resp.MemberAssignment = []byte{}
	if r.Version >= 5 && (req.ProtocolType == nil || req.Protocol == nil) {
		resp.ErrorCode = kerr.InconsistentGroupProtocol.Code
		return resp
	}
	sync := group.SyncRequest{
		Group: req.Group, Member: req.MemberID, Instance: text(req.InstanceID), Generation: req.Generation,
		ProtocolType: text(req.ProtocolType), Protocol: text(req.Protocol),
	}
	for _, a := range req.GroupAssignment {
		sync.Assignments = append(sync.Assignments, group.Assignment{Member: a.MemberID, Bytes: a.MemberAssignment})
	}
	synced, err := s.Coordinator.Sync(ctx, sync)
	resp.ErrorCode = code(err)
	if err == nil {
		resp.ProtocolType, resp.Protocol = &synced.ProtocolType, &synced.Protocol
		resp.MemberAssignment = append(resp.MemberAssignment, synced.Assignment...)
	}
	return resp
}
