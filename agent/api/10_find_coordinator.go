package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/wire"
)

// FindCoordinator, versions 0 to 6. Rendezvous hashing says which of the live agents coordinates a group. There are no
// transactions and no share groups yet, and so no coordinators of them.

func init() { on(kmsg.FindCoordinator, findCoordinator) }

// The types of coordinators (FindCoordinatorRequest.CoordinatorType).
const (
	coordinatorGroup       = int8(0)
	coordinatorTransaction = int8(1)
	coordinatorShare       = int8(2)
)

func findCoordinator(_ context.Context, s *Server, r wire.Request, req *kmsg.FindCoordinatorRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
	keys := req.CoordinatorKeys
	if r.Version < 4 {
		keys = []string{req.CoordinatorKey}
	}
	for _, key := range keys {
		c := kmsg.NewFindCoordinatorResponseCoordinator()
		c.Key = key
		c.ErrorMessage = new(string)
		if r.Version < 4 { // where Kafka answers the name of the error, even of none; version 0 has no place for it
			none := "NONE"
			c.ErrorMessage = &none
		}
		at, err := s.coordinated(r, req.CoordinatorType, key)
		c.NodeID, c.Host, c.Port = at.node, at.host, at.port
		if err != nil {
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

// coordinated finds a coordinator, or tells why there is none. COORDINATOR_NOT_AVAILABLE has clients ask until their patience
// ends, so what is not there yet is refused for good, with its name.
func (s *Server) coordinated(r wire.Request, kind int8, key string) (member, *refusal) {
	switch kind {
	case coordinatorGroup:
		at, reached := s.coordinator(r, key)
		if !reached { // as Kafka says of a broker without the client's listener
			return at, &refusal{kerr.CoordinatorNotAvailable.Code, kerr.CoordinatorNotAvailable.Description}
		}
		return at, nil
	case coordinatorTransaction:
		return member{}, &refusal{kerr.UnsupportedVersion.Code, noTransactions}
	case coordinatorShare:
		return member{}, &refusal{kerr.UnsupportedVersion.Code, "Share groups are not supported yet."}
	}
	return member{}, &refusal{kerr.InvalidRequest.Code, kerr.InvalidRequest.Description}
}

const noTransactions = "Transactions are not supported yet."
