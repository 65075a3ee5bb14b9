package chunks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"

	header "google.golang.org/grpc/metadata"

	"github.com/leat-stream/leat/agent/peer"
	"github.com/leat-stream/leat/cache"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/objectstore"
)

// overGRPC makes the agents of a cluster call each other over gRPC.
func overGRPC(t testing.TB, c *cluster) {
	t.Helper()
	secret, err := peer.LoadSecret(context.Background(), c.store, keys, [16]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	addresses := map[string]string{}
	ctx, cancel := context.WithCancel(context.Background())
	var servers sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		servers.Wait()
	})
	for name, a := range c.agents {
		s, err := peer.NewServer(peer.Default(), secret, log, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Listen(ctx, "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		addresses[name] = s.Addr()
		servers.Go(func() { _ = s.Serve(ctx, peer.Handlers{Chunks: a.server.Chunks}) })
	}
	client, err := peer.NewClient(peer.Default(), secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	over := Over(client)
	c.network = func(ctx context.Context, to string, m cache.Miss) (io.ReadCloser, error) {
		return over.Chunk(ctx, addresses[to], m.Key, m.Size, m.Off, m.N, m.Class)
	}
}

func TestAgentsReadTogetherOverGRPC(t *testing.T) {
	for class, name := range classNames {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, func(c *cluster) {
				c.cfg.MinPatience, c.cfg.MaxPatience, c.cfg.PeerTimeout = unhurried, unhurried, unhurried
			})
			c.add("", "a", "b", "c")
			overGRPC(t, c)
			keys := append(someKeys(99, 2), someKeys(c.agents["b"].session, 2)...)
			c.put(keys...)
			for _, key := range keys[2:] {
				c.agents["b"].cache.Put(key, [][]byte{content(key)})
			}
			consume(c, cache.Class(class), keys...)
			if _, n := c.total(); n != 2*objectBytes {
				t.Errorf("%d bytes of the bucket, want %d", n, 2*objectBytes)
			}
			var served float64
			for _, a := range c.agents {
				served += counted(t, a.server.metrics.bytes[class])
			}
			if served == 0 {
				t.Error("no bytes are counted for the class")
			}
		})
	}
}

func TestErrorsArriveOverGRPC(t *testing.T) {
	c := newCluster(t)
	c.add("", "a")
	a := c.agents["a"]
	overGRPC(t, c)
	ask := func(key string) error {
		_, err := c.network(t.Context(), "a", cache.Miss{Key: key, Size: objectBytes, N: 10})
		return err
	}
	if err := ask(objectKey(99, 1)); !errors.Is(err, objectstore.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if err := ask("test/head"); err == nil || errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), ErrRefused.Error()) {
		t.Errorf("got %v", err)
	}
	g := &a.server.gates[cache.Tail]
	g.waiting.Add(1 << 20)
	for range cap(g.slots) {
		g.slots <- struct{}{}
	}
	if err := ask(objectKey(99, 1)); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v", err)
	}
}

func TestClassThatIsNotKnownIsRefused(t *testing.T) {
	c := newCluster(t)
	c.add("", "a")
	key := objectKey(99, 1)
	c.put(key)
	for said, want := range map[string]error{"": nil, "tail": nil, "backfill": nil, "Tail": ErrRefused, strings.Repeat("x", 1000): ErrRefused} {
		ctx := t.Context()
		if said != "" {
			ctx = header.NewIncomingContext(ctx, header.Pairs(classHeader, said))
		}
		var got []byte
		err := c.agents["a"].server.Chunks(ctx, key, objectBytes, 0, 10, func(parts [][]byte) error {
			got = bytes.Join(parts, nil)
			return nil
		})
		if !errors.Is(err, want) || want == nil && !bytes.Equal(got, content(key)[:10]) {
			t.Errorf("%.10q: %v", said, err)
		}
	}
}

func TestAgentThatIsNotAvailableIsBusy(t *testing.T) {
	var t1 transport = func() error { return fmt.Errorf("starting: %w", metadata.ErrUnavailable) }
	if _, err := Over(t1).Chunk(t.Context(), "a", "k", 1, 0, 1, cache.Tail); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	t1 = func() error { return errGone }
	if _, err := Over(t1).Chunk(t.Context(), "a", "k", 1, 0, 1, cache.Tail); !errors.Is(err, errGone) || errors.Is(err, ErrBusy) {
		t.Error(err)
	}
}

// transport fails.
type transport func() error

func (t transport) Chunk(context.Context, string, string, int64, int64, int64) (io.ReadCloser, error) {
	return nil, t()
}
