package peer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/leat-stream/leat/agent/peer/peerpb"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/replica"
	"github.com/leat-stream/leat/objectstore"
)

// The errors of both ends, beside those in kinds.
var (
	// ErrInvalid: what came from the other end makes no sense.
	ErrInvalid = errors.New("invalid message between agents")
	// ErrClosed: the client was closed.
	ErrClosed = errors.New("peer client is closed")
	// ErrTooManyPeers: Config.MaxPeers connections are in use.
	ErrTooManyPeers = errors.New("too many peers at once")
	// ErrBusy: too many Chunk and Forward calls to one peer are in progress; see Config.MaxStreams.
	ErrBusy = errors.New("too many calls to a peer in progress")
)

// kinds are the errors that mean at the other end what they mean here. Whatever else a handler answers arrives as text.
var kinds = []struct {
	kind peerpb.Kind
	err  error
	code codes.Code // only for tools that know gRPC; the kind decides
}{
	{peerpb.Kind_KIND_TOO_LARGE, metadata.ErrTooLarge, codes.ResourceExhausted},
	{peerpb.Kind_KIND_NOT_APPLIED, metadata.ErrNotApplied, codes.Aborted},
	{peerpb.Kind_KIND_NOT_LEADER, replica.ErrNotLeader, codes.FailedPrecondition},
	{peerpb.Kind_KIND_UNAVAILABLE, metadata.ErrUnavailable, codes.Unavailable},
	{peerpb.Kind_KIND_UNKNOWN, metadata.ErrUnknown, codes.Unknown},
	{peerpb.Kind_KIND_NOT_FOUND, objectstore.ErrNotFound, codes.NotFound},
	{peerpb.Kind_KIND_RANGE, objectstore.ErrRange, codes.OutOfRange},
	{peerpb.Kind_KIND_INVALID, ErrInvalid, codes.InvalidArgument},
}

// encodeError is what a handler's error looks like on the wire. metadata.ErrStopped and ErrFenced are about the process
// that answers: to others it is merely unavailable, and they must not stop because of it.
func encodeError(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, metadata.ErrStopped) || errors.Is(err, metadata.ErrFenced) {
		err = fmt.Errorf("%w: %w", metadata.ErrUnavailable, err)
	}
	failure, code := &peerpb.Failure{}, codes.Unknown
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			if len(failure.Kinds) == 0 {
				code = k.code
			}
			failure.Kinds = append(failure.Kinds, k.kind)
		}
	}
	switch {
	case len(failure.Kinds) > 0:
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	}
	text := err.Error()
	text = strings.ToValidUTF8(text[:min(len(text), maxText)], "?")
	s, detailErr := status.New(code, text).WithDetails(failure)
	if detailErr != nil { // of a message that is always the same: it can be encoded
		return status.Error(codes.Internal, detailErr.Error())
	}
	return s.Err()
}

// callError is why a call failed. It matches every error in is.
type callError struct {
	method, address, text string
	is                    []error
}

func (e *callError) Error() string {
	return fmt.Sprintf("%s of peer %s: %s", e.method, e.address, e.text)
}

func (e *callError) Unwrap() []error { return e.is }

// decodeError makes of what gRPC answers what the other end meant. acts tells that the call does something: unless the other
// end itself said what became of it, that is unknown then.
func decodeError(ctx context.Context, err error, method, address string, acts bool) error {
	s, _ := status.FromError(err)
	e := &callError{method: method, address: address, text: s.Message()}
	answered := false
	for _, d := range s.Details() {
		failure, ok := d.(*peerpb.Failure)
		if !ok {
			continue
		}
		answered = true
		for _, kind := range failure.Kinds {
			for _, k := range kinds {
				if k.kind == kind {
					e.is = append(e.is, k.err)
				}
			}
		}
	}
	if !answered {
		e.text = s.Code().String() + ": " + e.text
	}
	_, limited := ctx.Deadline() // which the other end knows, and may notice first
	switch cause := context.Cause(ctx); {
	case cause != nil && !answered:
		e.text, e.is = cause.Error(), append(e.is, cause, ctx.Err())
	case limited && s.Code() == codes.DeadlineExceeded:
		e.is = append(e.is, context.DeadlineExceeded)
	}
	decided := errors.Is(e, metadata.ErrNotApplied) || errors.Is(e, replica.ErrNotLeader) || errors.Is(e, metadata.ErrUnknown)
	if acts && !decided {
		e.is = append(e.is, metadata.ErrUnknown)
	}
	return e
}

// unsent is a call that was certainly never made, because of err.
func unsent(err error, method, address string) error {
	return &callError{method: method, address: address, text: err.Error(), is: []error{err, metadata.ErrNotApplied}}
}

// outcome names how a call ended, for metrics: a closed set.
func outcome(err error) string {
	for _, o := range []struct {
		err  error
		name string
	}{
		{nil, "ok"}, {replica.ErrRefused, "refused"}, {ErrStranger, "stranger"}, {ErrBusy, "busy"}, {metadata.ErrTooLarge, "too_large"},
		{replica.ErrNotLeader, "not_leader"}, {metadata.ErrUnavailable, "unavailable"}, {objectstore.ErrNotFound, "not_found"},
		{objectstore.ErrRange, "range"}, {ErrInvalid, "invalid"}, {context.DeadlineExceeded, "timeout"}, {context.Canceled, "canceled"},
		{metadata.ErrNotApplied, "not_applied"}, {metadata.ErrUnknown, "unknown"},
	} {
		if errors.Is(err, o.err) {
			return o.name
		}
	}
	return "failed"
}
