package cache

import (
	"fmt"

	"github.com/dgraph-io/ristretto/v2"
)

// memory is the large, lossy memory tier. Ristretto admits by frequency of use and applies Set some time later or not at
// all: it may lose a chunk at any moment and is never asked for truth, only spared GETs.
//
// add, drop and close are called under the cache's admission lock, which guards pending; get may be called by anyone.
type memory struct {
	cache   *ristretto.Cache[uint64, *chunk]
	pending int64 // bytes handed to Set since the last Wait
	limit   int64 // of pending: ristretto's own queue is bounded by count only, and 32 Ki chunks are too many
}

func newMemory(budget, pending, chunkBytes int64, evicted func()) (*memory, error) {
	chunks := max(budget/(chunkBytes/8+chunkOverhead), 64) // most chunks of small objects are far from full
	cache, err := ristretto.NewCache(&ristretto.Config[uint64, *chunk]{
		NumCounters: 10 * min(chunks, 1<<24),
		MaxCost:     budget,
		BufferItems: 64,
		OnEvict:     func(*ristretto.Item[*chunk]) { evicted() },
	})
	if err != nil {
		return nil, fmt.Errorf("cache: memory tier: %w", err)
	}
	return &memory{cache: cache, limit: pending}, nil
}

// get answers the chunk, or nil, and counts the use. A chunk with the same hash but another id is a miss.
func (m *memory) get(id chunkID) *chunk {
	if c, ok := m.cache.Get(id.hash()); ok && c != nil && c.id == id {
		return c
	}
	return nil
}

// touch counts a use of a chunk that a window served, so that ristretto knows its worth when it falls out of there.
func (m *memory) touch(id chunkID) { m.cache.Get(id.hash()) }

// add offers a whole chunk. It waits for ristretto when too many bytes are on their way.
func (m *memory) add(c *chunk) {
	m.cache.Set(c.id.hash(), c, c.charge())
	if m.pending += c.charge(); m.pending >= m.limit {
		m.settle()
	}
}

// settle waits until everything that was added is either in or refused.
func (m *memory) settle() {
	m.cache.Wait()
	m.pending = 0
}

// drop forgets a chunk; the caller has settled, so that none is on its way in.
func (m *memory) drop(id chunkID) { m.cache.Del(id.hash()) }

// held answers the bytes charged now.
func (m *memory) held() int64 { return m.cache.MaxCost() - m.cache.RemainingCost() }

func (m *memory) close() { m.cache.Close() }
