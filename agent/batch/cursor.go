package batch

import (
	"errors"
	"io"
)

// errBeyond means that a length leads out of the batch. It is turned into an *Error by whoever knows which record it was.
var errBeyond = errors.New("reached the end of the records too early")

// errVarint is an integer of more bytes than its type can have.
var errVarint = errors.New("variable-length integer is too long")

// errBudget means that a payload decompresses to more than it may.
var errBudget = errors.New("too many decompressed bytes")

// cursor walks over the records of a batch, plain or decompressed on the way. Its methods keep the first error in err and answer
// zeros after it, so that a walk checks once per record. One goroutine owns all of it.
type cursor struct {
	buf    []byte    // what is at hand; for a plain batch the whole payload
	pos    int       // of the next byte in buf
	base   int64     // bytes of the stream before buf[0]
	src    io.Reader // where more comes from; nil for a plain batch
	budget int64     // bytes that src may still give
	err    error
}

// offset is the number of bytes of the stream that were walked over.
func (c *cursor) offset() int64 { return c.base + int64(c.pos) }

// fill gets more bytes once those at hand are used up. It reports false at the end or at an error.
func (c *cursor) fill() bool {
	if c.src == nil || c.err != nil {
		return false
	}
	c.base += int64(len(c.buf))
	c.pos = 0
	c.buf = c.buf[:0]
	return c.more()
}

// more reads once or more often from src, appending to buf within its capacity, until at least one byte came.
func (c *cursor) more() bool {
	for range 100 {
		n, err := c.src.Read(c.buf[len(c.buf):cap(c.buf)])
		c.buf = c.buf[:len(c.buf)+n]
		c.budget -= int64(n)
		switch {
		case c.budget < 0:
			c.err = errBudget
			return false
		case n > 0:
			return true // an error that came with bytes comes again with the next call
		case err == io.EOF:
			return false
		case err != nil:
			c.err = err
			return false
		}
	}
	c.err = io.ErrNoProgress
	return false
}

func (c *cursor) byte() byte {
	if c.pos == len(c.buf) && !c.fill() {
		c.fail(errBeyond)
		return 0
	}
	b := c.buf[c.pos]
	c.pos++
	return b
}

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// varint reads a zigzag integer of at most limit bytes: 5 for 32 bits, 10 for 64. As Kafka, it drops bits beyond the type.
func (c *cursor) varint(limit int) int64 {
	if c.pos < len(c.buf) && c.buf[c.pos] < 0x80 { // most lengths and deltas of real records have one byte
		u := uint64(c.buf[c.pos])
		c.pos++
		return int64(u>>1) ^ -int64(u&1)
	}
	var u uint64
	for shift := 0; shift < limit*7; shift += 7 {
		b := c.byte()
		u |= uint64(b&0x7f) << shift
		if b < 0x80 {
			if limit == 5 {
				u &= 1<<32 - 1
			}
			return int64(u>>1) ^ -int64(u&1)
		}
	}
	c.fail(errVarint)
	return 0
}

// skip goes n ≥ 0 bytes on.
func (c *cursor) skip(n int64) {
	for c.err == nil {
		if rest := int64(len(c.buf) - c.pos); n <= rest {
			c.pos += int(n)
			return
		} else {
			n -= rest
			c.pos = len(c.buf)
		}
		if !c.fill() {
			c.fail(errBeyond)
		}
	}
}

// hold makes the next n bytes lie in buf in one piece. The buffer grows only as bytes arrive, at most to twice their number: n is a length from
// outside.
func (c *cursor) hold(n int64) {
	for c.err == nil && int64(len(c.buf)-c.pos) < n {
		if c.src == nil {
			c.fail(errBeyond)
			return
		}
		if n > int64(len(c.buf)-c.pos)+c.budget {
			c.fail(errBudget)
			return
		}
		if c.pos > 0 {
			c.base += int64(c.pos)
			c.buf = c.buf[:copy(c.buf, c.buf[c.pos:])]
			c.pos = 0
		}
		if len(c.buf) == cap(c.buf) {
			grown := make([]byte, len(c.buf), 2*cap(c.buf))
			copy(grown, c.buf)
			c.buf = grown
		}
		if !c.more() {
			c.fail(errBeyond)
		}
	}
}

// atEnd reports whether nothing follows.
func (c *cursor) atEnd() bool {
	return c.err == nil && c.pos == len(c.buf) && !c.fill() && c.err == nil
}

// shape is where the parts of one record lie in the stream, and its deltas.
type shape struct {
	timestampDelta int64
	offsetDelta    int32
	headers        int32 // number of them
	keyLen         int32 // −1: null
	valueLen       int32 // −1: null
	keyAt          int64 // as offset() counts
	valueAt        int64
	headersAt      int64
	end            int64
}

// record walks over one record and answers its shape. Every length within it is checked against the record's own.
func (c *cursor) record(length int64) (s shape) {
	s.end = c.offset() + length
	c.byte() // attributes: no bit has a meaning
	s.timestampDelta = c.varint(10)
	s.offsetDelta = int32(c.varint(5))
	s.keyLen = int32(c.varint(5))
	s.keyAt = c.offset()
	c.field(s.keyLen, s.end)
	s.valueLen = int32(c.varint(5))
	s.valueAt = c.offset()
	c.field(s.valueLen, s.end)
	s.headers = int32(c.varint(5))
	s.headersAt = c.offset()
	if s.headers < 0 || int64(s.headers) > s.end-s.headersAt {
		c.fail(errHeaders)
	}
	for range s.headers {
		key := int32(c.varint(5))
		if key < 0 {
			c.fail(errHeaders)
		}
		c.field(key, s.end)
		c.field(int32(c.varint(5)), s.end)
		if c.err != nil {
			return s
		}
	}
	if c.offset() != s.end {
		c.fail(errLength)
	}
	return s
}

var (
	errHeaders = errors.New("the count or the key of its headers is invalid")
	errField   = errors.New("a field's length is invalid")
	errLength  = errors.New("its length does not match its fields")
)

// field skips n bytes, which must end before end; −1 is null.
func (c *cursor) field(n int32, end int64) {
	if n < -1 || c.offset()+int64(n) > end {
		c.fail(errField)
	}
	if n > 0 && c.err == nil {
		c.skip(int64(n))
	}
}
