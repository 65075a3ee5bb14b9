package batch

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
)

// chunkSize is how much of a compressed batch is decompressed at a time, in bytes.
const chunkSize = 64 << 10

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// DefaultMaxDecompressed is the bound on what one batch may decompress to, in bytes, where nothing else is said. Kafka has none; a
// megabyte of zstd can hold many gigabytes of zeros, and each would be walked at every validation.
const DefaultMaxDecompressed = 256 << 20

// Record is one record of a batch. Key, Value and headers share memory with the batch, or with the iterator's buffer if the batch is
// compressed: then they are valid only until the next record.
type Record struct {
	OffsetDelta    int32  // to BaseOffset
	TimestampDelta int64  // to BaseTimestamp, milliseconds
	Key            []byte // nil is null, which is not the same as empty
	Value          []byte // nil is null: a tombstone
	HeaderCount    int32

	headers []byte
}

// Header is one header of a record. A nil value is null.
type Header struct {
	Key   []byte
	Value []byte
}

// Headers yields the headers in order.
func (r Record) Headers() iter.Seq[Header] {
	return func(yield func(Header) bool) {
		c := cursor{buf: r.headers}
		for range r.HeaderCount {
			h := Header{Key: c.bytes(), Value: c.bytes()}
			if c.err != nil || !yield(h) { // the lengths were checked when the record was read
				return
			}
		}
	}
}

// bytes reads a length and as many bytes, from a cursor over plain bytes.
func (c *cursor) bytes() []byte {
	n := c.varint(5)
	if n < 0 || n > int64(len(c.buf)-c.pos) {
		return nil
	}
	at := c.pos
	c.skip(n)
	return c.buf[at:c.pos:c.pos]
}

// Timestamp answers the record's time in milliseconds, as a consumer sees it: the append time of the batch if it has one.
func (v View) Timestamp(r Record) int64 {
	if v.Attributes().TimestampType() == LogAppendTime {
		return v.MaxTimestamp()
	}
	return v.BaseTimestamp() + r.TimestampDelta
}

// Records yields the records of the batch in order, decompressing on the way. If the bytes are bad, it yields one error (wrapping an
// *Error) and ends. It holds at most the largest record, and gives up with TooLarge after maxDecompressed bytes (0 means
// DefaultMaxDecompressed). It does not check the checksum, nor any rule: that is Validate's.
func (v View) Records(maxDecompressed int64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		c, done, err := walk(v, maxDecompressed, false)
		if err != nil {
			yield(Record{}, err)
			return
		}
		defer done()
		count := v.Count()
		for i := range count {
			length := c.varint(5)
			if length < 0 {
				c.fail(errField)
			}
			c.hold(length)
			if c.err != nil {
				yield(Record{}, explain(v, c.err, i, maxDecompressed))
				return
			}
			s := c.record(length)
			if c.err != nil {
				yield(Record{}, explain(v, c.err, i, maxDecompressed))
				return
			}
			if !yield(c.cut(s), nil) {
				return
			}
		}
		if !c.atEnd() {
			yield(Record{}, explain(v, c.err, count, maxDecompressed))
		}
	}
}

// cut answers the record of shape s, all of which lies in buf.
func (c *cursor) cut(s shape) Record {
	part := func(at, n int64) []byte {
		if n < 0 {
			return nil
		}
		return c.buf[at-c.base : at-c.base+n : at-c.base+n]
	}
	return Record{
		OffsetDelta:    s.offsetDelta,
		TimestampDelta: s.timestampDelta,
		Key:            part(s.keyAt, int64(s.keyLen)),
		Value:          part(s.valueAt, int64(s.valueLen)),
		HeaderCount:    s.headers,
		headers:        part(s.headersAt, s.end-s.headersAt),
	}
}

// nothing is the done of a plain batch.
func nothing() {}

// walk begins a walk over the records. done must be called once.
func walk(v View, maxDecompressed int64, alone bool) (c cursor, done func(), err error) {
	codec := v.Attributes().Codec()
	if codec == None {
		return cursor{buf: v.Payload()}, nothing, nil
	}
	if !codec.Known() {
		return c, nil, &Error{Kind: UnsupportedCompression, Message: fmt.Sprintf("unknown compression type id: %d", codec)}
	}
	src, closeSrc, err := openPayload(codec, v.Payload(), alone)
	if err != nil {
		return c, nil, explain(v, err, 0, maxDecompressed)
	}
	chunk := chunks.Get().(*[chunkSize]byte)
	c = cursor{buf: chunk[:0], src: src, budget: budget(maxDecompressed)}
	return c, func() {
		closeSrc()
		chunks.Put(chunk)
	}, nil
}

func budget(maxDecompressed int64) int64 {
	if maxDecompressed <= 0 {
		return DefaultMaxDecompressed
	}
	return maxDecompressed
}

var errCut = errors.New("the stream is cut")

// explain answers the *Error for what a cursor met at the record of that index. A nil err means that bytes were left over.
func explain(v View, err error, index int32, maxDecompressed int64) error {
	switch err {
	case nil:
		return invalid("incorrect declared batch size, bytes still remain after %d records", index)
	case errBudget:
		return tooLarge("the batch of %d bytes decompresses to more than %d bytes", len(v), budget(maxDecompressed))
	case errBeyond, errVarint, errHeaders, errField, errLength:
		return invalid("record %d of %d is malformed: %v", index, v.Count(), err)
	case io.ErrUnexpectedEOF, io.EOF:
		err = errCut
	}
	return invalid("failed to decompress the records (%s) at record %d: %v", v.Attributes().Codec(), index, err)
}
