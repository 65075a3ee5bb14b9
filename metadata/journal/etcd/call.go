package etcd

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// How long one attempt may take: the client goes from member to member with every attempt, so the first are short, in case
// this one hangs; the later ones are longer, in case everything is slow.
const (
	firstPatience = 2 * time.Second
	lastPatience  = 16 * time.Second
)

// The back-off between two attempts: it doubles from the first to the last of these, with jitter.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = time.Second
)

// A connection on which nothing comes back is given up after both. gRPC allows no less than 10 s between pings.
const (
	keepAlive        = 10 * time.Second
	keepAliveTimeout = 3 * time.Second
)

// attempt makes one request, of whatever outcome. A member that has no leader refuses at once instead of waiting for one.
func attempt(ctx context.Context, number int, do func(context.Context) (*clientv3.TxnResponse, error)) (*clientv3.TxnResponse, error) {
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), min(lastPatience, firstPatience<<min(number, 10)))
	defer cancel()
	return do(ctx)
}

// unhide keeps the reason why there is no connection: gRPC waits for one until the attempt's time is over, and etcd's client says
// only that it is.
func unhide(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoke(ctx, method, request, reply, cc, opts...)
	if s := status.Convert(err); s.Code() == codes.DeadlineExceeded {
		if reason, ok := strings.CutPrefix(s.Message(), "latest balancer error: "); ok {
			return status.Error(codes.Unavailable, reason)
		}
	}
	return err
}

// persist repeats a request that may be repeated, until it has an answer, an answer that will not change, or ctx ends.
func (j *Journal) persist(ctx context.Context, do func(context.Context) (*clientv3.TxnResponse, error)) (*clientv3.TxnResponse, error) {
	var last error
	for number := 0; ; number++ {
		if ctx.Err() != nil {
			return nil, ended(ctx, last)
		}
		r, err := attempt(ctx, number, do)
		if err == nil {
			return r, nil
		}
		if final(err) {
			return nil, plain(err)
		}
		last = worse(last, err)
		if pause(ctx, number) != nil {
			return nil, ended(ctx, last)
		}
	}
}

// worse answers what to tell of a call: what etcd or the network said last, rather than that an attempt took too long.
func worse(last, err error) error {
	if err = plain(err); errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return last
	}
	return err
}

// ended is the error of a call whose ctx ended, with what went wrong before.
func ended(ctx context.Context, last error) error {
	if last == nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: %w", context.Cause(ctx), last)
}

// final tells that etcd understood and will answer the same again.
func final(err error) bool {
	switch status.Code(grpcError(err)) {
	case codes.PermissionDenied, codes.InvalidArgument, codes.Unimplemented:
		return true
	default:
		return false // unavailable, no leader, too late, too many requests, no space: may pass
	}
}

// grpcError undoes the client's wrapping, which hides the code.
func grpcError(err error) error {
	if coded, ok := errors.AsType[interface {
		error
		Code() codes.Code
	}](err); ok {
		return status.Error(coded.Code(), err.Error())
	}
	return err
}

// plain leaves out what gRPC says of itself.
func plain(err error) error {
	if s, ok := status.FromError(err); ok && s.Code() != codes.Unknown {
		switch s.Code() {
		case codes.Canceled:
			return context.Canceled
		case codes.DeadlineExceeded:
			return context.DeadlineExceeded
		default:
			return errors.New(s.Message())
		}
	}
	return err
}

// pause waits between two attempts; it fails if ctx ends first.
func pause(ctx context.Context, number int) error {
	d := min(lastPause, firstPause<<min(number, 10))
	timer := time.NewTimer(d/2 + mathrand.N(d/2))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
