package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/wire"
)

// ListGroups, versions 0 to 5. Every group is of the classic type. An agent lists the groups that it coordinates, as Kafka's brokers
// do: clients ask all of them.

func init() { on(kmsg.ListGroups, listGroups) }

func listGroups(ctx context.Context, s *Server, r wire.Request, req *kmsg.ListGroupsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ListGroupsResponse)
	groups, err := s.Coordinator.List(ctx, req.StatesFilter, req.TypesFilter)
	resp.ErrorCode = code(err)
	for _, g := range groups {
		if !s.lists(r, g.ID) {
			continue
		}
		resp.Groups = append(resp.Groups, kmsg.ListGroupsResponseGroup{
			Group: g.ID, ProtocolType: g.ProtocolType, GroupState: g.State, GroupType: "classic",
		})
	}
	return resp
}
