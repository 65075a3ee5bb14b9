package chunks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	header "google.golang.org/grpc/metadata"

	"github.com/leat-stream/leat/cache"
	"github.com/leat-stream/leat/metadata"
)

// classHeader carries the class of a read between agents. A call without it is of the tail.
const classHeader = "leat-class"

// Transport is agent/peer's Client, which knows no classes and no ErrBusy.
type Transport interface {
	Chunk(ctx context.Context, address, key string, size, off, n int64) (io.ReadCloser, error)
}

// Over asks peers over gRPC. The other end's handler is Server.Chunks.
func Over(t Transport) Peer { return remote{t} }

type remote struct{ transport Transport }

// Chunk implements Peer. An agent that says that it is not available, because it starts or stops, is as good as busy.
func (r remote) Chunk(ctx context.Context, address, key string, size, off, n int64, class cache.Class) (io.ReadCloser, error) {
	ctx = header.AppendToOutgoingContext(ctx, classHeader, classNames[class])
	body, err := r.transport.Chunk(ctx, address, key, size, off, n)
	if errors.Is(err, metadata.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return body, err
}

// Chunks is Serve as the handler of a call that was made through Over.
func (s *Server) Chunks(ctx context.Context, key string, size, off, n int64, send func([][]byte) error) error {
	class := cache.Tail
	if said := header.ValueFromIncomingContext(ctx, classHeader); len(said) > 0 {
		i := slices.Index(classNames[:], said[0])
		if i < 0 {
			return fmt.Errorf("serve a peer %s, class %.20q: %w", key, said[0], ErrRefused)
		}
		class = cache.Class(i)
	}
	err := s.Serve(ctx, key, size, off, n, class, send)
	if errors.Is(err, ErrBusy) {
		err = fmt.Errorf("%w: %w", metadata.ErrUnavailable, err)
	}
	return err
}
