package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/wire"
)

// FindCoordinator, versions 0 to 6. The one agent coordinates every group. There are no transactions and no share groups
// yet, and so no coordinators of them.

func init() { on(kmsg.FindCoordinator, findCoordinator) }

// The types of coordinators (FindCoordinatorRequest.CoordinatorType).
const coordinatorGroup = int8(0)

func findCoordinator(_ context.Context, s *Server, r wire.Request, req *kmsg.FindCoordinatorRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
	node, host, port := s.self(r.Listener)
	keys := req.CoordinatorKeys
	if r.Version < 4 {
		keys = []string{req.CoordinatorKey}
	}
	for _, key := range keys {
		c := kmsg.NewFindCoordinatorResponseCoordinator()
		c.Key, c.NodeID, c.Host, c.Port = key, node, host, port
		if err := coordinated(s, req.CoordinatorType); err != nil {
			c.NodeID, c.Host, c.Port, c.ErrorCode = -1, "", -1, err.Code
			c.ErrorMessage = &err.Description
		}
		resp.Coordinators = append(resp.Coordinators, c)
	}
	if r.Version < 4 {
		c := resp.Coordinators[0]
		resp.ErrorCode, resp.ErrorMessage, resp.NodeID, resp.Host, resp.Port = c.ErrorCode, c.ErrorMessage, c.NodeID, c.Host, c.Port
		resp.Coordinators = nil
	}
	return resp
}

// coordinated tells why there is no coordinator of that type.
func coordinated(s *Server, kind int8) *kerr.Error {
	switch kind {
	case coordinatorGroup:
		return nil
	case 1, 2: // transactions, share groups: known to Kafka, not here
		return kerr.CoordinatorNotAvailable
	}
	return kerr.InvalidRequest
}
