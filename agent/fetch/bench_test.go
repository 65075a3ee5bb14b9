package fetch

import (
	"context"
	"testing"

	"github.com/leat-stream/leat/agent/batch"
)

// BenchmarkFetch answers 1 MiB of 16 KiB batches, or of 1 KiB ones, out of cached chunks of 1 MiB.
func BenchmarkFetch(b *testing.B) {
	for name, records := range map[string]int{"batches of 16 KiB": 16, "batches of 1 KiB": 1} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			w.chunk = mib
			var batches []batch.View
			for size := 0; size < 2*mib; size += len(batches[0]) {
				batches = append(batches, plainBatch(b, records, 1<<10, 1))
			}
			w.put(run{a0, batches})
			f := w.fetcher()
			req := Request{Partitions: []Want{want(a0, 0, mib)}, MaxBytes: mib}
			b.SetBytes(mib)
			b.ReportAllocs()
			for b.Loop() {
				w.asked = w.asked[:0]
				if got := f.Fetch(context.Background(), req); got[0].Err != nil || got[0].Records.Size() < mib-20<<10 {
					b.Fatal(got[0].Err, got[0].Records.Size())
				}
			}
		})
	}
}
