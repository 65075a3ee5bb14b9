package peer

import (
	"context"
	"fmt"
	"io"
	"math"
	"path"
	"runtime/debug"

	"google.golang.org/grpc"

	"github.com/leat-stream/leat/agent/peer/peerpb"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/replica"
	"github.com/leat-stream/leat/objectstore"
)

// service turns messages into calls of handlers. What comes from outside is checked here. Its methods answer the handlers'
// errors; the interceptors encode them.
type service struct {
	peerpb.UnimplementedPeerServer
	server *Server
}

var _ peerpb.PeerServer = (*service)(nil)

// unary wraps every call with one answer.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (resp any, err error) {
	ctx, cancel := within(ctx, s.working)
	defer cancel()
	defer s.finish(path.Base(info.FullMethod), &err)
	return handle(ctx, req)
}

// stream wraps every call with a stream.
func (s *Server) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	base := s.working
	if info.FullMethod == peerpb.Peer_Follow_FullMethodName {
		base = s.following
	}
	ctx, cancel := within(stream.Context(), base)
	defer cancel()
	defer s.finish(path.Base(info.FullMethod), &err)
	return handle(srv, &boundStream{ServerStream: stream, ctx: ctx})
}

// boundStream is a stream whose context also ends with the server.
type boundStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (b *boundStream) Context() context.Context { return b.ctx }

// within answers a context that ends when either does.
func within(ctx, base context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(base, func() { cancel(context.Cause(base)) })
	return ctx, func() { stop(); cancel(nil) }
}

// finish counts a call, encodes its error, and makes an error of a panic: what became of the call is unknown then.
func (s *Server) finish(method string, err *error) {
	if p := recover(); p != nil {
		s.log.Error("panic in a call from another agent", "method", method, "panic", p, "stack", string(debug.Stack()))
		*err = fmt.Errorf("%w: panic in the handler", metadata.ErrUnknown)
	}
	s.metrics.count(method, *err)
	*err = encodeError(*err)
}

// errNotServing is answered for what has no handler, or not yet.
var errNotServing = fmt.Errorf("%w: the agent does not serve this yet: %w", metadata.ErrUnavailable, metadata.ErrNotApplied)

// replica answers the handler of the first five methods.
func (v *service) replica() (Replica, error) {
	if h := v.server.handlers.Load(); h != nil && h.Replica != nil {
		return h.Replica, nil
	}
	return nil, errNotServing
}

// Status implements peerpb.PeerServer.
func (v *service) Status(context.Context, *peerpb.StatusRequest) (*peerpb.StatusReply, error) {
	r, err := v.replica()
	if err != nil {
		return nil, err
	}
	return encodeStatus(r.Status()), nil
}

// Propose implements peerpb.PeerServer.
func (v *service) Propose(ctx context.Context, m *peerpb.ProposeRequest) (*peerpb.ProposeReply, error) {
	r, err := v.replica()
	if err != nil {
		return nil, err
	}
	p, err := r.Propose(ctx, replica.Proposal{Hops: decodeHops(m.GetHops()), Commands: m.GetCommands()})
	if err != nil {
		return nil, err
	}
	return &peerpb.ProposeReply{Index: p.Index, Results: p.Results}, nil
}

// Tip implements peerpb.PeerServer.
func (v *service) Tip(ctx context.Context, m *peerpb.TipRequest) (*peerpb.TipReply, error) {
	r, err := v.replica()
	if err != nil {
		return nil, err
	}
	index, err := r.Tip(ctx, decodeHops(m.GetHops()))
	if err != nil {
		return nil, err
	}
	return &peerpb.TipReply{Index: index}, nil
}

// TakeOver implements peerpb.PeerServer.
func (v *service) TakeOver(ctx context.Context, m *peerpb.TakeOverRequest) (*peerpb.TakeOverReply, error) {
	r, err := v.replica()
	if err != nil {
		return nil, err
	}
	if err := r.TakeOver(ctx, m.GetTerm()); err != nil {
		return nil, err
	}
	return &peerpb.TakeOverReply{}, nil
}

// Follow implements peerpb.PeerServer.
func (v *service) Follow(stream grpc.BidiStreamingServer[peerpb.FollowMessage, peerpb.Push]) error {
	r, err := v.replica()
	if err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	start := first.GetStart()
	if start == nil {
		return fmt.Errorf("%w: a stream that does not begin with what to follow", ErrInvalid)
	}
	session, err := decodeUUID(start.GetSession())
	if err != nil {
		return err
	}
	beats := func() (replica.Beat, error) {
		m, err := stream.Recv()
		if err != nil {
			return replica.Beat{}, err
		}
		if m.GetBeat() == nil {
			return replica.Beat{}, fmt.Errorf("%w: expected a beat", ErrInvalid)
		}
		return decodeBeat(m.GetBeat())
	}
	push := func(p replica.Push) error { return stream.Send(encodePush(p)) }
	return r.Follow(stream.Context(), replica.Follow{Session: session, From: start.GetFrom()}, beats, push)
}

// Chunk implements peerpb.PeerServer.
func (v *service) Chunk(m *peerpb.ChunkRequest, stream grpc.ServerStreamingServer[peerpb.Piece]) error {
	h := v.server.handlers.Load()
	if h == nil || h.Chunks == nil {
		return errNotServing
	}
	key, size, off, n := m.GetKey(), m.GetSize(), m.GetOffset(), m.GetLength()
	if err := objectstore.CheckKey(key); err != nil {
		return fmt.Errorf("%w: %s", ErrInvalid, err.Error())
	}
	if off < 0 || n <= 0 || off > size || n > size-off {
		return fmt.Errorf("%w: %d bytes at %d of an object of %d", ErrInvalid, n, off, size)
	}
	return h.Chunks(stream.Context(), key, size, off, n, func(parts [][]byte) error {
		var got int64
		for _, p := range parts {
			got += int64(len(p))
		}
		if got != n {
			return fmt.Errorf("%s: read %d bytes at %d, not %d: %w", key, got, off, n, io.ErrUnexpectedEOF)
		}
		for piece := range pieces(parts) {
			if err := stream.SendMsg(piece); err != nil {
				return err
			}
		}
		return nil
	})
}

// Forward implements peerpb.PeerServer.
func (v *service) Forward(ctx context.Context, m *peerpb.ForwardRequest) (*peerpb.ForwardReply, error) {
	h := v.server.handlers.Load()
	if h == nil || h.Forward == nil {
		return nil, errNotServing
	}
	key, version := m.GetKey(), m.GetVersion()
	if int32(int16(key)) != key || int32(int16(version)) != version || len(m.GetBody()) > MaxForward {
		return nil, fmt.Errorf("%w: request %d version %d of %d bytes: %w", ErrInvalid, key, version, len(m.GetBody()), metadata.ErrNotApplied)
	}
	resp, err := h.Forward(ctx, decodeForwarded(m))
	if err != nil {
		return nil, err
	}
	if len(resp.Body) > MaxForward {
		return nil, fmt.Errorf("answer of %d bytes is too large to pass on, at most %d are allowed", len(resp.Body), MaxForward)
	}
	return &peerpb.ForwardReply{Body: resp.Body, Refusal: peerpb.Refusal(resp.Refusal)}, nil
}

// decodeHops makes no small number of a large one.
func decodeHops(hops uint32) int { return int(min(hops, math.MaxInt32)) }
