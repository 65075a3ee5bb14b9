package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/leat-stream/leat/agent/peer/peerpb"
	"github.com/leat-stream/leat/metadata/replica"
)

// errEnded ends the context of a stream that its user has closed.
var errEnded = errors.New("closed by its user")

// open begins a call with a stream. end is called when the stream has ended, as often as one likes; it, or the end of ctx,
// gives the link back.
func (c *Client) open(ctx context.Context, method, address string, do func(context.Context, peerpb.PeerClient, grpc.CallOption) error) (
	scope context.Context, end func(error), err error,
) {
	l, err := c.connect(ctx, method, address)
	if err != nil {
		c.metrics.count(method, err)
		return nil, nil, err
	}
	began := time.Now()
	own, cancel := context.WithCancelCause(ctx)
	var once sync.Once
	finish := func(err error) {
		once.Do(func() {
			cancel(errEnded)
			c.metrics.count(method, err)
			c.done(ctx, l, method, began)
		})
	}
	stop := context.AfterFunc(own, func() { finish(context.Cause(own)) }) // may run once this has returned: a result is not for it
	end = func(err error) {
		stop()
		finish(err)
	}
	if err = c.attempt(own, l, method, !acts, do); err != nil {
		end(err)
		return nil, nil, err
	}
	return own, end, nil
}

// Follow implements replica.Peers. Errors of the other end come with Recv.
func (c *Client) Follow(ctx context.Context, address string, f replica.Follow) (replica.Feed, error) {
	feed := &feed{address: address}
	var err error
	feed.ctx, feed.end, err = c.open(ctx, "Follow", address, func(ctx context.Context, p peerpb.PeerClient, o grpc.CallOption) (err error) {
		if feed.stream, err = p.Follow(ctx, o); err != nil {
			return err
		}
		start := &peerpb.Start{Session: f.Session[:], From: f.From}
		err = feed.stream.Send(&peerpb.FollowMessage{Message: &peerpb.FollowMessage_Start{Start: start}})
		if errors.Is(err, io.EOF) { // the stream has failed already: Recv says why
			return nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return feed, nil
}

// feed implements replica.Feed.
type feed struct {
	address string
	ctx     context.Context
	stream  grpc.BidiStreamingClient[peerpb.FollowMessage, peerpb.Push]
	end     func(error)
}

// Send implements replica.Feed. It waits while the other end does not read.
func (f *feed) Send(b replica.Beat) error {
	err := f.stream.Send(&peerpb.FollowMessage{Message: &peerpb.FollowMessage_Beat{Beat: encodeBeat(b)}})
	switch {
	case errors.Is(err, io.EOF): // gRPC's word for: the stream is over, Recv says why
		return fmt.Errorf("Follow of peer %s has ended: %w", f.address, io.ErrClosedPipe)
	case err != nil:
		return f.fail(err)
	}
	return nil
}

// Recv implements replica.Feed. The error matches io.EOF if the other end ended the stream without saying why.
func (f *feed) Recv() (replica.Push, error) {
	m, err := f.stream.Recv()
	if err != nil {
		return replica.Push{}, f.fail(err)
	}
	p, err := decodePush(m)
	if err != nil {
		return replica.Push{}, f.fail(err)
	}
	return p, nil
}

func (f *feed) fail(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		f.end(nil)
		return fmt.Errorf("peer %s ended the stream: %w", f.address, err)
	case !errors.Is(err, ErrInvalid):
		err = decodeError(f.ctx, err, "Follow", f.address, !acts)
	}
	f.end(err)
	return err
}

// Close implements replica.Feed.
func (f *feed) Close() { f.end(nil) }

// Chunk opens the n bytes from off on of the immutable object key, which has size bytes, as the agent at address has them. The
// reader gives exactly n bytes, or an error. It fails at once if that agent cannot or will not: objectstore.ErrNotFound and
// ErrRange are what its bucket told it; after any other error, ask the bucket oneself. The stream holds at most
// Config.Window bytes that are not read yet; it lives until the reader is closed or ctx ends.
func (c *Client) Chunk(ctx context.Context, address, key string, size, off, n int64) (io.ReadCloser, error) {
	r := &chunkReader{address: address, left: n}
	var err error
	r.ctx, r.end, err = c.open(ctx, "Chunk", address, func(ctx context.Context, p peerpb.PeerClient, o grpc.CallOption) (err error) {
		r.stream, err = p.Chunk(ctx, &peerpb.ChunkRequest{Key: key, Size: size, Offset: off, Length: n}, o)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := r.next(); err != nil {
		return nil, err
	}
	return r, nil
}

// chunkReader reads the pieces of a chunk. piece and left belong to whoever holds mu: Close may be called during a Read.
type chunkReader struct {
	address string
	ctx     context.Context
	stream  grpc.ServerStreamingClient[peerpb.Piece]
	end     func(error)

	mu    sync.Mutex
	piece inPiece
	left  int64 // bytes that are not read yet, of piece and of pieces to come
	err   error // ends all reading
}

// next waits for a piece. Under mu, or before there are other users.
func (r *chunkReader) next() error {
	err := r.stream.RecvMsg(&r.piece)
	switch {
	case r.piece.bad != nil:
		err = fmt.Errorf("Chunk of peer %s: %w", r.address, r.piece.bad)
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("Chunk of peer %s: %d bytes are missing: %w", r.address, r.left, io.ErrUnexpectedEOF)
	case err != nil:
		err = decodeError(r.ctx, err, "Chunk", r.address, !acts)
	case int64(r.piece.data.Remaining()) > r.left:
		err = fmt.Errorf("Chunk of peer %s: %w: more bytes than asked for", r.address, ErrInvalid)
	default:
		return nil
	}
	r.fail(err)
	return err
}

func (r *chunkReader) fail(err error) {
	r.err = err
	r.piece.close()
	r.end(err)
}

// Read implements io.Reader.
func (r *chunkReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(p) == 0 || r.err != nil {
		return 0, r.err
	}
	for r.piece.data.Remaining() == 0 {
		if r.left == 0 {
			r.err = io.EOF
			r.end(nil)
			return 0, io.EOF
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n, err := r.piece.data.Read(p)
	r.left -= int64(n)
	return n, err
}

// Close implements io.Closer. A Read in progress ends.
func (r *chunkReader) Close() error {
	r.end(nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = fmt.Errorf("Chunk of peer %s: %w", r.address, errEnded)
		r.piece.close()
	}
	return nil
}
