package peer

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/leat-stream/leat/agent/peer/peerpb"
	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/replica"
	"github.com/leat-stream/leat/metadata/state"
)

type followFunc = func(context.Context, replica.Follow, func() (replica.Beat, error), func(replica.Push) error) error

func following(f followFunc) Handlers { return Handlers{Replica: &fakeReplica{follow: f}} }

func TestFollowCarriesEveryFieldBothWays(t *testing.T) {
	want := replica.Follow{Session: state.UUID{1}, From: 1<<64 - 1}
	beat := replica.Beat{Alive: []replica.Alive{{Session: state.UUID{2}, Age: 3}, {Session: state.UUID{4}, Age: 1<<63 - 1}}}
	push := replica.Push{
		Entry:   &journal.Entry{Index: 1 << 63, Kind: 255, Term: journal.TermID{15: 5}, Body: []byte("body")},
		Applied: 6, Term: 7, Heard: -8, Missing: true,
	}
	filled(t, want)
	filled(t, beat)
	filled(t, push)
	address := start(t, following(func(_ context.Context, f replica.Follow, beats func() (replica.Beat, error), send func(replica.Push) error) error {
		if f != want {
			t.Errorf("follow %+v", f)
		}
		for _, want := range []replica.Beat{beat, {Alive: []replica.Alive{}}} {
			if got, err := beats(); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("beat %+v, %v", got, err)
			}
		}
		return errors.Join(send(push), send(replica.Push{}))
	}))
	feed, err := newTestClient(t, quick()).Follow(t.Context(), address, want)
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	if err := errors.Join(feed.Send(beat), feed.Send(replica.Beat{})); err != nil {
		t.Fatal(err)
	}
	for _, want := range []replica.Push{push, {}} {
		if got, err := feed.Recv(); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("push %+v, %v", got, err)
		}
	}
	if _, err := feed.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %v", err)
	}
}

func TestAStreamEndsOnBothSidesWhicheverEndsIt(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(feed replica.Feed, cancel func(), stop func(), p *proxy)
	}{
		{"the follower closes it", func(feed replica.Feed, _, _ func(), _ *proxy) { feed.Close() }},
		{"the follower's context ends", func(_ replica.Feed, cancel, _ func(), _ *proxy) { cancel() }},
		{"the server stops", func(_ replica.Feed, _, stop func(), _ *proxy) { stop() }},
		{"the connection is cut", func(_ replica.Feed, _, _ func(), p *proxy) { p.cut() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var served sync.WaitGroup
			served.Add(1)
			s := listen(t, quick(), "127.0.0.1:0", nil)
			stop := serve(t, s, following(func(ctx context.Context, _ replica.Follow, beats func() (replica.Beat, error), push func(replica.Push) error) error {
				defer served.Done()
				var reading sync.WaitGroup
				if err := push(replica.Push{}); err != nil {
					t.Error(err)
				}
				reading.Go(func() {
					if ctx.Err() == nil {
						for _, err := beats(); err == nil; _, err = beats() {
						}
					}
				})
				<-ctx.Done()
				go func() { reading.Wait() }() // ends once this has returned
				return ctx.Err()
			}))
			p := newProxy(t, s.Addr())
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			feed, err := newTestClient(t, quick()).Follow(ctx, p.Addr().String(), replica.Follow{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := feed.Recv(); err != nil {
				t.Fatal(err)
			}
			c.end(feed, cancel, stop, p)
			if _, err := feed.Recv(); err == nil {
				t.Error("Recv goes on")
			}
			eventually(t, "Send fails", func() bool { return feed.Send(replica.Beat{}) != nil })
			served.Wait()
			feed.Close()
			feed.Close()
		})
	}
}

func TestTheErrorOfAStreamArrives(t *testing.T) {
	address := start(t, following(func(context.Context, replica.Follow, func() (replica.Beat, error), func(replica.Push) error) error {
		return replica.ErrNotLeader
	}))
	feed, err := newTestClient(t, quick()).Follow(t.Context(), address, replica.Follow{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := feed.Recv(); !errors.Is(err, replica.ErrNotLeader) {
			t.Error(err)
		}
	}
}

// settled waits until n stands still, and answers it.
func settled(t *testing.T, n *atomic.Int64) int64 {
	t.Helper()
	last, still := int64(-1), 0
	eventually(t, "it stands still", func() bool {
		now := n.Load()
		if now == last && now > 0 {
			still++
		} else {
			last, still = now, 0
		}
		return still >= 50
	})
	return last
}

func TestAFollowerThatDoesNotReadStopsItsUpstreamButNobodyElse(t *testing.T) {
	const size, total = 32 << 10, 2000 // 64 MB
	var pushed atomic.Int64
	h := answering()
	h.Replica.(*fakeReplica).follow = func(_ context.Context, _ replica.Follow, _ func() (replica.Beat, error), push func(replica.Push) error) error {
		body := make([]byte, size)
		for i := range total {
			if err := push(replica.Push{Entry: &journal.Entry{Index: uint64(i), Kind: journal.KindCommands, Body: body}}); err != nil {
				return err
			}
			pushed.Add(1)
		}
		return nil
	}
	cfg := quick()
	s := listen(t, cfg, "127.0.0.1:0", nil)
	serve(t, s, h)
	c := newTestClient(t, cfg)
	feeds := make([]replica.Feed, 6) // together more than the connection's window
	for i := range feeds {
		var err error
		if feeds[i], err = c.Follow(t.Context(), s.Addr(), replica.Follow{}); err != nil {
			t.Fatal(err)
		}
	}
	ahead := settled(t, &pushed) * size / int64(len(feeds))
	if limit := int64(cfg.Window) + 512<<10; ahead > limit {
		t.Errorf("each upstream is %d bytes ahead of a follower that does not read, at most %d expected", ahead, limit)
	}
	if _, err := c.Status(t.Context(), s.Addr()); err != nil {
		t.Errorf("another call over the same connection: %v", err)
	}
	for i := range total {
		p, err := feeds[0].Recv()
		if err != nil || p.Entry.Index != uint64(i) {
			t.Fatal(i, err)
		}
	}
	for _, f := range feeds {
		f.Close()
	}
}

func TestWhatABrokenAgentStreamsIsRefused(t *testing.T) {
	var got atomic.Int64
	address := start(t, following(func(_ context.Context, _ replica.Follow, beats func() (replica.Beat, error), _ func(replica.Push) error) error {
		got.Add(1)
		_, err := beats()
		return err
	}))
	beat := func(session []byte) *peerpb.FollowMessage {
		return &peerpb.FollowMessage{Message: &peerpb.FollowMessage_Beat{Beat: &peerpb.Beat{Alive: []*peerpb.Alive{{Session: session}}}}}
	}
	begin := func(session []byte) *peerpb.FollowMessage {
		return &peerpb.FollowMessage{Message: &peerpb.FollowMessage_Start{Start: &peerpb.Start{Session: session}}}
	}
	id := make([]byte, 16)
	for name, messages := range map[string][]*peerpb.FollowMessage{
		"empty": {{}}, "a beat first": {beat(id)}, "short id": {begin(id[:15])}, "no id": {begin(nil)},
		"two beginnings": {begin(id), begin(id)}, "beat with a long id": {begin(id), beat(make([]byte, 17))},
	} {
		stream, err := rawClient(t, address).Follow(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			if err := stream.Send(m); err != nil {
				t.Fatal(err)
			}
		}
		_, err = stream.Recv()
		if err = decodeError(t.Context(), err, "", "", !acts); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got.Load() != 2 {
		t.Errorf("the handler was called %d times", got.Load())
	}
}

// broken answers what no agent would.
type broken struct {
	peerpb.UnimplementedPeerServer
	pushes []*peerpb.Push
	pieces [][]byte
}

func (b *broken) Status(context.Context, *peerpb.StatusRequest) (*peerpb.StatusReply, error) {
	return &peerpb.StatusReply{Session: []byte("short")}, nil
}

func (b *broken) Follow(stream grpc.BidiStreamingServer[peerpb.FollowMessage, peerpb.Push]) error {
	for _, p := range b.pushes {
		if err := stream.Send(p); err != nil {
			return err
		}
	}
	return nil
}

func (b *broken) Chunk(_ *peerpb.ChunkRequest, stream grpc.ServerStreamingServer[peerpb.Piece]) error {
	for _, p := range b.pieces {
		if err := stream.Send(&peerpb.Piece{Data: p}); err != nil {
			return err
		}
	}
	return nil
}

func TestWhatABrokenAgentAnswersIsRefused(t *testing.T) {
	b := &broken{}
	address := rawServer(t, b)
	c := newTestClient(t, quick())
	if _, err := c.Status(t.Context(), address); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if _, err := c.Tip(t.Context(), address, 0); err == nil { // as an older version that does not know a method
		t.Error("no error")
	}
	for _, e := range []*peerpb.Entry{{}, {Term: make([]byte, 15)}, {Term: make([]byte, 16), Kind: 256}} {
		b.pushes = []*peerpb.Push{{Entry: e}}
		feed, err := c.Follow(t.Context(), address, replica.Follow{})
		if err != nil {
			t.Fatal(err)
		}
		if p, err := feed.Recv(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: %+v, %v", e, p, err)
		}
	}
	for _, c1 := range []struct {
		pieces []string
		want   error
	}{
		{nil, io.ErrUnexpectedEOF}, {[]string{""}, ErrInvalid}, {[]string{"abc"}, io.ErrUnexpectedEOF}, {[]string{"ab", "cde"}, ErrInvalid},
		{[]string{"abc", ""}, ErrInvalid}, {[]string{"abcde"}, ErrInvalid}, {[]string{"abc", "d"}, nil}, {[]string{"abcd", "e"}, nil},
	} {
		b.pieces = nil
		for _, p := range c1.pieces {
			b.pieces = append(b.pieces, []byte(p))
		}
		r, err := c.Chunk(t.Context(), address, "k", 4, 0, 4)
		if err == nil {
			var data []byte
			data, err = io.ReadAll(r)
			if err == nil && string(data) != "abcd" {
				t.Errorf("%q: read %q", c1.pieces, data)
			}
			r.Close()
		}
		if !errors.Is(err, c1.want) {
			t.Errorf("%q: %v", c1.pieces, err)
		}
	}
}

func TestChunksArriveAsTheyAre(t *testing.T) {
	object := make([]byte, 3<<20+17)
	_, _ = rand.Read(object)
	var lengths []int // of the handler's slices
	address := start(t, Handlers{Chunks: sending(func(_ context.Context, key string, size, off, n int64) ([][]byte, error) {
		if key != "c/data/x" || size != int64(len(object)) {
			t.Errorf("%s, %d bytes", key, size)
		}
		var parts [][]byte
		rest := object[off : off+n]
		for i := 0; len(rest) > 0; i++ {
			l := min(len(rest), lengths[i%len(lengths)])
			parts, rest = append(parts, rest[:l]), rest[l:]
		}
		return parts, nil
	})})
	c := newTestClient(t, quick())
	for _, lengths = range [][]int{{len(object)}, {maxPiece}, {1000}, {maxPiece - 1, 1, 0, 3}} {
		for _, r := range []struct{ off, n int }{{0, len(object)}, {5, 1}, {7, maxPiece}, {len(object) - maxPiece - 1, maxPiece + 1}} {
			body, err := c.Chunk(t.Context(), address, "c/data/x", int64(len(object)), int64(r.off), int64(r.n))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(body)
			if err != nil || !bytes.Equal(got, object[r.off:r.off+r.n]) {
				t.Errorf("%v, %+v: %d bytes, %v", lengths, r, len(got), err)
			}
			if err := body.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	body, err := c.Chunk(t.Context(), address, "c/data/x", int64(len(object)), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	if err := iotest.TestReader(body, object[:100]); err != nil {
		t.Error(err)
	}
	body.Close()
	if _, err := body.Read(make([]byte, 1)); err != io.EOF {
		t.Error(err)
	}
}

func TestAHandlerThatReadsTooLittleSendsNothing(t *testing.T) {
	address := start(t, Handlers{Chunks: sending(func(_ context.Context, _ string, _, _, n int64) ([][]byte, error) {
		return [][]byte{make([]byte, n-1)}, nil
	})})
	if _, err := newTestClient(t, quick()).Chunk(t.Context(), address, "k", 10, 0, 10); err == nil {
		t.Error("no error")
	}
}

func TestAChunkThatBreaksOffIsAnErrorAndOneThatNobodyReadsWaits(t *testing.T) {
	object := make([]byte, 64<<20)
	reg := prometheus.NewRegistry()
	s := listen(t, quick(), "127.0.0.1:0", reg)
	serve(t, s, Handlers{Chunks: sending(func(_ context.Context, _ string, _, off, n int64) ([][]byte, error) {
		return [][]byte{object[off : off+n]}, nil
	})})
	p := newProxy(t, s.Addr())
	c := newTestClient(t, quick())
	open := func() io.ReadCloser {
		r, err := c.Chunk(t.Context(), p.Addr().String(), "k", int64(len(object)), 0, int64(len(object)))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := open()
	eventually(t, "nothing comes any more", func() bool {
		return c.links[p.Addr().String()].silent(time.Now().Add(-200 * time.Millisecond))
	})
	if n := gather(t, reg, "leat_peer_sent_bytes_total{server}"); n > float64(quick().Window)+1<<20 {
		t.Errorf("%v bytes were sent to a reader that does not read", n)
	}
	p.cut()
	if n, err := io.Copy(io.Discard, r); err == nil || n >= int64(len(object)) {
		t.Errorf("%d bytes, %v", n, err)
	}
	r.Close()

	r = open() // closed while it is read
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := io.Copy(io.Discard, iotest.OneByteReader(r)); err == nil {
			t.Error("all was read")
		}
	})
	r.Close()
	wg.Wait()
}

// TestAnAnswerIsItsHandlersUntilItIsTaken: who counts what answers hold counts until send returns.
func TestAnAnswerIsItsHandlersUntilItIsTaken(t *testing.T) {
	object, sent := make([]byte, 32<<20), make(chan error, 1)
	address := start(t, Handlers{Chunks: func(_ context.Context, _ string, _, _, _ int64, send func([][]byte) error) error {
		err := send([][]byte{object})
		sent <- err
		return err
	}})
	r, err := newTestClient(t, quick()).Chunk(t.Context(), address, "k", int64(len(object)), 0, int64(len(object)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, r, int64(len(object))/2); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-sent:
		t.Errorf("half of it is not taken, and send has returned: %v", err)
	default:
	}
	if n, err := io.Copy(io.Discard, r); n != int64(len(object))/2 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	r.Close()

	ctx, cancel := context.WithCancel(t.Context())
	if _, err = newTestClient(t, quick()).Chunk(ctx, address, "k", int64(len(object)), 0, int64(len(object))); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-sent; err == nil {
		t.Error("nobody took it, and send knows of no error")
	}
}

func TestAStreamThatIsGivenUpWhileItBeginsEnds(t *testing.T) {
	address, c := start(t, Handlers{}), newTestClient(t, quick())
	for range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		_, _, err := c.open(ctx, "Follow", address, func(ctx context.Context, _ peerpb.PeerClient, _ grpc.CallOption) error {
			cancel()
			return ctx.Err()
		})
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	eventually(t, "the connection is given back", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.links[address].users == 0
	})
}

func TestAStreamThatIsForgottenEndsWithItsContext(t *testing.T) {
	h := following(func(ctx context.Context, _ replica.Follow, _ func() (replica.Beat, error), _ func(replica.Push) error) error {
		<-ctx.Done()
		return ctx.Err()
	})
	h.Chunks = sending(func(context.Context, string, int64, int64, int64) ([][]byte, error) {
		return [][]byte{make([]byte, 4<<20)}, nil
	})
	address, c := start(t, h), newTestClient(t, quick())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := c.Follow(ctx, address, replica.Follow{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Chunk(ctx, address, "k", 4<<20, 0, 4<<20); err != nil {
		t.Fatal(err)
	}
	users := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.links[address].users
	}
	if users() != 2 {
		t.Fatal(users())
	}
	cancel()
	eventually(t, "the connection is given back", func() bool { return users() == 0 })
}
