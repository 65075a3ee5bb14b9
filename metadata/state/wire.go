package state

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Everything that is stored is made of messages. A message is a row of fields in ascending order of their numbers:
//
//	field:  key uvarint = number<<1 | kind   kind 0: value uvarint     kind 1: length uvarint, bytes
//
// Signed values are zigzag. A field with its zero value is left out, so a field that is added later reads as zero from
// what was written before, and what does not use it is written as before, byte for byte. Repeated fields occur repeatedly.
// What an unknown field does is up to the message: see reader.

// writer appends a message.
type writer struct{ b []byte }

func (w *writer) uint(field int, v uint64) {
	if v != 0 {
		w.b = append(w.b, byte(field<<1))
		w.b = binary.AppendUvarint(w.b, v)
	}
}

func (w *writer) int(field int, v int64) { w.uint(field, zigzag(v)) }

func (w *writer) bool(field int, v bool) {
	if v {
		w.uint(field, 1)
	}
}

// repeated appends bytes also if they are empty.
func (w *writer) repeated(field int, v []byte) {
	w.b = append(w.b, byte(field<<1|1))
	w.b = binary.AppendUvarint(w.b, uint64(len(v)))
	w.b = append(w.b, v...)
}

func (w *writer) bytes(field int, v []byte) {
	if len(v) > 0 {
		w.repeated(field, v)
	}
}

func (w *writer) string(field int, v string) {
	if len(v) > 0 {
		w.repeatedString(field, v)
	}
}

func (w *writer) repeatedString(field int, v string) {
	w.b = append(w.b, byte(field<<1|1))
	w.b = binary.AppendUvarint(w.b, uint64(len(v)))
	w.b = append(w.b, v...)
}

func (w *writer) uuid(field int, v UUID) {
	if !v.IsZero() {
		w.repeated(field, v[:])
	}
}

func (w *writer) fixed64(field int, v uint64) {
	if v != 0 {
		w.repeated(field, binary.LittleEndian.AppendUint64(nil, v))
	}
}

// message appends a nested message, also if it is empty.
func (w *writer) message(field int, body func(*writer)) {
	var m writer
	body(&m)
	w.repeated(field, m.b)
}

func zigzag(v int64) uint64   { return uint64(v)<<1 ^ uint64(v>>63) }
func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

// reader walks the fields of a message that may hold anything. The first fault stays in err and ends the walk; values read
// after it are zero.
type reader struct {
	b       []byte
	unknown error // what a field that the caller does not know is; nil: such a field is skipped
	err     error

	field int
	kind  uint8
	value uint64
	data  []byte // aliases the input
}

// next moves to the next field and reports whether there is one.
func (r *reader) next() bool {
	if r.err != nil || len(r.b) == 0 {
		return false
	}
	key := r.uvarint()
	r.value = r.uvarint()
	if r.err != nil {
		return false
	}
	if key>>1 < uint64(r.field) || key>>1 == 0 || key>>1 > 63 {
		r.corrupt("field number")
		return false
	}
	r.field, r.kind, r.data = int(key>>1), uint8(key&1), nil
	if r.kind == 1 {
		r.data = r.take(r.value)
	}
	return r.err == nil
}

func (r *reader) corrupt(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s of field %d", ErrCorrupt, what, r.field)
		r.b = nil
	}
}

// skip is for the fields that the caller does not know.
func (r *reader) skip() {
	if r.unknown != nil && r.err == nil {
		r.err = fmt.Errorf("%w: unknown field %d", r.unknown, r.field)
	}
}

// uvarint reads a bare varint; it is also the primitive of the packed encodings.
func (r *reader) uvarint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.corrupt("varint")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 { return unzigzag(r.uvarint()) }

// below reads a bare varint that must be less than limit.
func (r *reader) below(limit uint64) uint64 {
	v := r.uvarint()
	if v >= limit && r.err == nil {
		r.corrupt("range")
		return 0
	}
	return v
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.corrupt("length")
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) uint() uint64 {
	if r.kind != 0 {
		r.corrupt("kind")
		return 0
	}
	return r.value
}

func (r *reader) uintUpTo(limit uint64) uint64 {
	v := r.uint()
	if v > limit {
		r.corrupt("range")
		return 0
	}
	return v
}

func (r *reader) int() int64 { return unzigzag(r.uint()) }

func (r *reader) int32() int32 {
	v := r.int()
	if v < math.MinInt32 || v > math.MaxInt32 {
		r.corrupt("range")
		return 0
	}
	return int32(v)
}

func (r *reader) int16() int16 {
	v := r.int32()
	if v < math.MinInt16 || v > math.MaxInt16 {
		r.corrupt("range")
		return 0
	}
	return int16(v)
}

func (r *reader) bool() bool { return r.uintUpTo(1) == 1 }

// raw answers the bytes of the field; they alias the input.
func (r *reader) raw() []byte {
	if r.kind != 1 {
		r.corrupt("kind")
		return nil
	}
	return r.data
}

// bytes answers a copy; nil if there are none.
func (r *reader) bytes() []byte { return append([]byte(nil), r.raw()...) }

func (r *reader) string() string { return string(r.raw()) }

func (r *reader) uuid() (u UUID) {
	b := r.raw()
	if r.err == nil && len(b) != len(u) {
		r.corrupt("length")
		return u
	}
	copy(u[:], b)
	return u
}

func (r *reader) fixed64() uint64 {
	b := r.raw()
	if len(b) != 8 {
		r.corrupt("length")
		return 0
	}
	return binary.LittleEndian.Uint64(b)
}

// message walks a nested message with body, which is called once for each of its fields.
func (r *reader) message(body func(*reader)) {
	m := reader{b: r.raw(), unknown: r.unknown}
	for m.next() {
		body(&m)
	}
	if r.err == nil {
		r.err = m.err
	}
}
