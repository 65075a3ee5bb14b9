package produce

import (
	"context"
	"encoding/binary"
	"log/slog"
	"math"
	"slices"
	"testing"

	"github.com/leat-stream/leat/agent/batch"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/mem"
)

// BenchmarkAcceptToAck has 16 requests of one 16 KiB batch in flight, over a store and a metadata that take no time.
func BenchmarkAcceptToAck(b *testing.B) {
	b.Run("plain", func(b *testing.B) { acceptToAck(b, nil) })
	// One producer, in order, at one agent: what keeps its order across agents must cost nothing then.
	b.Run("idempotent", func(b *testing.B) { acceptToAck(b, &batch.Producer{ID: 7}) })
}

func acceptToAck(b *testing.B, producer *batch.Producer) {
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
	builder := batch.NewBuilder(batch.Options{Producer: producer})
	for range 16 {
		builder.Append(1000, nil, make([]byte, 1<<10))
	}
	built, err := builder.Build()
	if err != nil {
		b.Fatal(err)
	}
	var batches [32]batch.View // twice what is in flight
	for i := range batches {
		batches[i] = slices.Clone(built)
	}
	b.SetBytes(int64(len(built)))
	b.ReportAllocs()
	flight := make(chan *Pending, 16)
	for i := 0; b.Loop(); i++ {
		v := batches[i%len(batches)]
		if producer != nil {
			binary.BigEndian.PutUint32(v[53:], uint32(16*i)&math.MaxInt32) // base sequence
			binary.BigEndian.PutUint32(v[17:], v.ComputeCRC())
		}
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

// pass lets one item through the buffer, as the newest of many that are on their way.
func pass(b *buffer, it item) {
	_ = b.add(context.Background(), []item{it})
	b.release(b.take(1))
}

// TestOrderCostsNoAllocation: what comes in order at one agent pays for the order across agents with two map entries only.
func TestOrderCostsNoAllocation(t *testing.T) {
	allocs := func(it item) float64 {
		b := newBuffer(1 << 30)
		_ = b.add(context.Background(), slices.Repeat([]item{it}, 100))
		return testing.AllocsPerRun(1000, func() { pass(b, it) })
	}
	plain := item{tp: a0, bytes: make([]byte, 10), batch: state.Batch{Count: 1, ProducerID: -1}}
	idempotent := plain
	idempotent.batch.ProducerID = 7
	if a, b := allocs(plain), allocs(idempotent); a != b {
		t.Errorf("%v allocations for a plain batch, %v for an idempotent one", a, b)
	}
}

// BenchmarkOrder is what the buffer costs a batch, without and with a producer whose order it keeps.
func BenchmarkOrder(b *testing.B) {
	for name, producer := range map[string]int64{"plain": -1, "idempotent": 7} {
		b.Run(name, func(b *testing.B) {
			it := item{tp: a0, bytes: make([]byte, 10), batch: state.Batch{Count: 1, ProducerID: producer}}
			buf := newBuffer(1 << 30)
			var before []item // one is always on its way, and not in the state
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				it.batch.FirstSequence, it.lacks = int32(i), i > 0
				_ = buf.add(context.Background(), []item{it})
				taken := buf.take(1)
				buf.release(before)
				before = taken
			}
		})
	}
}
