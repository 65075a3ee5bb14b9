package chunks

import (
	"errors"
	"fmt"
	"time"
)

// Config says how an agent reads with others of its zone.
type Config struct {
	// RegionBytes is the size of the aligned part of an object that one agent owns, in bytes, and the most that is asked of a
	// peer at once. It must be the same for all agents, and a multiple of the cache's MaxGetBytes, so that no miss has two
	// owners; else more is read from the bucket than need be.
	RegionBytes int64
	// MinPatience and MaxPatience bound how long a peer may give no byte before the bucket is asked too. Between them it is
	// PatienceFactor times what a read from the bucket usually takes. Reads of old data wait MaxPatience: they are paced.
	MinPatience, MaxPatience time.Duration
	PatienceFactor           int
	// PeerTimeout is the longest that a peer may take for a whole answer.
	PeerTimeout time.Duration
	// Avoid is how long a peer is not asked after it failed; doubled with each further failure, up to sixteen times.
	Avoid time.Duration
	// ServeTail and ServeBackfill bound the reads on behalf of peers at a time, by class. Four times as many may wait; any more
	// are refused with ErrBusy.
	ServeTail, ServeBackfill int
	// ServeBytes bounds the bytes of answers to peers, from before they are read until they are sent; a quarter of it is for reads of old
	// data. At least four regions.
	ServeBytes int64
}

// Within answers c with ServeBytes for an agent whose cache holds so many bytes in memory: a quarter of them, which for most answers are the
// same bytes.
func (c Config) Within(cacheBytes int64) Config {
	c.ServeBytes = max(cacheBytes/4, backfillShare*c.RegionBytes)
	return c
}

// Default answers the configuration of an agent that was told nothing. A region is as large as the cache's largest GET, and
// as a usual object.
func Default() Config {
	return Config{
		RegionBytes: 8 << 20,
		MinPatience: 50 * time.Millisecond, MaxPatience: time.Second, PatienceFactor: 4,
		PeerTimeout: 10 * time.Second,
		Avoid:       time.Second,
		ServeTail:   32, ServeBackfill: 4, ServeBytes: 64 << 20,
	}
}

// Validate answers every mistake at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("chunks: "+format, args...)) }
	if c.RegionBytes < 1 || c.RegionBytes > 1<<30 {
		bad("region of %d bytes: must be 1 byte to 1 GiB", c.RegionBytes)
	}
	if c.MinPatience <= 0 || c.MaxPatience < c.MinPatience || c.PatienceFactor < 1 {
		bad("patience of %d times the bucket's, %v to %v: must be positive and in order", c.PatienceFactor, c.MinPatience, c.MaxPatience)
	}
	if c.PeerTimeout < c.MaxPatience {
		bad("peer timeout %v is below the longest patience %v", c.PeerTimeout, c.MaxPatience)
	}
	if c.Avoid <= 0 {
		bad("a peer that failed must be avoided for some time, not %v", c.Avoid)
	}
	if c.ServeTail < 1 || c.ServeBackfill < 1 {
		bad("at least one read of each class must be served, not %d and %d", c.ServeTail, c.ServeBackfill)
	}
	if c.ServeBytes < backfillShare*c.RegionBytes {
		bad("%d bytes for answers to peers: must be at least %d regions of %d", c.ServeBytes, backfillShare, c.RegionBytes)
	}
	return errors.Join(errs...)
}
