package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"hash/crc32"
	"time"
)

// batch is a record batch v2 with every header field within reach, so that each can be wrong on purpose. The zero value
// of a pointer field means "what a correct producer would write".
type batch struct {
	base      int64
	magic     *int8
	crcXor    uint32
	attrs     int16
	lastDelta *int32
	firstTs   *int64
	maxTs     *int64
	pid       *int64
	epoch     int16
	seq       *int32
	count     *int32
	records   []record
	gzip      bool
	trailing  []byte // appended after the last record, inside the batch
	lenXor    int32
}

type record struct {
	tsDelta  int64
	offDelta *int64 // nil: its place in the batch
	key, val []byte
}

func ptr[T any](v T) *T { return &v }

func or[T any](p *T, v T) T {
	if p != nil {
		return *p
	}
	return v
}

// ofN is a batch of n records.
func ofN(n int) batch {
	var b batch
	for range n {
		b.records = append(b.records, record{key: []byte("k"), val: []byte("value")})
	}
	return b
}

func (b batch) bytes() []byte {
	var body []byte
	for i, r := range b.records {
		body = append(body, r.bytes(i)...)
	}
	body = append(body, b.trailing...)
	if b.gzip {
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		w.Write(body) // a bytes.Buffer never fails
		w.Close()
		body = z.Bytes()
		b.attrs |= 1
	}
	now := time.Now().UnixMilli()
	be := binary.BigEndian
	tail := be.AppendUint16(nil, uint16(b.attrs))
	tail = be.AppendUint32(tail, uint32(or(b.lastDelta, int32(len(b.records)-1))))
	tail = be.AppendUint64(tail, uint64(or(b.firstTs, now)))
	tail = be.AppendUint64(tail, uint64(or(b.maxTs, or(b.firstTs, now))))
	tail = be.AppendUint64(tail, uint64(or(b.pid, -1)))
	epoch, seq := int16(-1), int32(-1)
	if b.pid != nil {
		epoch, seq = b.epoch, or(b.seq, 0)
	} else if b.seq != nil {
		seq = *b.seq
	}
	tail = be.AppendUint16(tail, uint16(epoch))
	tail = be.AppendUint32(tail, uint32(seq))
	tail = be.AppendUint32(tail, uint32(or(b.count, int32(len(b.records)))))
	tail = append(tail, body...)

	out := be.AppendUint64(nil, uint64(b.base))
	out = be.AppendUint32(out, uint32(int32(9+len(tail))^b.lenXor))
	out = be.AppendUint32(out, 0xffffffff) // leader epoch -1
	out = append(out, byte(or(b.magic, 2)))
	out = be.AppendUint32(out, crc32.Checksum(tail, crc32.MakeTable(crc32.Castagnoli))^b.crcXor)
	return append(out, tail...)
}

func (r record) bytes(i int) []byte {
	body := []byte{0}
	body = binary.AppendVarint(body, r.tsDelta)
	body = binary.AppendVarint(body, or(r.offDelta, int64(i)))
	for _, p := range [][]byte{r.key, r.val} {
		if p == nil {
			body = binary.AppendVarint(body, -1)
			continue
		}
		body = binary.AppendVarint(body, int64(len(p)))
		body = append(body, p...)
	}
	body = append(body, 0) // no headers
	return append(binary.AppendVarint(nil, int64(len(body))), body...)
}

// messageSet is one message of the old formats, magic 0 or 1.
func messageSet(magic byte) []byte {
	be := binary.BigEndian
	body := []byte{magic, 0}
	if magic == 1 {
		body = be.AppendUint64(body, uint64(time.Now().UnixMilli()))
	}
	body = be.AppendUint32(body, 0xffffffff)
	body = be.AppendUint32(body, 5)
	body = append(body, "value"...)
	out := be.AppendUint64(nil, 0)
	out = be.AppendUint32(out, uint32(4+len(body)))
	out = be.AppendUint32(out, crc32.ChecksumIEEE(body))
	return append(out, body...)
}
