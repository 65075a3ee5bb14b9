package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/wire"
)

// DeleteGroups, versions 0 to 2. A group that is named twice is answered once.

func init() { on(kmsg.DeleteGroups, deleteGroups) }

func deleteGroups(ctx context.Context, s *Server, _ wire.Request, req *kmsg.DeleteGroupsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DeleteGroupsResponse)
	seen := make(map[string]bool)
	var ids []string
	for _, id := range req.Groups {
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	for i, err := range s.Coordinator.Delete(ctx, ids) {
		g := kmsg.NewDeleteGroupsResponseGroup()
		g.Group, g.ErrorCode = ids[i], code(err)
		resp.Groups = append(resp.Groups, g)
	}
	return resp
}
