package objectstore

import (
	"bytes"
	"io"
)

// Body is what a Put stores: byte slices, sent one after the other without being copied together. The slices must not
// change until the Put, and every retry of it, has returned. A Body can be read any number of times.
type Body struct {
	parts [][]byte
	size  int64
}

// NewBody makes a body of the parts, in order.
func NewBody(parts ...[]byte) Body {
	b := Body{parts: parts}
	for _, p := range parts {
		b.size += int64(len(p))
	}
	return b
}

// Size answers the length in bytes.
func (b Body) Size() int64 { return b.size }

// Parts answers the slices of the body; they must not be changed.
func (b Body) Parts() [][]byte { return b.parts }

// Open answers a new reader over the whole body.
func (b Body) Open() io.ReadSeeker {
	if len(b.parts) == 1 {
		return bytes.NewReader(b.parts[0])
	}
	return &bodyReader{body: b}
}

// Bytes answers the body as one slice, copying it unless it has a single part.
func (b Body) Bytes() []byte {
	if len(b.parts) == 1 {
		return b.parts[0]
	}
	return bytes.Join(b.parts, nil)
}

// bodyReader reads the parts of a body in order.
type bodyReader struct {
	body Body
	pos  int64 // of the next byte in the whole body
	part int   // index of the part that holds pos
	off  int   // of pos within that part
}

func (r *bodyReader) Read(p []byte) (int, error) {
	for r.part < len(r.body.parts) && r.off == len(r.body.parts[r.part]) {
		r.part, r.off = r.part+1, 0
	}
	if r.part == len(r.body.parts) {
		return 0, io.EOF
	}
	n := copy(p, r.body.parts[r.part][r.off:])
	r.off += n
	r.pos += int64(n)
	return n, nil
}

func (r *bodyReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.pos
	case io.SeekEnd:
		offset += r.body.size
	}
	if offset < 0 || offset > r.body.size {
		return r.pos, ErrRange
	}
	r.pos, r.part, r.off = offset, 0, 0
	for rest := offset; r.part < len(r.body.parts); r.part++ {
		if n := int64(len(r.body.parts[r.part])); rest >= n {
			rest -= n
			continue
		}
		r.off = int(rest)
		break
	}
	return r.pos, nil
}
