package api

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/api/versions"
	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/metadata"
)

// Behind one address a client's connection lands on any agent, and the client can't be sent to another. So an agent passes on what
// only the coordinator of a group can answer:
//
//	client ──► Begin ──► who coordinates? ── this agent ─────────────► handler
//	             ▲            │  ▲                                        │
//	             │            │  └──── NOT_COORDINATOR: ask again ◄───────┤ a few times, as views of the agents settle
//	             │            └──► Forwarder ──► ServeForwarded ──► handler│ of the coordinator
//	             └───────────────────── any other answer ◄────────────────┘
//
// A request is passed on once: who gets it serves it, or says NOT_COORDINATOR. Clients behind one address never see that. The same is
// done for clients of a listener that not every agent has.

// Forwarder has another agent answer a request; agent/peer is behind it.
type Forwarder interface {
	// Forward passes on the request r, which wire checked and decoded here, encoded again at its version as body, to the agent at
	// a peer address, and answers the answer's body at the same version. It takes as long as the other agent takes, and gives up when ctx
	// ends. Errors: ErrNotServed if the other agent refused, metadata.ErrNotApplied if it was not reached: nothing was done then.
	// metadata.ErrTooLarge. After any other nobody knows whether the request was served.
	Forward(ctx context.Context, peer string, r wire.Request, body []byte) (answer []byte, err error)
	// Reach answers nil if the agent at a peer address gives any sign of life before ctx ends. One that lives answers at once, however long
	// its other calls take.
	Reach(ctx context.Context, peer string) error
}

// Why ServeForwarded does nothing.
var (
	// ErrNotServed: this agent does not do this for other agents, or not now.
	ErrNotServed = errors.New("request is not served to other agents")
	// ErrForwardMalformed: the body is not what the call says.
	ErrForwardMalformed = errors.New("malformed forwarded request")
)

const (
	// forwardPatience is how long an agent that coordinates is looked for; then the client is told to try again later.
	forwardPatience = 5 * time.Second
	// forwardPause is the time between two attempts at first; it doubles up to forwardPauseMax. A changed view ends it.
	forwardPause    = 50 * time.Millisecond
	forwardPauseMax = 500 * time.Millisecond
	// quickForward is how long another agent may take for what waits for no other client.
	quickForward = 10 * time.Second

	// maxForwardBytes bounds what requests hold that were passed on to others, and again what those hold that others passed on to this
	// agent, encoded and decoded: some 100,000 joins. Beyond it clients are told to try again later.
	maxForwardBytes = 64 << 20
)

// tally counts bytes up to maxForwardBytes.
type tally struct{ used atomic.Int64 }

// take counts n bytes more; false if there is no room. give returns them.
func (t *tally) take(n int64) bool {
	if t.used.Add(n) <= maxForwardBytes {
		return true
	}
	t.used.Add(-n)
	return false
}

func (t *tally) give(n int64) { t.used.Add(-n) }

// shared tells whether the clients of a listener know one address for all agents. They are told of one broker, and never sent to
// another: what needs a certain agent is forwarded to it.
func (s *Server) shared(listener string) bool { return s.Shared != nil && s.Shared(listener) }

// passes tells whether the clients of a listener have their requests about groups passed on: they know one address for all agents, or
// the listener does not lead to all of them, so that no client of it may be sent to the coordinator of every group.
func (s *Server) passes(listener string) bool {
	if s.Forward == nil || s.shared(listener) {
		return s.Forward != nil
	}
	view := s.Brokers.View()
	return view.On(listener) != view // which is the same if all have it
}

// passOn are the calls that a certain agent must answer, filled by forward_groups.go. Every one of them, and no other, is served
// to other agents.
var passOn = map[int16]handler{}

// staying is finish for clients that can't be sent elsewhere: no answer to those behind one address tells them to ask another broker.
func (s *Server) staying(r wire.Request, finish func() wire.Response) func() wire.Response {
	if !s.shared(r.Listener) {
		return finish
	}
	return func() wire.Response {
		resp := finish()
		stayHere(resp.Message)
		return resp
	}
}

// stayHere replaces the errors that send a client to another broker by such that have it try again.
func stayHere(message kmsg.Response) {
	switch resp := message.(type) {
	case *kmsg.ProduceResponse:
		for i := range resp.Topics {
			for j := range resp.Topics[i].Partitions {
				notLeader(&resp.Topics[i].Partitions[j].ErrorCode)
			}
		}
	case *kmsg.ListOffsetsResponse:
		for i := range resp.Topics {
			for j := range resp.Topics[i].Partitions {
				notLeader(&resp.Topics[i].Partitions[j].ErrorCode)
			}
		}
	case *kmsg.OffsetForLeaderEpochResponse:
		for i := range resp.Topics {
			for j := range resp.Topics[i].Partitions {
				notLeader(&resp.Topics[i].Partitions[j].ErrorCode)
			}
		}
	case *kmsg.OffsetCommitResponse:
		for i := range resp.Topics {
			for j := range resp.Topics[i].Partitions {
				notCoordinator(&resp.Topics[i].Partitions[j].ErrorCode, kerr.CoordinatorNotAvailable)
			}
		}
	case *kmsg.OffsetFetchResponse: // from which consumers before Kafka 3.9 take no COORDINATOR_NOT_AVAILABLE
		notCoordinator(&resp.ErrorCode, kerr.CoordinatorLoadInProgress)
		for i := range resp.Groups {
			notCoordinator(&resp.Groups[i].ErrorCode, kerr.CoordinatorLoadInProgress)
		}
		for i := range resp.Topics {
			for j := range resp.Topics[i].Partitions {
				notCoordinator(&resp.Topics[i].Partitions[j].ErrorCode, kerr.CoordinatorLoadInProgress)
			}
		}
	}
}

// notLeader: what was certainly not applied may be tried again, and here.
func notLeader(code *int16) {
	if *code == kerr.NotLeaderForPartition.Code {
		*code = kerr.KafkaStorageError.Code
	}
}

func notCoordinator(code *int16, instead *kerr.Error) {
	if *code == kerr.NotCoordinator.Code {
		*code = instead.Code
	}
}

// elsewhere has the agent at a peer address answer a request.
func (s *Server) elsewhere(ctx context.Context, peer string, r wire.Request, req kmsg.Request) (kmsg.Response, error) {
	body := req.AppendTo(nil) // at r.Version, as it was decoded
	if held := int64(len(body)); s.sent.take(held) {
		defer s.sent.give(held)
	} else {
		return nil, fmt.Errorf("%w: too much is under way to other agents already", errBusy)
	}
	r.ForwardedBy = s.Session.ID().String()
	answer, err := s.Forward.Forward(ctx, peer, r, body)
	if err != nil {
		return nil, err
	}
	return decodeAnswer(r, req.ResponseKind(), answer)
}

// errBusy: a bound is reached.
var errBusy = errors.New("busy")

// decodeAnswer reads what another agent answered. That agent has proven who it is, but it may be of another version.
func decodeAnswer(r wire.Request, resp kmsg.Response, answer []byte) (_ kmsg.Response, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("answer to a forwarded %s cannot be decoded: %v", kmsg.NameForKey(r.Key), v)
		}
	}()
	resp.SetVersion(r.Version)
	if err := resp.ReadFrom(answer); err != nil {
		return nil, fmt.Errorf("answer to a forwarded %s: %w", kmsg.NameForKey(r.Key), err)
	}
	return resp, nil
}

// ServeForwarded answers a request that another agent passed on, at its version: body and answer are without headers. r is what that
// agent knows of the client; ForwardedBy names the agent. Nothing is passed on again. ctx ends when the client is gone. Errors:
// ErrNotServed, ErrForwardMalformed; nothing was done then.
func (s *Server) ServeForwarded(ctx context.Context, r wire.Request, body []byte) (answer []byte, err error) {
	low, high, ok := versions.Range(r.Key)
	_, forwarded := passOn[r.Key]
	switch name := kmsg.NameForKey(r.Key); {
	case !forwarded || !ok:
		return nil, fmt.Errorf("%w: %s", ErrNotServed, name)
	case r.Version < low || r.Version > high:
		return nil, fmt.Errorf("%w: %s version %d, served are %d to %d", ErrNotServed, name, r.Version, low, high)
	case r.ForwardedBy == "":
		return nil, fmt.Errorf("%w: %s by no agent", ErrNotServed, name)
	}
	req, memory, err := wire.Decode(r.Key, r.Version, body, maxForwardBytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForwardMalformed, err)
	}
	held := int64(len(body)) + memory
	if !s.received.take(held) {
		return nil, fmt.Errorf("%w: too much of other agents is under way already", ErrNotServed)
	}
	defer s.received.give(held)
	defer func() {
		if v := recover(); v != nil {
			s.Log.Error("panic while serving a forwarded request", "api", kmsg.NameForKey(r.Key), "version", r.Version,
				"from", r.ForwardedBy, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			answer, err = nil, fmt.Errorf("%s: %w", kmsg.NameForKey(r.Key), metadata.ErrUnknown)
		}
	}()
	resp := handlers[r.Key](ctx, s, r, req)
	if resp.Message == nil {
		return nil, fmt.Errorf("%s: %w", kmsg.NameForKey(r.Key), metadata.ErrUnknown)
	}
	resp.Message.SetVersion(r.Version)
	return resp.Message.AppendTo(nil), nil
}
