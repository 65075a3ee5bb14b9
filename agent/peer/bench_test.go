package peer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/leat-stream/leat/metadata/replica"
)

// cpu is the CPU time that this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkChunk reads chunks over one connection, both ends in this process, so CPU is that of both.
func BenchmarkChunk(b *testing.B) {
	const size = 1 << 20
	object := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	address := start(b, Handlers{Chunks: sending(func(_ context.Context, _ string, _, off, n int64) ([][]byte, error) {
		return [][]byte{object[off : off+n]}, nil
	})})
	c := newTestClient(b, quick())
	for _, readers := range []int{1, 8} {
		b.Run(fmt.Sprintf("%d-at-once", readers), func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			before := cpu(b)
			work := make(chan struct{})
			var wg sync.WaitGroup
			for range readers {
				wg.Go(func() {
					chunk := make([]byte, size)
					for range work {
						r, err := c.Chunk(context.Background(), address, "k", size, 0, size)
						if err != nil {
							b.Error(err)
							continue
						}
						if _, err := io.ReadFull(r, chunk); err != nil {
							b.Error(err)
						}
						r.Close()
					}
				})
			}
			for b.Loop() {
				work <- struct{}{}
			}
			close(work)
			wg.Wait()
			b.ReportMetric((cpu(b)-before).Seconds()/(float64(b.N)*size/(1<<30)), "cpu-s/GiB")
		})
	}
}

// BenchmarkPropose makes proposals of 1 KiB that are answered at once.
func BenchmarkPropose(b *testing.B) {
	address := start(b, Handlers{Replica: &fakeReplica{propose: func(context.Context, replica.Proposal) (replica.Proposed, error) {
		return replica.Proposed{Index: 1, Results: make([]byte, 64)}, nil
	}}})
	c := newTestClient(b, quick())
	commands := make([]byte, 1<<10)
	b.ReportAllocs()
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		if _, err := c.Propose(context.Background(), address, replica.Proposal{Commands: commands}); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
