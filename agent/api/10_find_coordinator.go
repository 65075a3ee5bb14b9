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
const (
	coordinatorGroup       = int8(0)
	coordinatorTransaction = int8(1)
	coordinatorShare       = int8(2)
)

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
		c.ErrorMessage = new(string)
		if r.Version < 4 { // where Kafka answers the name of the error, even of none; version 0 has no place for it
			none := "NONE"
			c.ErrorMessage = &none
		}
		if err := coordinated(req.CoordinatorType); err != nil {
			c.NodeID, c.Host, c.Port, c.ErrorCode, c.ErrorMessage = -1, "", -1, err.code, &err.text
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

// refusal is an error code with what people should read.
type refusal struct {
	code int16
	text string
}

// coordinated tells why there is no coordinator of that type. COORDINATOR_NOT_AVAILABLE would have clients ask until their
// patience ends; what is not there yet is refused for good, with its name.
func coordinated(kind int8) *refusal {
	switch kind {
	case coordinatorGroup:
		return nil
	case coordinatorTransaction:
		return &refusal{kerr.UnsupportedVersion.Code, noTransactions}
	case coordinatorShare:
		return &refusal{kerr.UnsupportedVersion.Code, "Share groups are not supported yet."}
	}
	return &refusal{kerr.InvalidRequest.Code, kerr.InvalidRequest.Description}
}

const noTransactions = "Transactions are not supported yet."
