package api

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/metadata/state"
)

// InitProducerId, versions 0 to 5, for idempotent producers. There are no transactions yet: a transactional id is
// refused as FindCoordinator refuses it, for good.

func init() { on(kmsg.InitProducerID, initProducerID) }

// idBlock is how many producer ids an agent reserves at once; those it has not handed out when it ends are never used.
const idBlock = 1000

func initProducerID(ctx context.Context, s *Server, _ wire.Request, req *kmsg.InitProducerIDRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	switch {
	case (req.ProducerID >= 0) != (req.ProducerEpoch >= 0): // both or neither (KIP-360)
		resp.ErrorCode = kerr.InvalidRequest.Code
		return resp
	case req.TransactionalID != nil && *req.TransactionalID == "":
		resp.ErrorCode = kerr.InvalidRequest.Code
		return resp
	case req.TransactionalID != nil:
		resp.ErrorCode = kerr.UnsupportedVersion.Code
		return resp
	}
	id, err := producerID(ctx, s)
	if err != nil {
		s.Log.Warn("no producer ids could be reserved", "error", err)
		resp.ErrorCode = kerr.CoordinatorNotAvailable.Code // every client tries again; an id lost on the way harms nobody
		return resp
	}
	resp.ProducerID, resp.ProducerEpoch = id, 0
	return resp
}

// producerID hands out an id that was never handed out before, and never will be again.
func producerID(ctx context.Context, s *Server) (int64, error) {
	select {
	case s.ids <- struct{}{}:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	defer func() { <-s.ids }()
	if s.nextID == s.endID {
		results, err := s.Session.Do(ctx, state.AllocateProducerIDs{Count: idBlock})
		if err != nil {
			return 0, err
		}
		if results[0].Code != state.CodeOK {
			return 0, fmt.Errorf("allocate producer ids: metadata answered code %d", results[0].Code)
		}
		s.nextID, s.endID = results[0].Number, results[0].Number+idBlock
	}
	id := s.nextID
	s.nextID++
	return id, nil
}
