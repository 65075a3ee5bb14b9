package batch

import "encoding/binary"

// Patch writes base offset and leader epoch into header, which must hold at least the first PatchSize bytes of a batch. Both
// lie outside of the checksum, so nothing else changes. It works in place, or on a copy of the header that is sent before
// the untouched rest.
func Patch(header []byte, baseOffset int64, leaderEpoch int32) {
	_ = header[PatchSize-1]
	binary.BigEndian.PutUint64(header[atBaseOffset:], uint64(baseOffset))
	binary.BigEndian.PutUint32(header[atLeaderEpoch:], uint32(leaderEpoch))
}

// PatchSize is how many bytes of a batch Patch needs: those before the magic.
const PatchSize = atMagic

// Stamp sets the timestamp type and the max timestamp in place, and the checksum if either changed, as Kafka does to every
// batch it accepts (DefaultRecordBatch.setMaxTimestamp). The caller must own the bytes: they change. A frame that a connection
// read is owned by the request that it holds, until the response is sent or the bytes were handed to an upload.
func (v View) Stamp(t TimestampType, maxTimestamp int64) {
	a := v.Attributes()
	if a.TimestampType() == t && v.MaxTimestamp() == maxTimestamp {
		return
	}
	a &^= attrAppendTime
	if t == LogAppendTime {
		a |= attrAppendTime
	}
	binary.BigEndian.PutUint16(v[atAttributes:], uint16(a))
	binary.BigEndian.PutUint64(v[atMaxTimestamp:], uint64(maxTimestamp))
	v.sign()
}

// StampAppendTime makes all records of the batch have the time ms at which they were appended
// (message.timestamp.type=LogAppendTime). Ownership as for Stamp.
func StampAppendTime(v View, ms int64) { v.Stamp(LogAppendTime, ms) }

// sign stores the checksum of what the batch holds now.
func (v View) sign() { binary.BigEndian.PutUint32(v[atCRC:], v.ComputeCRC()) }
