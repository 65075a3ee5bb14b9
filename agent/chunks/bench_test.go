package chunks

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strconv"
	"testing"

	"github.com/leat-stream/leat/agent/peer"
	"github.com/leat-stream/leat/cache"
	"github.com/leat-stream/leat/objectstore/mem"
)

// BenchmarkMiss reads what the agent's cache has not, of n bytes at a time: from a bucket that costs nothing, and from a
// peer that has it in memory, which is asked by a call of a function or over gRPC.
func BenchmarkMiss(b *testing.B) {
	for _, n := range []int64{64 << 10, 1 << 20, 8 << 20} {
		data := make([]byte, n)
		bucket := func(context.Context, cache.Miss) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(data)), nil
		}
		held := memory{data}
		for name, way := range map[string]func(*testing.B) cache.Source{
			"bucket": func(b *testing.B) cache.Source { return bucket },
			"owned":  func(b *testing.B) cache.Source { return benchReader(b, bucket, "", nil) },
			"peer":   func(b *testing.B) cache.Source { return benchReader(b, bucket, "peer", held) },
			"grpc":   func(b *testing.B) cache.Source { return benchReader(b, bucket, "", held) },
		} {
			b.Run(name+"/"+strconv.Itoa(int(n>>10))+"KiB", func(b *testing.B) {
				source := way(b)
				b.SetBytes(n)
				b.ReportAllocs()
				for b.Loop() {
					body, err := source(b.Context(), cache.Miss{Key: objectKey(99, 1), Size: n, N: n})
					if err != nil {
						b.Fatal(err)
					}
					got := make([]byte, n) // what the cache keeps
					if _, err := io.ReadFull(body, got); err != nil {
						b.Fatal(err)
					}
					_ = body.Close()
				}
			})
		}
	}
}

// memory is a peer that has everything.
type memory struct{ data []byte }

func (m memory) ReadOrigin(_ context.Context, _ string, _, off, n int64, _ cache.Class) ([][]byte, error) {
	return [][]byte{m.data[off : off+n]}, nil
}

func (m memory) Chunk(_ context.Context, _, _ string, _, off, n int64, _ cache.Class) (io.ReadCloser, error) {
	return body(m.data[off : off+n]), nil
}

// owner is who owns everything, "" for oneself.
type owner string

func (owner) Writer([16]byte) (string, bool, bool) { return "", false, false }

func (o owner) ChunkOwner(string, int64) (string, bool, bool) { return string(o), o == "", true }

// benchReader reads from held, over gRPC if no peer is named, or from the bucket if there is none.
func benchReader(b *testing.B, bucket cache.Source, name string, held Cache) cache.Source {
	b.Helper()
	var p Peer
	if m, ok := held.(memory); ok && name != "" {
		p = m
	} else if ok {
		p, name = benchPeer(b, m)
	}
	cfg := Default()
	cfg.MinPatience, cfg.MaxPatience, cfg.PeerTimeout = unhurried, unhurried, unhurried
	r, err := New(cfg, Deps{Keys: keys, Owners: owner(name), Peer: p, Bucket: bucket, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	return r.Source
}

func benchPeer(b *testing.B, held Cache) (Peer, string) {
	b.Helper()
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	secret, err := peer.LoadSecret(b.Context(), mem.New(), keys, [16]byte{1})
	must(err)
	server, err := NewServer(Default(), keys, held, nil)
	must(err)
	s, err := peer.NewServer(peer.Default(), secret, slog.New(slog.DiscardHandler), nil)
	must(err)
	must(s.Listen(b.Context(), "127.0.0.1:0"))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(ctx, peer.Handlers{Chunks: server.Chunks})
	}()
	b.Cleanup(func() {
		cancel()
		<-done
	})
	client, err := peer.NewClient(peer.Default(), secret, nil)
	must(err)
	b.Cleanup(client.Close)
	return Over(client), s.Addr()
}
