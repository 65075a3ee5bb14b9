package produce

import (
	"context"
	"log/slog"
	"testing"

	"github.com/leat-stream/leat/agent/batch"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/mem"
)

// BenchmarkAcceptToAck has 16 requests of one 16 KiB batch in flight, over a store and a metadata that take no time.
func BenchmarkAcceptToAck(b *testing.B) {
	w := newWorld(b)
	cfg := Default()
	cfg.EarlyPuts = -1
	p, err := New(cfg, Deps{
		Session: w, Store: discard{mem.New()}, Keys: w.keys, Cluster: cluster, Recent: nobody{}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	run(b, p)
	builder := batch.NewBuilder(batch.Options{})
	for range 16 {
		builder.Append(1000, nil, make([]byte, 1<<10))
	}
	v, err := builder.Build()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(v)))
	b.ReportAllocs()
	flight := make(chan *Pending, 16)
	for b.Loop() {
		pending, err := p.Accept(context.Background(), []Part{part(a0, v)})
		if err != nil {
			b.Fatal(err)
		}
		if len(flight) == cap(flight) {
			if got, err := (<-flight).Wait(context.Background()); err != nil || got[0].Err != nil || got[0].Code != state.CodeOK {
				b.Fatal(got, err)
			}
		}
		flight <- pending
	}
}

// discard keeps nothing.
type discard struct{ *mem.Store }

func (discard) Put(context.Context, string, objectstore.Body, objectstore.Condition) (objectstore.Version, error) {
	return "v", nil
}

type nobody struct{}

func (nobody) Put(string, [][]byte) {}
