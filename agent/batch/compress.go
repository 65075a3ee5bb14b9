package batch

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// DefaultLevel lets a codec choose how hard it tries: gzip −1, lz4 9 and zstd 3 in Kafka's counting (KIP-390).
const DefaultLevel = 0

// compressor compresses one payload after another: Reset, Write, Close.
type compressor interface {
	io.WriteCloser
	Reset(w io.Writer)
}

// writers keeps compressors of DefaultLevel: a new one of zstd costs megabytes.
var writers [codecs]sync.Pool

// openCompressor answers a compressor to w, and what must be called once after its Close.
func openCompressor(codec Codec, level int, w io.Writer) (compressor, func(), error) {
	if level == DefaultLevel {
		if z, ok := writers[codec].Get().(compressor); ok {
			z.Reset(w)
			return z, func() { keepCompressor(codec, z) }, nil
		}
	}
	z, err := newCompressor(codec, level, w)
	if err != nil {
		return nil, nil, fmt.Errorf("compress with %s at level %d: %w", codec, level, err)
	}
	if level != DefaultLevel {
		return z, func() {}, nil
	}
	return z, func() { keepCompressor(codec, z) }, nil
}

// keepCompressor lets the next use have z, without a reference to what this one wrote.
func keepCompressor(codec Codec, z compressor) {
	z.Reset(io.Discard)
	writers[codec].Put(z)
}

// newCompressor answers a writer that compresses to w in the form that Kafka's clients read. Levels are those of KIP-390: gzip 1–9 (and −1),
// lz4 1–17, zstd −131072–22; 0 is DefaultLevel; snappy has none. They are mapped to the nearest that the library has.
func newCompressor(codec Codec, level int, w io.Writer) (compressor, error) {
	switch codec {
	case Gzip:
		if level == DefaultLevel {
			level = gzip.DefaultCompression
		}
		return gzip.NewWriterLevel(w, level)
	case Snappy:
		return &snappyWriter{w: w}, nil
	case LZ4:
		z := lz4.NewWriter(w)
		// Small independent blocks, as Kafka writes them: a consumer holds one at a time.
		err := z.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ConcurrencyOption(1), lz4.CompressionLevelOption(lz4Level(level)))
		return z, err
	case Zstd:
		if level == DefaultLevel {
			level = 3
		}
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)),
			zstd.WithWindowSize(zstdWindow/2), zstd.WithZeroFrames(true))
	default:
		return nil, fmt.Errorf("%s has no compressor", codec)
	}
}

// lz4Level maps Kafka's 1 to 17, of which its default 9 is the fast method.
func lz4Level(level int) lz4.CompressionLevel {
	if level == DefaultLevel || level == 9 {
		return lz4.Fast
	}
	return lz4.CompressionLevel(1 << (8 + min(max(level, 1), 9)))
}

// snappyBlock is the bytes of one block before compression, as in the Java library.
const snappyBlock = 32 << 10

// snappyWriter frames blocks as the Java library does (see xerialMagic): every Kafka client reads that.
type snappyWriter struct {
	w       io.Writer
	begun   bool
	pending []byte // less than snappyBlock bytes
	block   []byte
}

func (w *snappyWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		k := min(len(p), snappyBlock-len(w.pending))
		w.pending = append(w.pending, p[:k]...)
		p = p[k:]
		if len(w.pending) == snappyBlock {
			if err := w.flush(); err != nil {
				return n - len(p), err
			}
		}
	}
	return n, nil
}

func (w *snappyWriter) flush() error {
	head := make([]byte, 0, xerialHeaderSize+4)
	if !w.begun {
		w.begun = true
		head = append(head, xerialMagic...)
		head = append(head, 0, 0, 0, 1, 0, 0, 0, 1) // version and oldest compatible version
	}
	if len(w.pending) > 0 {
		w.block = s2.EncodeSnappy(w.block[:cap(w.block)], w.pending)
		head = binary.BigEndian.AppendUint32(head, uint32(len(w.block)))
	}
	if _, err := w.w.Write(head); err != nil || len(w.pending) == 0 {
		return err
	}
	w.pending = w.pending[:0]
	_, err := w.w.Write(w.block)
	return err
}

// Reset begins a new stream to w.
func (w *snappyWriter) Reset(to io.Writer) { w.w, w.begun, w.pending = to, false, w.pending[:0] }

// Close writes what is left. It does not close the writer beneath.
func (w *snappyWriter) Close() error {
	if len(w.pending) == 0 && w.begun {
		return nil
	}
	return w.flush()
}

// appender is a writer to a slice.
type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}

// Recompress answers a new batch with the same header and records, compressed by codec (broker-side compression.type); v itself if that is
// its codec already. It decompresses and compresses in chunks and fails with TooLarge beyond DefaultMaxDecompressed. What it answers
// may be larger than v: check max.message.bytes again. The caller validates first.
func Recompress(v View, codec Codec, level int) (View, error) {
	from := v.Attributes().Codec()
	if from == codec {
		return v, nil
	}
	if !codec.Known() {
		return nil, &Error{Kind: UnsupportedCompression, Message: fmt.Sprintf("unknown compression type id: %d", codec)}
	}
	c, done, err := walk(v, 0, true)
	if err != nil {
		return nil, err
	}
	defer done()
	out := &appender{b: make([]byte, HeaderSize, len(v)+len(v)/2)}
	copy(out.b, v[:HeaderSize])
	var w io.Writer = out
	var closer io.Closer
	if codec != None {
		z, keep, err := openCompressor(codec, level, out)
		if err != nil {
			return nil, err
		}
		defer keep()
		w, closer = z, z
	}
	for {
		if _, err := w.Write(c.buf[c.pos:]); err != nil {
			return nil, fmt.Errorf("compress with %s: %w", codec, err)
		}
		c.pos = len(c.buf)
		if !c.fill() {
			break
		}
	}
	if c.err != nil {
		return nil, explain(v, c.err, 0, 0)
	}
	if closer != nil {
		if err := closer.Close(); err != nil {
			return nil, fmt.Errorf("compress with %s: %w", codec, err)
		}
	}
	return seal(out.b, v.Attributes()&^codecMask|Attributes(codec))
}

// seal makes a batch of b, whose header is complete but for attributes, length and checksum.
func seal(b []byte, a Attributes) (View, error) {
	if len(b)-PrefixSize > 1<<31-1 {
		return nil, tooLarge("a record batch cannot have %d bytes", len(b))
	}
	v := View(b)
	binary.BigEndian.PutUint32(v[atLength:], uint32(len(b)-PrefixSize))
	binary.BigEndian.PutUint16(v[atAttributes:], uint16(a))
	v.sign()
	return v, nil
}
