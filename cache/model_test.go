package cache

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// TestAnyMixOfCallsAnswersTheBytesOfTheObject compares the cache with a plain map of objects.
func TestAnyMixOfCallsAnswersTheBytesOfTheObject(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := small()
		cfg.MemoryBytes = 72 * (64 + chunkOverhead) // the window just holds the largest object
		if rapid.Bool().Draw(t, "disk") {
			dir, err := os.MkdirTemp("", "cache")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = os.RemoveAll(dir) }()
			cfg.Dir = dir
		}
		b := &bucket{}
		start := func() *Cache {
			c, err := Open(cfg, b.open, slog.Default(), nil)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		c := start()
		defer func() { _ = c.Close() }()
		sizes := map[string]int64{}
		for i := range 12 {
			sizes[fmt.Sprint("o", i)] = int64(1 + i*i*7)
		}
		key := rapid.Custom(func(t *rapid.T) string { return fmt.Sprint("o", rapid.IntRange(0, 11).Draw(t, "object")) })
		t.Repeat(map[string]func(*rapid.T){
			"read": func(t *rapid.T) {
				k := key.Draw(t, "key")
				off := rapid.Int64Range(0, sizes[k]).Draw(t, "off")
				n := rapid.Int64Range(0, sizes[k]-off).Draw(t, "n")
				parts, err := c.Read(t.Context(), k, sizes[k], off, n, Class(rapid.IntRange(0, 1).Draw(t, "class")))
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(bytes.Join(parts, nil), content(k, 1<<12)[off:off+n]) {
					t.Fatalf("wrong bytes of %s", k)
				}
				if held := c.windows[Tail].held() + c.windows[Backfill].held() + c.memory.held(); held > cfg.MemoryBytes {
					t.Fatalf("%d bytes held", held)
				}
			},
			"put and read without GET": func(t *rapid.T) {
				k := key.Draw(t, "key")
				data := content(k, 1<<12)[:sizes[k]]
				cut := rapid.IntRange(0, len(data)).Draw(t, "cut")
				c.Put(k, [][]byte{data[:cut], data[cut:]})
				b.asked()
				if _, err := c.Read(t.Context(), k, sizes[k], 0, sizes[k], Tail); err != nil {
					t.Fatal(err)
				}
				if got := b.asked(); len(got) != 0 {
					t.Fatalf("asked %v", got)
				}
			},
			"drop": func(t *rapid.T) {
				k := key.Draw(t, "key")
				c.Drop(k, sizes[k])
				b.asked()
				if _, err := c.Read(t.Context(), k, sizes[k], 0, 1, Tail); err != nil {
					t.Fatal(err)
				}
				if got := b.asked(); len(got) != 1 {
					t.Fatalf("asked %v after drop", got)
				}
			},
			"open again": func(t *rapid.T) {
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
				c = start()
			},
		})
	})
}

// TestManyAtOnce is for the race detector: readers of both classes, writers and droppers on the same objects.
func TestManyAtOnce(t *testing.T) {
	c := open(t, withDisk(t), (&bucket{}).open)
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 200 {
				k := fmt.Sprint("o", (i*7+g)%60)
				switch {
				case i%11 == 0:
					c.Put(k, [][]byte{content(k, 1<<12)[:700]})
				case i%37 == 0:
					c.Drop(k, 700)
				default:
					off := int64(i*13) % 600
					parts, err := c.Read(t.Context(), k, 700, off, 100, Class(g%2))
					if err != nil || !bytes.Equal(bytes.Join(parts, nil), content(k, 1<<12)[off:off+100]) {
						t.Errorf("read %s at %d: %v", k, off, err)
					}
				}
			}
		})
	}
	all.Wait()
}
