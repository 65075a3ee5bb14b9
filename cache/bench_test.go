package cache

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"
)

// zeros answers any range of any object.
func zeros(_ context.Context, m Miss) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(make([]byte, m.N))), nil
}

const benchKey = "cluster/data/00112233445566778899aabbccddeeff/0000000000000001-1"

func BenchmarkHitJustWritten(b *testing.B) {
	c := open(b, Default(), zeros)
	c.Put(benchKey, [][]byte{make([]byte, 8<<20)})
	benchmarkRead(b, c, 8<<20)
}

func BenchmarkHitRistretto(b *testing.B) {
	c := open(b, Default(), zeros)
	c.Put(benchKey, [][]byte{make([]byte, 8<<20)})
	for i := range 10 {
		c.Put(fmt.Sprint(i), [][]byte{make([]byte, 8<<20)})
	}
	settle(c)
	benchmarkRead(b, c, 8<<20)
}

// benchmarkRead reads 64 KiB at a time.
func benchmarkRead(b *testing.B, c *Cache, size int64) {
	b.ReportAllocs()
	b.SetBytes(64 << 10)
	off := int64(0)
	for b.Loop() {
		if _, err := c.Read(context.Background(), benchKey, size, off, 64<<10, Tail); err != nil {
			b.Fatal(err)
		}
		off = (off + 64<<10) % (size - 64<<10)
	}
}

// BenchmarkCompact is what moves an object of many small batches from the window to the lower tiers.
func BenchmarkCompact(b *testing.B) {
	var parts [][]byte
	for range 64 {
		parts = append(parts, make([]byte, 16<<10))
	}
	c := split(benchKey, parts, 1<<20)[0]
	b.ReportAllocs()
	b.SetBytes(c.size)
	for b.Loop() {
		c.compact()
	}
}

func BenchmarkHitParallel(b *testing.B) {
	c := open(b, Default(), zeros)
	c.Put(benchKey, [][]byte{make([]byte, 8<<20)})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Read(context.Background(), benchKey, 8<<20, 3<<20, 64<<10, Tail); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkMissOneChunk(b *testing.B) {
	c := open(b, Default(), zeros)
	b.ReportAllocs()
	b.SetBytes(1 << 20)
	i := 0
	for b.Loop() {
		i++
		if _, err := c.Read(context.Background(), fmt.Sprint(i), 1<<20, 0, 1<<20, Tail); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHitDisk(b *testing.B) {
	cfg := Default()
	cfg.Dir = b.TempDir()
	c := open(b, cfg, zeros)
	for i := range 12 {
		c.Put(fmt.Sprint(i), [][]byte{make([]byte, 8<<20)})
		settle(c)
	}
	b.ReportAllocs()
	b.SetBytes(1 << 20)
	for b.Loop() {
		if found, err := c.disk.lookupOne(chunkID{"0", 3}, 1<<20); found == nil || err != nil {
			b.Fatal("not on disk", err)
		}
	}
}

func BenchmarkWriteDisk(b *testing.B) {
	cfg := Default()
	cfg.Dir = b.TempDir()
	cfg.DiskBytes = 1 << 30
	c := open(b, cfg, zeros)
	data := make([]byte, 8<<20)
	b.SetBytes(int64(len(data)))
	i := 0
	for b.Loop() {
		i++
		c.Put(fmt.Sprint(i), [][]byte{data})
		settle(c)
	}
}
