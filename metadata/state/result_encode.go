package state

import (
	"encoding/binary"
	"math"
)

// encode packs the batches without tags. Each is
//
//	flags     uvarint  code<<2 | has a log start (1) | duplicate (2)
//	base      zigzag   minus the base offset before
//	logStart  zigzag   minus the one before; only if flagged, else as the one before
func (r *Result) encode(w *writer) {
	w.uint(1, uint64(r.Code))
	w.uint(2, r.Index)
	w.int(3, r.Number)
	w.uuid(4, r.Topic)
	var b []byte
	var base, start int64
	for i := range r.Batches {
		x := &r.Batches[i]
		flags := uint64(x.Code) << 2
		if x.LogStart != start {
			flags |= 1
		}
		if x.Duplicate {
			flags |= 2
		}
		b = binary.AppendUvarint(b, flags)
		b = binary.AppendUvarint(b, zigzag(x.Base-base))
		if x.LogStart != start {
			b = binary.AppendUvarint(b, zigzag(x.LogStart-start))
		}
		base, start = x.Base, x.LogStart
	}
	w.bytes(5, b)
	b = nil
	for _, c := range r.Partitions {
		b = binary.AppendUvarint(b, uint64(c))
	}
	w.bytes(6, b)
}

func decodeResult(r *reader) (x Result) {
	r.message(func(r *reader) { x.decodeField(r) })
	return x
}

func (x *Result) decodeField(r *reader) {
	switch r.field {
	case 1:
		x.Code = Code(r.uintUpTo(math.MaxUint16))
	case 2:
		x.Index = r.uint()
	case 3:
		x.Number = r.int()
	case 4:
		x.Topic = r.uuid()
	case 5:
		x.decodeBatches(r)
	case 6:
		m := reader{b: r.raw(), field: r.field}
		for m.err == nil && len(m.b) > 0 {
			x.Partitions = append(x.Partitions, Code(m.below(math.MaxUint16+1)))
		}
		if r.err == nil {
			r.err = m.err
		}
	default:
		r.skip()
	}
}

func (x *Result) decodeBatches(r *reader) {
	m := reader{b: r.raw(), field: r.field}
	x.Batches = make([]BatchResult, 0, len(m.b)/2)
	var base, start int64
	for m.err == nil && len(m.b) > 0 {
		flags := m.below((math.MaxUint16 + 1) << 2)
		base += m.varint()
		if flags&1 != 0 {
			start += m.varint()
		}
		x.Batches = append(x.Batches, BatchResult{Code: Code(flags >> 2), Duplicate: flags&2 != 0, Base: base, LogStart: start})
	}
	if r.err == nil {
		r.err = m.err
	}
}

// EncodeResults encodes results for another agent of any version, DecodeResults reads them; fields that a newer agent added are
// skipped.
func EncodeResults(rs []Result) []byte {
	var w writer
	for i := range rs {
		w.message(1, rs[i].encode)
	}
	return w.b
}

// DecodeResults is the reverse of EncodeResults. ErrCorrupt.
func DecodeResults(b []byte) ([]Result, error) {
	var rs []Result
	r := reader{b: b}
	for r.next() {
		if r.field != 1 {
			r.skip()
			continue
		}
		rs = append(rs, decodeResult(&r))
	}
	return rs, r.err
}
