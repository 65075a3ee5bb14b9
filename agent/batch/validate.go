package batch

import (
	"fmt"
	"strings"
)

// Rules are what a partition demands of a batch that a client produces. The zero value demands nothing but a well-formed batch; start
// from a topic's configs.
type Rules struct {
	Topic           string        // for messages only
	Partition       int32         // for messages only
	Now             int64         // milliseconds since 1970; the append time
	MaxBytes        int64         // max.message.bytes: bytes of the whole batch; 0: no limit
	TimestampType   TimestampType // message.timestamp.type
	BeforeMaxMs     int64         // message.timestamp.before.max.ms
	AfterMaxMs      int64         // message.timestamp.after.max.ms
	Compacted       bool          // cleanup.policy has compact: every record needs a key
	ForbidZstd      bool          // the request is a Produce below version 7 (KIP-110)
	MaxDecompressed int64         // bytes; 0: DefaultMaxDecompressed. At the bound the batch is TooLarge
}

// Info is what Validate learned by walking over the records.
type Info struct {
	TimestampType TimestampType // that the batch must be stored with
	MaxTimestamp  int64         // that the batch must be stored with, milliseconds: see Accept
	Decompressed  int64         // bytes of the records without compression
}

// Accept makes the header say what Validate found, in place (ownership as for Stamp). Kafka does not refuse a batch whose max timestamp is
// not that of its records, it corrects it; the same here.
func (v View) Accept(i Info) { v.Stamp(i.TimestampType, i.MaxTimestamp) }

// Validate checks a batch as Kafka's broker does when a client produces it (UnifiedLog.analyzeAndValidateRecords and LogValidator), in
// that order. It changes nothing: call Accept with what it answers. Errors are *Error. A plain batch is checked without allocating, a
// compressed one is decompressed in chunks of 64 KiB and thrown away.
//
// Where it is stricter than Kafka: offset deltas must count up from 0 (Kafka fails on such a compressed batch and accepts such a plain one),
// a record's length must match its fields also within compressed batches, and what a batch decompresses to is bounded. Where Kafka 4.3 answers
// UNKNOWN_SERVER_ERROR, an unknown codec is UnsupportedCompression and a payload that does not decompress is InvalidRecord: its
// checksum was right, so sending it again, as CORRUPT_MESSAGE asks for, would not help.
func Validate(v View, r Rules) (Info, error) {
	if err := validateHeader(v, r); err != nil {
		return Info{}, err
	}
	return validateRecords(v, r)
}

// validateHeader checks what can be told without the records.
func validateHeader(v View, r Rules) error {
	a := v.Attributes()
	switch codec := a.Codec(); {
	case v.Length() != len(v):
		return corrupt("the batch says it has %d bytes and has %d", v.Length(), len(v))
	case v.Magic() != Magic:
		return invalid("only record batches with magic version 2 are allowed, not %d", v.Magic())
	case codec == Zstd && r.ForbidZstd:
		return &Error{Kind: UnsupportedCompression, Message: "produce requests below version 7 are not allowed to use ZStandard compression"}
	case v.BaseOffset() != 0:
		return invalid("the base offset of the record batch should be 0, but it is %d", v.BaseOffset())
	case r.MaxBytes > 0 && int64(len(v)) > r.MaxBytes:
		return tooLarge("the record batch size is %d bytes which exceeds the maximum configured value of %d", len(v), r.MaxBytes)
	case v.CRC() != v.ComputeCRC():
		return corrupt("record is corrupt (stored crc = %d, computed crc = %d)", v.CRC(), v.ComputeCRC())
	case !codec.Known():
		return &Error{Kind: UnsupportedCompression, Message: fmt.Sprintf("unknown compression type id: %d", codec)}
	case v.LastOffsetDelta() < 0:
		return invalid("batch has an invalid offset range: [%d, %d]", v.BaseOffset(), v.LastOffset())
	case v.Count() <= 0:
		return invalid("invalid reported count for record batch: %d", v.Count())
	case int64(v.LastOffsetDelta())+1 != int64(v.Count()):
		return invalid("inconsistent batch offset range [%d, %d] and count of records %d", v.BaseOffset(), v.LastOffset(), v.Count())
	case a.Control():
		return invalid("clients are not allowed to write control records")
	case v.ProducerID() > NoProducerID && v.BaseSequence() < 0:
		return invalid("invalid sequence number %d in record batch with producerId %d", v.BaseSequence(), v.ProducerID())
	}
	return nil
}

// validateRecords walks over all records.
func validateRecords(v View, r Rules) (Info, error) {
	c, done, err := walk(v, r.MaxDecompressed, true)
	if err != nil {
		return Info{}, err
	}
	defer done()
	var bad badRecords
	info := Info{TimestampType: r.TimestampType, MaxTimestamp: NoTimestamp}
	count, base, appended := v.Count(), v.BaseTimestamp(), v.Attributes().TimestampType() == LogAppendTime
	for i := range count {
		length := c.varint(5)
		if length < 0 {
			c.fail(errField)
		}
		s := c.record(length)
		if c.err != nil {
			return Info{}, explain(v, c.err, i, r.MaxDecompressed)
		}
		if s.offsetDelta != i {
			return Info{}, invalid("record %d has offset delta %d: they must count up from 0", i, s.offsetDelta)
		}
		timestamp := base + s.timestampDelta
		if appended {
			timestamp = v.MaxTimestamp()
		}
		info.MaxTimestamp = max(info.MaxTimestamp, timestamp)
		switch {
		case r.Compacted && s.keyLen < 0:
			bad.addKeyless(i, r)
		case r.TimestampType == CreateTime && timestamp != NoTimestamp:
			if r.outOfRange(timestamp) {
				bad.addTime(i, timestamp, r)
			}
		case appended:
			bad.add(i, InvalidTimestamp, "Producer should not set timestamp type to LogAppendTime")
		}
	}
	if !c.atEnd() {
		return Info{}, explain(v, c.err, count, r.MaxDecompressed)
	}
	if bad.count > 0 {
		return Info{}, bad.error()
	}
	if r.TimestampType == LogAppendTime {
		info.MaxTimestamp = r.Now
	}
	info.Decompressed = c.offset()
	return info, nil
}

// outOfRange is Kafka's test, wrap-around of the subtraction included: with the default before.max (2^63−1) every time in the past is
// accepted, also before 1970.
func (r Rules) outOfRange(timestamp int64) bool {
	ago := r.Now - timestamp
	return ago > r.BeforeMaxMs || -ago > r.AfterMaxMs
}

// badRecords gathers what is wrong with single records; Kafka reports all of them, here up to MaxRecordErrors.
type badRecords struct {
	count  int
	time   bool
	errors []RecordError
}

func (b *badRecords) add(index int32, kind Kind, message string) {
	b.count++
	b.time = b.time || kind == InvalidTimestamp
	if len(b.errors) < MaxRecordErrors {
		b.errors = append(b.errors, RecordError{Index: index, Message: message})
	}
}

func (b *badRecords) addKeyless(index int32, r Rules) {
	message := ""
	if len(b.errors) < MaxRecordErrors {
		message = fmt.Sprintf("Compacted topic cannot accept message without key in topic partition %s-%d", r.Topic, r.Partition)
	}
	b.add(index, InvalidRecord, message)
}

func (b *badRecords) addTime(index int32, timestamp int64, r Rules) {
	message := ""
	if len(b.errors) < MaxRecordErrors {
		message = fmt.Sprintf("Timestamp %d of message with offset %d is out of range. The timestamp should be within [%d, %d]",
			timestamp, index, r.Now-r.BeforeMaxMs, r.Now+r.AfterMaxMs)
	}
	b.add(index, InvalidTimestamp, message)
}

func (b *badRecords) error() error {
	if b.time {
		return &Error{Kind: InvalidTimestamp, Records: b.errors, Message: "One or more records have been rejected due to invalid timestamp"}
	}
	first := make([]string, 0, 3)
	for _, e := range b.errors[:min(3, len(b.errors))] {
		first = append(first, fmt.Sprintf("RecordError(batchIndex=%d, message='%s')", e.Index, e.Message))
	}
	return &Error{Kind: InvalidRecord, Records: b.errors, Message: fmt.Sprintf("One or more records have been rejected due to %d record "+
		"errors in total, and only showing the first three errors at most: [%s]", b.count, strings.Join(first, ", "))}
}
