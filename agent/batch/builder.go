package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Options say what kind of batch a Builder makes. The zero value: plain, create time, no producer.
type Options struct {
	Codec         Codec
	Level         int // of the codec; 0 is DefaultLevel
	TimestampType TimestampType
	BaseOffset    int64 // 0 for what a client sends
	LeaderEpoch   int32
	Producer      *Producer // nil: neither idempotent nor transactional
	Control       bool      // the records are markers
}

// Producer is who wrote a batch (KIP-98).
type Producer struct {
	ID            int64
	Epoch         int16
	BaseSequence  int32
	Transactional bool
}

// Builder makes a batch of records: markers, merged segments, tests, load. The zero value is ready and makes batches of zero Options.
type Builder struct {
	options Options
	body    []byte // the records, plain
	count   int32
	baseMs  int64
	maxMs   int64
}

// NewBuilder answers an empty builder.
func NewBuilder(o Options) *Builder { return &Builder{options: o} }

// ErrEmpty is returned by Build without records.
var ErrEmpty = errors.New("a batch needs at least one record")

// Append adds a record with a time in milliseconds. A nil key or value is null. Offset deltas count up from 0. It copies what it is given.
func (b *Builder) Append(timestamp int64, key, value []byte, headers ...Header) {
	if b.count == 0 {
		b.baseMs, b.maxMs = timestamp, timestamp
	}
	b.maxMs = max(b.maxMs, timestamp)
	delta := timestamp - b.baseMs
	size := 1 + varintSize(delta) + varintSize(int64(b.count)) + fieldSize(key) + fieldSize(value) + varintSize(int64(len(headers)))
	for _, h := range headers {
		size += varintSize(int64(len(h.Key))) + len(h.Key) + fieldSize(h.Value)
	}
	out := binary.AppendVarint(b.body, int64(size))
	out = append(out, 0) // attributes
	out = binary.AppendVarint(out, delta)
	out = binary.AppendVarint(out, int64(b.count))
	out = appendField(out, key)
	out = appendField(out, value)
	out = binary.AppendVarint(out, int64(len(headers)))
	for _, h := range headers {
		out = binary.AppendVarint(out, int64(len(h.Key)))
		out = append(out, h.Key...)
		out = appendField(out, h.Value)
	}
	b.body = out
	b.count++
}

// Count is the number of records appended.
func (b *Builder) Count() int { return int(b.count) }

// Size is the bytes that the batch would have without compression.
func (b *Builder) Size() int { return HeaderSize + len(b.body) }

// Reset empties the builder and keeps its memory; o replaces the options.
func (b *Builder) Reset(o Options) { *b = Builder{options: o, body: b.body[:0]} }

// Build answers the batch in memory of its own. The builder keeps its records. ErrEmpty without any; TooLarge if the format cannot hold it.
func (b *Builder) Build() (View, error) {
	if b.count == 0 {
		return nil, ErrEmpty
	}
	o := b.options
	out := &appender{b: make([]byte, HeaderSize, HeaderSize+len(b.body)+64)}
	if o.Codec == None {
		out.b = append(out.b, b.body...)
	} else {
		z, keep, err := openCompressor(o.Codec, o.Level, out)
		if err != nil {
			return nil, err
		}
		defer keep()
		if _, err := z.Write(b.body); err != nil {
			return nil, fmt.Errorf("compress with %s: %w", o.Codec, err)
		}
		if err := z.Close(); err != nil {
			return nil, fmt.Errorf("compress with %s: %w", o.Codec, err)
		}
	}
	a := Attributes(o.Codec)
	producer := Producer{ID: NoProducerID, Epoch: NoProducerEpoch, BaseSequence: NoSequence}
	if o.Producer != nil {
		producer = *o.Producer
	}
	if producer.Transactional {
		a |= attrTransactional
	}
	if o.Control {
		a |= attrControl
	}
	if o.TimestampType == LogAppendTime {
		a |= attrAppendTime
	}
	h := out.b
	Patch(h, o.BaseOffset, o.LeaderEpoch)
	h[atMagic] = Magic
	binary.BigEndian.PutUint32(h[atLastDelta:], uint32(b.count-1))
	binary.BigEndian.PutUint64(h[atBaseTimestamp:], uint64(b.baseMs))
	binary.BigEndian.PutUint64(h[atMaxTimestamp:], uint64(b.maxMs))
	binary.BigEndian.PutUint64(h[atProducerID:], uint64(producer.ID))
	binary.BigEndian.PutUint16(h[atProducerEpoch:], uint16(producer.Epoch))
	binary.BigEndian.PutUint32(h[atBaseSequence:], uint32(producer.BaseSequence))
	binary.BigEndian.PutUint32(h[atCount:], uint32(b.count))
	return seal(h, a)
}

// Marker answers the control batch that ends a transaction of a producer at an offset (KIP-98, EndTransactionMarker): one record, key
// {version i16 = 0, type i16: 0 abort, 1 commit}, value {version i16 = 0, coordinator epoch i32}.
func Marker(offset int64, producerID int64, producerEpoch int16, commit bool, coordinatorEpoch int32, timestamp int64) View {
	b := NewBuilder(Options{BaseOffset: offset, Control: true, Producer: &Producer{
		ID: producerID, Epoch: producerEpoch, BaseSequence: NoSequence, Transactional: true,
	}})
	key := []byte{0, 0, 0, 0}
	if commit {
		key[3] = 1
	}
	b.Append(timestamp, key, binary.BigEndian.AppendUint32([]byte{0, 0}, uint32(coordinatorEpoch)))
	v, err := b.Build()
	if err != nil {
		panic(err) // one small plain record always builds
	}
	return v
}

func appendField(out, field []byte) []byte {
	if field == nil {
		return binary.AppendVarint(out, -1)
	}
	return append(binary.AppendVarint(out, int64(len(field))), field...)
}

func fieldSize(field []byte) int {
	if field == nil {
		return 1
	}
	return varintSize(int64(len(field))) + len(field)
}

// varintSize is the bytes of n as a zigzag varint.
func varintSize(n int64) int {
	u := uint64(n<<1) ^ uint64(n>>63)
	size := 1
	for ; u >= 0x80; u >>= 7 {
		size++
	}
	return size
}
