package fetch

import "slices"

// Records are whole record batches, ready to send, in pieces that follow each other. Most pieces are parts of cached chunks, shared
// with whoever reads the same object: they must not be changed.
//
// What an answer refers to stays in memory until it is sent, also if the cache has let go of it meanwhile, and with a piece all of its
// chunk does. So chunks are referred to only as far as pins allow; the rest is copied.
type Records [][]byte

// Size is the number of bytes.
func (r Records) Size() int64 {
	var n int64
	for _, piece := range r {
		n += int64(len(piece))
	}
	return n
}

// Bytes copies the records into one piece.
func (r Records) Bytes() []byte { return slices.Concat(r...) }

// referBytes is the length from which a piece is referred to: below it, a copy is cheaper than one more piece for the kernel.
const referBytes = 4 << 10

// Copied pieces gather in blocks, which grow from blockMin to blockMax bytes as more is copied.
const (
	blockMin = 1 << 10
	blockMax = 64 << 10
)

// gathering builds Records. The last piece grows as long as what is appended is copied right behind it.
type gathering struct {
	records Records
	size    int64 // bytes of records,
	copied  int64 // and of those in blocks
	block   []byte
	open    int // where in block the last piece begins; -1: the last piece is not in block
}

// add appends b, by reference if that may be.
func (g *gathering) add(b []byte, refer bool) {
	if !refer {
		g.copy(b)
		return
	}
	g.records = append(g.records, b)
	g.size += int64(len(b))
	g.open = -1
}

// copy appends a copy of b.
func (g *gathering) copy(b []byte) {
	if len(b) == 0 {
		return
	}
	if len(g.block)+len(b) > cap(g.block) {
		g.block = make([]byte, 0, max(len(b), min(max(2*cap(g.block), blockMin), blockMax)))
		g.open = -1
	}
	if g.open < 0 {
		g.open = len(g.block)
		g.records = append(g.records, nil)
	}
	g.block = append(g.block, b...)
	g.records[len(g.records)-1] = g.block[g.open:len(g.block):len(g.block)]
	g.size += int64(len(b))
	g.copied += int64(len(b))
}
