// Package wire turns bytes into kmsg requests and kmsg responses into bytes: listeners, connections, frames, versions,
// memory and time limits.
//
//	accept ──► read frame ──► header ──► version ──► shape ──► decode ──► Begin ──► finish ──► encode ──► write
//	           budget, time   frame.go   versions    shape     kmsg       └ handler ┘          in request order
//	           limit
//
// It knows no topic, no storage and no metadata, and it must never: answer from anything but what the Handler said (excepted are
// ApiVersions in an unknown version, KIP-511, and a Fetch that is told to refresh before its connection goes, part.go), allocate on
// the word of a length that came from outside, or let bytes from outside cause a panic.
package wire

import (
	"context"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/wire/answers"
)

// Anonymous is the principal of a connection without authentication, as Kafka names it.
const Anonymous = "User:ANONYMOUS"

// Header is what the request header said (Kafka protocol guide, "Request Header").
type Header struct {
	Key           int16
	Version       int16
	CorrelationID int32
}

// Software is what a client said about itself in ApiVersions 3 or later (KIP-511); empty before.
type Software struct {
	Name, Version string
}

// Request is what an API handler learns about who asks; it never sees a connection. It is a value: handlers may keep it.
type Request struct {
	Header
	Principal      string   // "User:…"; Anonymous without authentication
	ClientID       string   // "" also if it was null
	Host           string   // the client's IP address, without port
	Listener       string   // the name of the listener it came in by
	Zone           string   // of the client: from its client.id, else its listener, else the agent (see package zone)
	ForwardedBy    string   // the agent that passed the request on, "" if the client asked this agent itself
	ClientSoftware Software // from ApiVersions
	Conn           uint64   // opaque id of the connection, unique within this process; a fetch session belongs to it

	// Mark is Config.Mark as it was when the first byte of the request came, if the connection was being read and nothing lay unread. Else the
	// request may be as old as the last one of which that is true, and has its mark; so it is never too young. 0 without Config.Mark.
	Mark uint64

	// Memory is what the answer is charged to, if its handler takes memory for it: within finish alone, and wire gives it back. nil for
	// what did not come by a connection.
	Memory *answers.Account
}

// Response is a handler's answer. Exactly one of Message, Body, NoReply, Close is meant; Close wins over NoReply, NoReply
// over Body, Body over Message. An answer with none of them closes the connection, as an error in the handler.
type Response struct {
	// Message is the answer; wire sets its version to the request's, and its throttle time to Throttle if that is positive.
	Message kmsg.Response

	// Body is an answer that the handler encoded itself at the request's version, without length and response header, in
	// pieces that are written with writev and never changed: for Fetch, whose records need no copy. A Message beside it is only
	// looked at for its errors.
	Body net.Buffers

	// Throttle is how long this connection is left unread after the answer (KIP-219: answer first, then mute).
	Throttle time.Duration

	// NoReply sends nothing: Produce with acks=0 that succeeded.
	NoReply bool

	// Close closes the connection after the answers before this one: Produce with acks=0 that failed.
	Close bool
}

// Handler serves the requests of all connections.
//
// Begin starts a request. It is called by one goroutine per connection, in arrival order; requests of different
// connections begin concurrently. A Produce begins while earlier Produce requests of its connection are not finished, up to
// Config.MaxInFlight; any other request, and a Produce behind one, begins when all before it are finished. Begin returns
// quickly: for Produce as soon as its batches are accepted, in order (it may block for back-pressure, until ctx ends); all
// other requests do their work in finish.
//
// finish blocks until the answer is there. wire calls it exactly once for every Begin, in request order, on another
// goroutine than Begin. While finish runs the next Produce may begin.
//
// ctx ends when the connection dies or the server gives up draining: a fetch that waits must then return. A Produce, once
// begun, completes by itself whatever becomes of ctx, but its finish returns soon after ctx ended too, with any answer (no
// one will read it).
//
// Ownership: body belongs to the handler. Its strings are copies; its byte slices (records, group metadata,
// assignments) alias the frame, which is never reused or written again: keeping one is safe and keeps the whole frame
// alive. The frame counts against the memory budget until finish returns; what is kept longer must be cloned or be
// accounted for by its keeper.
//
// A panic in Begin or finish closes the connection, is logged with its stack and counted.
type Handler interface {
	Begin(ctx context.Context, r Request, body kmsg.Request) (finish func() Response)
}

// Versions tells which versions of an API are served: min and max inclusive. ok is false for a key that is not served at
// all. It is asked for every request, so it must be quick and safe for concurrent use.
type Versions func(key int16) (minServed, maxServed int16, ok bool)

// Bound lists what Listen bound, for who turns clients away before Serve.
func (s *Server) Bound() []net.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bound
}
