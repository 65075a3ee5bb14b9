package fetch

import (
	"context"
	"testing"

	"github.com/leat-stream/leat/agent/batch"
)

// BenchmarkFetch answers 1 MiB of batches out of cached chunks of 1 MiB, or of parts as producers sent them.
func BenchmarkFetch(b *testing.B) {
	for _, c := range []struct {
		name    string
		records int // of 1 KiB, in a batch
		part    int64
	}{
		{"batches of 16 KiB", 16, mib},
		{"batches of 1 KiB", 1, mib},
		{"batches of 16 KiB, parts of 16 KiB", 16, 16 << 10},
		{"batches of 16 KiB, parts of 100 KiB", 16, 100 << 10},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := newWorld(b)
			w.chunk = c.part
			var batches []batch.View
			for size := 0; size < 2*mib; size += len(batches[0]) {
				batches = append(batches, plainBatch(b, c.records, 1<<10, 1))
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
