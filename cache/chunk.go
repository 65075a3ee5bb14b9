package cache

import (
	"sort"

	"github.com/cespare/xxhash/v2"
)

// chunkOverhead is what a chunk is charged on top of its bytes, and partOverhead each further part of it: structs, map
// slots and slice headers, rounded up. Without it, a cache of tiny objects would hold several times its budget.
const (
	chunkOverhead = 256
	partOverhead  = 32
)

// chunkID names the chunk of an object that begins at index × ChunkBytes.
type chunkID struct {
	key   string
	index int64
}

// hash mixes the id into 64 bits for ristretto. Users compare the whole id: two ids may share a hash.
func (id chunkID) hash() uint64 {
	h := xxhash.Sum64String(id.key) + uint64(id.index)*0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// chunk is immutable once it is published, and shared by all who read it.
//
//	parts:  [.......][...][...........]
//	ends:           7   10            21 = size
type chunk struct {
	id    chunkID
	parts [][]byte
	ends  []int64 // where each part ends, in bytes from the chunk's begin; nil if there is one part
	size  int64   // bytes
	// whole: parts is one slice with an array of its own, so holding the chunk holds nothing else.
	whole bool
	// stored: it came from a disk generation that is not about to be dropped; it need not be written again.
	stored bool
}

// newChunk makes a chunk of data, which is its own array and may not change any more.
func newChunk(id chunkID, data []byte) *chunk {
	return &chunk{id: id, parts: [][]byte{data}, size: int64(len(data)), whole: true}
}

// charge is what the chunk costs of a memory budget, in bytes.
func (c *chunk) charge() int64 { return c.size + chunkOverhead + int64(len(c.ends))*partOverhead }

// appendTo appends the bytes [from, to) of the chunk to dst, as slices, without copying them.
func (c *chunk) appendTo(dst [][]byte, from, to int64) [][]byte {
	if c.ends == nil {
		return append(dst, c.parts[0][from:to:to])
	}
	i := sort.Search(len(c.ends), func(i int) bool { return c.ends[i] > from })
	for begin := int64(0); i < len(c.parts); i++ {
		if begin = c.ends[i] - int64(len(c.parts[i])); begin >= to {
			break
		}
		lo, hi := max(from-begin, 0), min(to-begin, int64(len(c.parts[i])))
		dst = append(dst, c.parts[i][lo:hi:hi])
	}
	return dst
}

// compact answers a chunk with the same bytes that holds no memory but its own.
func (c *chunk) compact() *chunk {
	if c.whole {
		return c
	}
	data := make([]byte, 0, c.size)
	for _, p := range c.parts {
		data = append(data, p...)
	}
	return newChunk(c.id, data)
}

// split cuts the parts of an object into chunks that refer to them. Empty parts vanish; no bytes, no chunks.
func split(key string, parts [][]byte, chunkBytes int64) []*chunk {
	var chunks []*chunk
	var current *chunk
	for _, p := range parts {
		for len(p) > 0 {
			if current == nil || current.size == chunkBytes {
				current = &chunk{id: chunkID{key, int64(len(chunks))}}
				chunks = append(chunks, current)
			}
			n := min(int64(len(p)), chunkBytes-current.size)
			current.size += n
			current.parts = append(current.parts, p[:n:n])
			current.ends = append(current.ends, current.size)
			p = p[n:]
		}
	}
	for _, c := range chunks {
		if len(c.parts) == 1 {
			c.ends = nil
		}
	}
	return chunks
}

// chunkLength is the length in bytes of the chunk at index of an object of size bytes.
func chunkLength(size, index, chunkBytes int64) int64 { return min(chunkBytes, size-index*chunkBytes) }
