package segment

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/leat-stream/leat/objectstore"
)

// Builder gathers runs into the body of one object. It copies none of their bytes: those must not change until the object was put. One goroutine
// uses a Builder, once.
type Builder struct {
	header Header
	runs   []Run
	parts  [][]byte // header, then the parts of the runs
	size   int64    // bytes so far
	err    error    // the first thing that was wrong, answered by Finish
}

// RunInfo is what a Builder is told about a run; the rest it finds out.
type RunInfo struct {
	BaseOffset   int64 // −1 in mixed segments
	Records      int64
	Batches      int32
	MaxTimestamp int64 // milliseconds
}

// NewBuilder begins an object.
func NewBuilder(h Header) *Builder {
	b := &Builder{header: h, size: HeaderSize, parts: [][]byte{appendHeader(make([]byte, 0, HeaderSize), h)}}
	if h.Kind != Mixed && h.Kind != Merged {
		b.err = fmt.Errorf("%w: %s", ErrInvalid, h.Kind)
	}
	return b
}

// Add appends a run, whose bytes are the parts one after the other, and answers its position in the object. What is wrong with it is
// reported by Finish: no bytes, no records, a merged segment with a second partition or without final offsets in order.
func (b *Builder) Add(topic [16]byte, partition int32, parts [][]byte, info RunInfo) (position int64) {
	r := Run{
		Topic: topic, Partition: partition, Position: b.size,
		BaseOffset: info.BaseOffset, Records: info.Records, Batches: info.Batches, MaxTimestamp: info.MaxTimestamp,
	}
	for _, p := range parts {
		r.Length += int64(len(p))
		r.Checksum = crc32.Update(r.Checksum, castagnoli, p)
	}
	var before *Run
	if len(b.runs) > 0 {
		before = &b.runs[len(b.runs)-1]
	}
	if err := checkRun(b.header.Kind, r, before); err != nil && b.err == nil {
		b.err = fmt.Errorf("%w: run %d: %w", ErrInvalid, len(b.runs), err)
	}
	b.parts = append(b.parts, parts...)
	b.runs = append(b.runs, r)
	b.size += r.Length
	return r.Position
}

// Size is the bytes that the object would have if it were finished now.
func (b *Builder) Size() int64 { return b.size + int64(len(b.runs))*EntrySize + FooterSize }

// Finish answers the body to put and what it says about itself. ErrInvalid if any Add was, or if there was none.
func (b *Builder) Finish() (objectstore.Body, Segment, error) {
	switch {
	case b.err != nil:
		return objectstore.Body{}, Segment{}, b.err
	case len(b.runs) == 0:
		return objectstore.Body{}, Segment{}, fmt.Errorf("%w: it has no runs", ErrInvalid)
	case len(b.runs) > MaxRuns:
		return objectstore.Body{}, Segment{}, fmt.Errorf("%w: %d runs are more than %d", ErrInvalid, len(b.runs), MaxRuns)
	}
	tail := make([]byte, 0, len(b.runs)*EntrySize+FooterSize)
	for _, r := range b.runs {
		tail = appendEntry(tail, r)
	}
	f := Footer{
		Kind: b.header.Kind, IndexPosition: b.size, IndexLength: int64(len(tail)), IndexCount: int64(len(b.runs)),
		IndexChecksum: crc32.Checksum(tail, castagnoli), Length: FooterSize,
	}
	tail = appendFooter(tail, f)
	body := objectstore.NewBody(append(b.parts, tail)...)
	return body, Segment{Header: b.header, Footer: f, Runs: b.runs, Size: body.Size()}, nil
}

func appendHeader(out []byte, h Header) []byte {
	at := len(out)
	out = append(out, magic...)
	out = append(out, byte(h.Kind))
	out = binary.BigEndian.AppendUint16(out, Level)
	out = binary.BigEndian.AppendUint16(out, HeaderSize)
	out = append(out, h.Cluster[:]...)
	out = append(out, h.Owner[:]...)
	out = binary.BigEndian.AppendUint64(out, h.Number)
	return binary.BigEndian.AppendUint32(out, crc32.Checksum(out[at:], castagnoli))
}

func appendEntry(out []byte, r Run) []byte {
	out = binary.BigEndian.AppendUint16(out, EntrySize)
	out = append(out, r.Topic[:]...)
	out = binary.BigEndian.AppendUint32(out, uint32(r.Partition))
	out = binary.BigEndian.AppendUint64(out, uint64(r.Position))
	out = binary.BigEndian.AppendUint64(out, uint64(r.Length))
	out = binary.BigEndian.AppendUint64(out, uint64(r.BaseOffset))
	out = binary.BigEndian.AppendUint64(out, uint64(r.Records))
	out = binary.BigEndian.AppendUint32(out, uint32(r.Batches))
	out = binary.BigEndian.AppendUint64(out, uint64(r.MaxTimestamp))
	return binary.BigEndian.AppendUint32(out, r.Checksum)
}

func appendFooter(out []byte, f Footer) []byte {
	at := len(out)
	out = binary.BigEndian.AppendUint64(out, uint64(f.IndexPosition))
	out = binary.BigEndian.AppendUint64(out, uint64(f.IndexLength))
	out = binary.BigEndian.AppendUint32(out, uint32(f.IndexCount))
	out = binary.BigEndian.AppendUint32(out, f.IndexChecksum)
	out = binary.BigEndian.AppendUint16(out, Level)
	out = binary.BigEndian.AppendUint16(out, FooterSize)
	out = binary.BigEndian.AppendUint32(out, crc32.Checksum(out[at:], castagnoli))
	out = append(out, magic...)
	return append(out, byte(f.Kind))
}
