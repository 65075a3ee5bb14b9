package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/group"
	"github.com/leat-stream/leat/agent/wire"
)

// DescribeGroups, versions 0 to 6. A group that does not exist is "Dead", and from 6 on an error too.

func init() { on(kmsg.DescribeGroups, describeGroups) }

func describeGroups(ctx context.Context, s *Server, r wire.Request, req *kmsg.DescribeGroupsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DescribeGroupsResponse)
	for _, d := range s.Coordinator.Describe(ctx, req.Groups) {
		g := kmsg.NewDescribeGroupsResponseGroup()
		g.Group, g.State, g.ProtocolType, g.Protocol = d.ID, d.State, d.ProtocolType, d.Protocol
		g.ErrorCode, g.AuthorizedOperations = code(d.Err), noOperations
		if errors.Is(d.Err, group.ErrNoSuchGroup) {
			if why := fmt.Sprintf("Group %s not found.", d.ID); r.Version >= 6 {
				g.ErrorMessage = &why
			} else {
				g.ErrorCode = 0
			}
		}
		if req.IncludeAuthorizedOperations {
			g.AuthorizedOperations = groupOperations
		}
		for _, m := range d.Members {
			rm := kmsg.NewDescribeGroupsResponseGroupMember()
			rm.MemberID, rm.InstanceID, rm.ClientID, rm.ClientHost = m.ID, optional(m.Instance), m.ClientID, m.ClientHost
			rm.ProtocolMetadata, rm.MemberAssignment = append([]byte{}, m.Metadata...), append([]byte{}, m.Assignment...)
			g.Members = append(g.Members, rm)
		}
		resp.Groups = append(resp.Groups, g)
	}
	return resp
}
