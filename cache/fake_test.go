package cache

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// bucket is a source of objects made up from their names, which counts its GETs and fails or blocks as told.
type bucket struct {
	mu   sync.Mutex
	gets []string // "key off+n"

	before func(ctx context.Context, key string) error // runs before each answer; may block
	cut    int64                                       // answers that many bytes too few (or, if negative, too many)
}

// content is what the made-up object of that name holds.
func content(key string, size int64) []byte {
	h := fnv.New64a()
	h.Write([]byte(key))
	r := rand.New(rand.NewPCG(h.Sum64(), 1))
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return data
}

func (b *bucket) open(ctx context.Context, m Miss) (io.ReadCloser, error) {
	b.mu.Lock()
	b.gets = append(b.gets, fmt.Sprintf("%s %d+%d", m.Key, m.Off, m.N))
	b.mu.Unlock()
	if b.before != nil {
		if err := b.before(ctx, m.Key); err != nil {
			return nil, err
		}
	}
	return io.NopCloser(bytes.NewReader(content(m.Key, 1<<12)[m.Off : m.Off+m.N-b.cut])), nil
}

// asked answers the GETs so far and forgets them.
func (b *bucket) asked() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	gets := b.gets
	b.gets = nil
	return gets
}

// small is a cache of 64-byte chunks, with room for some 50 of them in the tail's window.
func small() Config {
	cfg := Default()
	cfg.ChunkBytes = 64
	cfg.MaxGetBytes = 4 * 64
	cfg.MemoryBytes = 200 * (64 + chunkOverhead)
	cfg.BackfillBytesPerSecond = 0
	cfg.DiskBytes = 4 << 20
	return cfg
}

func open(t testing.TB, cfg Config, source Source) *Cache {
	t.Helper()
	c, err := Open(cfg, source, slog.New(slog.NewTextHandler(t.Output(), nil)), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// read reads and compares with what the object holds.
func read(t testing.TB, c *Cache, key string, size, off, n int64, class Class) {
	t.Helper()
	parts, err := c.Read(t.Context(), key, size, off, n, class)
	if err != nil {
		t.Fatalf("read %s %d+%d: %v", key, off, n, err)
	}
	if got, want := bytes.Join(parts, nil), content(key, 1<<12)[off:off+n]; !bytes.Equal(got, want) {
		t.Fatalf("read %s %d+%d: wrong bytes", key, off, n)
	}
}

// settle waits until ristretto and the disk's writer did what they were given.
func settle(c *Cache) {
	c.admission.Lock()
	c.memory.settle()
	c.admission.Unlock()
	if c.disk != nil {
		c.disk.drop("no such object", 0)()
	}
}
