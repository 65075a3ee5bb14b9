package batch

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Where the fields of a batch begin, in bytes.
const (
	atBaseOffset    = 0
	atLength        = 8
	atLeaderEpoch   = 12
	atMagic         = 16
	atCRC           = 17
	atAttributes    = 21
	atLastDelta     = 23
	atBaseTimestamp = 27
	atMaxTimestamp  = 35
	atProducerID    = 43
	atProducerEpoch = 51
	atBaseSequence  = 53
	atCount         = 57
)

const (
	// HeaderSize is the bytes of a batch before its first record.
	HeaderSize = 61
	// PrefixSize is the bytes that the length field does not count: base offset and the length itself.
	PrefixSize = 12
	// Magic is the only format this package knows.
	Magic = 2
)

// Values that mean "none" (Kafka's RecordBatch.NO_…).
const (
	NoTimestamp     = int64(-1)
	NoProducerID    = int64(-1)
	NoProducerEpoch = int16(-1)
	NoSequence      = int32(-1)
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// View is exactly one whole batch: its length field agrees with its slice. Only At, Split, Single and Cut make one out of bytes that
// are not trusted; the accessors rely on the HeaderSize bytes being there. A View shares its bytes with whoever holds them.
type View []byte

// At answers the batch that b begins with, without looking at its checksum or records. It fails with Corrupt if the length
// field cannot be one, InvalidRecord for an older magic or if the batch is not wholly in b.
func At(b []byte) (View, error) {
	if len(b) < PrefixSize {
		return nil, invalid("%d bytes are too few for a record batch", len(b))
	}
	length := int64(int32(binary.BigEndian.Uint32(b[atLength:])))
	if length < minLegacyLength {
		return nil, corrupt("record size %d is less than the minimum record overhead (%d)", length, minLegacyLength)
	}
	if len(b) <= atMagic {
		return nil, invalid("record batch of %d bytes is cut after %d", length+PrefixSize, len(b))
	}
	switch magic := int8(b[atMagic]); {
	case magic < 0 || magic > Magic:
		return nil, corrupt("invalid magic found in record: %d", magic)
	case magic < Magic:
		return nil, invalid("only record batches with magic version 2 are allowed, not %d", magic)
	}
	if length < HeaderSize-PrefixSize {
		return nil, corrupt("record batch is corrupt (the size %d is smaller than the minimum allowed overhead %d)",
			length+PrefixSize, HeaderSize)
	}
	if length+PrefixSize > int64(len(b)) {
		return nil, invalid("record batch of %d bytes is cut after %d", length+PrefixSize, len(b))
	}
	n := int(length) + PrefixSize
	return View(b[:n:n]), nil
}

// minLegacyLength is what the smallest message of any magic counts (Kafka's LegacyRecord.RECORD_OVERHEAD_V0): less is no
// length at all, whatever the magic.
const minLegacyLength = 14

// Single answers the one batch that records must consist of, as Produce version 3 and later demand (KIP-98). No batch, a
// second one, or a cut tail is InvalidRecord; what cannot be a batch is Corrupt. (Kafka drops a tail that is no whole batch and acknowledges the
// rest; bytes that a client sent are not dropped silently here.)
func Single(records []byte) (View, error) {
	if len(records) == 0 {
		return nil, invalid("produce requests must have at least one record batch per partition")
	}
	v, err := At(records)
	if err != nil {
		return nil, err
	}
	if len(v) != len(records) {
		return nil, invalid("produce requests must contain exactly one record batch per partition, but %d bytes follow it",
			len(records)-len(v))
	}
	return v, nil
}

// Split calls yield with each of the batches that records consist of, in order, and with the byte position of each. It is
// for bytes that must be whole: a cut tail is an error. It stops early, with a nil error, when yield answers false.
func Split(records []byte, yield func(position int, v View) bool) error {
	for at := 0; at < len(records); {
		v, err := At(records[at:])
		if err != nil {
			return fmt.Errorf("batch at byte %d: %w", at, err)
		}
		if !yield(at, v) {
			return nil
		}
		at += len(v)
	}
	return nil
}

// Cut answers the part of records, from its beginning, that consists of whole batches: for bytes read by range from an object,
// which may end within a batch. It stops at the first byte that cannot begin one.
func Cut(records []byte) []byte {
	at := 0
	for at < len(records) {
		v, err := At(records[at:])
		if err != nil {
			break
		}
		at += len(v)
	}
	return records[:at:at]
}

// BaseOffset is the offset of the first record; what a client sends has 0 here, what is stored any value until patched.
func (v View) BaseOffset() int64 { return int64(binary.BigEndian.Uint64(v[atBaseOffset:])) }

// Length is the bytes of the whole batch: 12 + the length field.
func (v View) Length() int { return PrefixSize + int(int32(binary.BigEndian.Uint32(v[atLength:]))) }

// PartitionLeaderEpoch is the leader epoch the batch was appended in.
func (v View) PartitionLeaderEpoch() int32 { return int32(binary.BigEndian.Uint32(v[atLeaderEpoch:])) }

// Magic is the version of the format, 2.
func (v View) Magic() int8 { return int8(v[atMagic]) }

// CRC is the stored CRC-32C over everything from the attributes on.
func (v View) CRC() uint32 { return binary.BigEndian.Uint32(v[atCRC:]) }

// ComputeCRC answers what CRC should be.
func (v View) ComputeCRC() uint32 { return crc32.Checksum(v[atAttributes:], castagnoli) }

// Attributes are the flags of the batch.
func (v View) Attributes() Attributes { return Attributes(binary.BigEndian.Uint16(v[atAttributes:])) }

// LastOffsetDelta is the offset of the last record minus BaseOffset.
func (v View) LastOffsetDelta() int32 { return int32(binary.BigEndian.Uint32(v[atLastDelta:])) }

// LastOffset is the offset of the last record. A compacted batch keeps it even if that record is gone.
func (v View) LastOffset() int64 { return v.BaseOffset() + int64(v.LastOffsetDelta()) }

// BaseTimestamp is what the timestamp deltas add to, in milliseconds; with a delete horizon (KIP-534) it is that horizon.
func (v View) BaseTimestamp() int64 { return int64(binary.BigEndian.Uint64(v[atBaseTimestamp:])) }

// MaxTimestamp is the greatest timestamp of the records, or the append time, in milliseconds.
func (v View) MaxTimestamp() int64 { return int64(binary.BigEndian.Uint64(v[atMaxTimestamp:])) }

// ProducerID is the id given by InitProducerId, or NoProducerID.
func (v View) ProducerID() int64 { return int64(binary.BigEndian.Uint64(v[atProducerID:])) }

// ProducerEpoch is the epoch of the producer id, or NoProducerEpoch.
func (v View) ProducerEpoch() int16 { return int16(binary.BigEndian.Uint16(v[atProducerEpoch:])) }

// BaseSequence is the sequence of the first record, or NoSequence.
func (v View) BaseSequence() int32 { return int32(binary.BigEndian.Uint32(v[atBaseSequence:])) }

// LastSequence is the sequence of the last record, or NoSequence.
func (v View) LastSequence() int32 {
	if v.BaseSequence() == NoSequence {
		return NoSequence
	}
	return AddSequence(v.BaseSequence(), v.LastOffsetDelta())
}

// Count is the number of records that the header states.
func (v View) Count() int32 { return int32(binary.BigEndian.Uint32(v[atCount:])) }

// Payload is the bytes of the records, compressed as the attributes say.
func (v View) Payload() []byte { return v[HeaderSize:] }

// Attributes are the flags of a batch.
type Attributes uint16

// The bits of Attributes (Kafka protocol guide; the delete horizon is KIP-534).
const (
	codecMask         Attributes = 0x07
	attrAppendTime    Attributes = 0x08
	attrTransactional Attributes = 0x10
	attrControl       Attributes = 0x20
	attrDeleteHorizon Attributes = 0x40
)

// Codec is how the records are compressed; it may be one that does not exist (5 to 7).
func (a Attributes) Codec() Codec { return Codec(a & codecMask) }

// TimestampType says who gave the timestamps.
func (a Attributes) TimestampType() TimestampType { return a&attrAppendTime != 0 }

// Transactional reports whether the batch is part of a transaction.
func (a Attributes) Transactional() bool { return a&attrTransactional != 0 }

// Control reports whether the batch holds transaction markers instead of a client's records.
func (a Attributes) Control() bool { return a&attrControl != 0 }

// DeleteHorizon reports whether the base timestamp is the time from which tombstones may go (KIP-534).
func (a Attributes) DeleteHorizon() bool { return a&attrDeleteHorizon != 0 }

// TimestampType says who gave the timestamps of a batch (topic config message.timestamp.type).
type TimestampType bool

// The timestamp types.
const (
	CreateTime    TimestampType = false // the producer, one per record
	LogAppendTime TimestampType = true  // the broker, one per batch: MaxTimestamp
)

// String answers the name that message.timestamp.type has for it.
func (t TimestampType) String() string {
	if t == LogAppendTime {
		return "LogAppendTime"
	}
	return "CreateTime"
}

// AddSequence answers the sequence that is increment after s. Sequences wrap from 2^31−1 to 0 (Kafka's
// DefaultRecordBatch.incrementSequence). Both must be ≥ 0.
func AddSequence(s, increment int32) int32 {
	return int32((int64(s) + int64(increment)) & 0x7fffffff)
}

// NextSequence answers the base sequence of the batch that follows one whose last sequence is last.
func NextSequence(last int32) int32 { return AddSequence(last, 1) }
