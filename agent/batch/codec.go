package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Codec is how the records of a batch are compressed: the lowest three bits of its attributes.
type Codec uint8

// The codecs of Kafka. Zstandard is KIP-110.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
	codecs
)

var codecNames = [codecs]string{"none", "gzip", "snappy", "lz4", "zstd"}

// Known reports whether the codec exists.
func (c Codec) Known() bool { return c < codecs }

// String is the name that the topic config compression.type has for the codec; none is "none".
func (c Codec) String() string {
	if c.Known() {
		return codecNames[c]
	}
	return fmt.Sprintf("codec %d", uint8(c))
}

// ParseCodec answers the codec of that name. "uncompressed" (compression.type) is None; "producer" is not a codec.
func ParseCodec(name string) (Codec, error) {
	if name == "uncompressed" {
		return None, nil
	}
	for c, n := range codecNames {
		if n == name {
			return Codec(c), nil
		}
	}
	return 0, fmt.Errorf("compression type %q: must be one of none, gzip, snappy, lz4, zstd", name)
}

// Memory of a decompressor, which a client must not be able to choose freely:
//
//   - gzip: its window, 32 KiB.
//   - lz4: one block, at most 4 MiB by the format.
//   - snappy: one block. A stream framed by xerial has small ones; a raw one is a single block, so the decompressed batch is held,
//     which is at most snappyRatio times the bytes that came, because the format cannot say more.
//   - zstd: its window. Up to zstdWindow it is pooled. Levels that Kafka offers may want up to zstdMaxWindow: in Validate and
//     Recompress one such batch is decompressed at a time and nothing is kept afterwards; beyond it the batch is refused.
const (
	snappyRatio   = 22
	zstdWindow    = 8 << 20
	zstdMaxWindow = 128 << 20
)

// payloadReader decompresses one payload after another.
type payloadReader interface {
	io.Reader
	reset(payload []byte) error
}

var readers [codecs]sync.Pool

// bigWindow is held by the one validation that decompresses with more than zstdWindow.
var bigWindow sync.Mutex

// openPayload answers a reader of the decompressed payload, and what must be called once when done with it. The reader's memory is
// bounded as drawn above; what it yields is not. alone makes large windows wait for each other; it must be set only by callers that
// never open a second payload before they closed the first.
func openPayload(codec Codec, payload []byte, alone bool) (io.Reader, func(), error) {
	if codec == Zstd && zstdWindowOf(payload) > zstdWindow {
		return openBigZstd(payload, alone)
	}
	r, _ := readers[codec].Get().(payloadReader)
	if r == nil {
		var err error
		if r, err = newPayloadReader(codec); err != nil {
			return nil, nil, err
		}
	}
	g := &guarded{r: r}
	err := g.reset(payload)
	done := func() {
		if !g.broken { // a reader that panicked is not used again
			readers[codec].Put(r)
		}
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return g, done, nil
}

func newPayloadReader(codec Codec) (payloadReader, error) {
	switch codec {
	case Gzip:
		return &gzipReader{}, nil
	case Snappy:
		return &snappyReader{}, nil
	case LZ4:
		r := &lz4Reader{}
		r.Reader = lz4.NewReader(&r.src)
		return r, nil
	case Zstd:
		return newZstdReader(zstdWindow)
	default:
		return nil, fmt.Errorf("%s has no decompressor", codec)
	}
}

// guarded turns a panic of a decompressor into an error: what it reads comes from outside, and it is not ours.
type guarded struct {
	r      payloadReader
	broken bool
}

func (g *guarded) rescue(err *error) {
	if p := recover(); p != nil {
		g.broken, *err = true, fmt.Errorf("decompressor panicked: %v", p)
	}
}

func (g *guarded) Read(p []byte) (n int, err error) {
	defer g.rescue(&err)
	return g.r.Read(p)
}

func (g *guarded) reset(payload []byte) (err error) {
	defer g.rescue(&err)
	return g.r.reset(payload)
}

type gzipReader struct {
	gzip.Reader
	src bytes.Reader
}

func (r *gzipReader) reset(payload []byte) error {
	r.src.Reset(payload)
	return r.Reader.Reset(&r.src)
}

type lz4Reader struct {
	*lz4.Reader
	src bytes.Reader
}

func (r *lz4Reader) reset(payload []byte) error {
	r.src.Reset(payload)
	r.Reader.Reset(&r.src)
	return nil
}

type zstdReader struct {
	*zstd.Decoder
	src bytes.Reader
}

// newZstdReader makes a decoder that starts no goroutine, so that dropping it needs no Close.
func newZstdReader(window uint64) (*zstdReader, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(window), zstd.WithDecoderMaxMemory(window))
	if err != nil {
		return nil, err
	}
	return &zstdReader{Decoder: d}, nil
}

func (r *zstdReader) reset(payload []byte) error {
	r.src.Reset(payload)
	return r.Decoder.Reset(&r.src)
}

// zstdWindowOf answers how many bytes of history the first frame wants, 0 if that cannot be told.
func zstdWindowOf(payload []byte) uint64 {
	var h zstd.Header
	if h.Decode(payload) != nil {
		return 0
	}
	if h.SingleSegment {
		return h.FrameContentSize
	}
	return h.WindowSize
}

func openBigZstd(payload []byte, alone bool) (io.Reader, func(), error) {
	r, err := newZstdReader(zstdMaxWindow)
	if err != nil {
		return nil, nil, err
	}
	done := func() {}
	if alone {
		bigWindow.Lock()
		done = bigWindow.Unlock
	}
	g := &guarded{r: r}
	if err := g.reset(payload); err != nil {
		done()
		return nil, nil, err
	}
	return g, done, nil
}

// xerialMagic begins a stream of the Java snappy library (SnappyOutputStream): magic, version i32, oldest compatible version i32,
// then blocks, each after its length i32. Without it, the payload is one raw block.
var xerialMagic = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const xerialHeaderSize = 16

var errSnappy = errors.New("snappy: corrupt input")

// snappyReader decompresses block by block.
type snappyReader struct {
	src   []byte // what is not decompressed yet
	raw   bool   // src is a single block
	block []byte // the decompressed block; its memory is used again
	out   []byte // what of block was not read yet
}

func (r *snappyReader) reset(payload []byte) error {
	r.src, r.out, r.raw = payload, nil, true
	if cap(r.block) > keepBlock {
		r.block = nil
	}
	if len(payload) >= xerialHeaderSize && bytes.HasPrefix(payload, xerialMagic) {
		r.src, r.raw = payload[xerialHeaderSize:], false
	}
	return nil
}

// keepBlock is the largest block that the pool keeps, in bytes.
const keepBlock = 1 << 20

func (r *snappyReader) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if len(r.src) == 0 {
			return 0, io.EOF
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

func (r *snappyReader) next() error {
	in := r.src
	if r.raw {
		r.src = nil
	} else {
		if len(in) < 4 {
			return errSnappy
		}
		n := int64(binary.BigEndian.Uint32(in))
		if n > int64(len(in)-4) {
			return errSnappy
		}
		in, r.src = in[4:4+n], in[4+n:]
	}
	n, err := s2.DecodedLen(in)
	if err != nil || n > snappyRatio*len(in) {
		return errSnappy
	}
	if cap(r.block) < n {
		r.block = make([]byte, n)
	}
	r.out, err = s2.Decode(r.block[:n], in)
	return err
}
