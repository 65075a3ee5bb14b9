package etcd

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/journal/bolt"
)

// BenchmarkAppend tells how long one append takes, one after the other as a term's are, beside a bbolt file on the same disk.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []struct {
		name  string
		bytes int
	}{{"1KiB", 1 << 10}, {"64KiB", 64 << 10}, {"1MiB", 1 << 20}} {
		b.Run("etcd/"+size.name, func(b *testing.B) {
			j, err := open(b.Context(), config())
			if err != nil {
				b.Fatal(err)
			}
			defer j.Close()
			appends(b, j, size.bytes)
		})
		b.Run("bolt/"+size.name, func(b *testing.B) {
			j, err := bolt.Open(filepath.Join(b.TempDir(), "journal"))
			if err != nil {
				b.Fatal(err)
			}
			defer j.Close()
			appends(b, j, size.bytes)
		})
	}
}

func appends(b *testing.B, j journal.Journal, size int) {
	term, err := j.Lead(b.Context(), 0, nil)
	if err != nil {
		b.Fatal(err)
	}
	body := make([]byte, size)
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		if _, err := term.Append(b.Context(), body); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	for name, at := range map[string]int{"p50-µs": len(took) / 2, "p99-µs": len(took) * 99 / 100} {
		b.ReportMetric(float64(took[at].Nanoseconds())/1000, name)
	}
	b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "appends/s")
}
