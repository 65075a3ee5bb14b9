package cache

import (
	"errors"
	"fmt"
)

// Config says how much the cache may hold and how hard it may ask the bucket. All sizes are bytes.
type Config struct {
	// Dir is the folder of the disk tier; it belongs to one process. Empty: no disk tier.
	Dir string
	// MemoryBytes bounds what the cache holds in memory: 1/4 for what was just written or read at the tail, 1/8 for
	// back-fill, 1/16 each for the disk queue and for chunks on their way into ristretto, the rest for ristretto.
	// Not in it: GETs under way (TailGets + BackfillGets + those for other caches, of MaxGetBytes each) and what readers
	// still refer to.
	MemoryBytes int64
	// DiskBytes bounds the files of the disk tier. Ignored without Dir.
	DiskBytes int64
	// ChunkBytes is the size of an aligned chunk; the last one of an object is shorter.
	ChunkBytes int64
	// MaxGetBytes is the length of the aligned stretches of an object that one ranged GET stays within, rounded down to
	// whole chunks; at least one chunk.
	MaxGetBytes int64
	// TailGets and BackfillGets bound the GETs of each class under way for readers of this agent. Further ones wait their turn.
	TailGets, BackfillGets int
	// BackfillBytesPerSecond paces back-fill GETs; 0 means not paced.
	BackfillBytesPerSecond int64
}

// Default answers the configuration of an agent that was told nothing: memory only.
func Default() Config {
	return Config{
		MemoryBytes:            256 << 20,
		DiskBytes:              10 << 30,
		ChunkBytes:             1 << 20,
		MaxGetBytes:            8 << 20,
		TailGets:               32,
		BackfillGets:           4,
		BackfillBytesPerSecond: 256 << 20,
	}
}

// Smallest budgets, in chunks: below them a share of the budget could not hold a single chunk.
const (
	minMemoryChunks = 32
	minDiskChunks   = 64
)

// Validate answers every mistake at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("cache: "+format, args...)) }
	if c.ChunkBytes < 1 || c.ChunkBytes > 64<<20 {
		bad("chunk size %d: must be 1 byte to 64 MiB", c.ChunkBytes)
		return errors.Join(errs...)
	}
	if least := minMemoryChunks * (c.ChunkBytes + chunkOverhead); c.MemoryBytes < least {
		bad("memory budget of %d bytes is too small for chunks of %d: at least %d", c.MemoryBytes, c.ChunkBytes, least)
	}
	if least := minDiskChunks*c.ChunkBytes + minGeneration*generations; c.Dir != "" && c.DiskBytes < least {
		bad("disk budget of %d bytes is too small for chunks of %d: at least %d", c.DiskBytes, c.ChunkBytes, least)
	}
	if c.MaxGetBytes < c.ChunkBytes || c.MaxGetBytes > 1<<30 {
		bad("largest GET of %d bytes: must be one chunk to 1 GiB", c.MaxGetBytes)
	}
	if c.TailGets < 1 || c.BackfillGets < 1 {
		bad("at least one GET of each class must be allowed, not %d and %d", c.TailGets, c.BackfillGets)
	}
	if c.BackfillBytesPerSecond < 0 {
		bad("back-fill rate of %d bytes per second is negative", c.BackfillBytesPerSecond)
	}
	return errors.Join(errs...)
}
