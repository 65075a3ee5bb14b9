package api

import (
	"context"

	"github.com/leat-stream/leat/agent/wire"
)

// Forwarder has another agent answer a request; agent/peer is behind it.
type Forwarder interface {
	// Forward passes on the request r, which wire checked and decoded here, encoded again at its version as body, to the agent at
	// a peer address, and answers the answer's body at the same version. It takes as long as the other agent takes, and gives up when ctx
	// ends. After an error nobody knows whether the request was served.
	Forward(ctx context.Context, peer string, r wire.Request, body []byte) (answer []byte, err error)
}

// shared tells whether the clients of a listener know one address for all agents. They are told of one broker, and never sent to
// another: what needs a certain agent is forwarded to it.
func (s *Server) shared(listener string) bool { return s.Shared != nil && s.Shared(listener) }
