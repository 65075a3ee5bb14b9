// Package shape stands between bytes from outside and kmsg's decoder, which is quick and trusts what it reads: it makes an
// array of as many elements as there are bytes left (a 100 MiB frame asks for 7 GiB), and it runs a loop for each of the up
// to 2^32 tags that a count announces (one request of 30 bytes keeps a core busy for minutes). So every body is walked once
// first, allocating nothing, in time proportional to its length; it is refused unless every element and every tag that is
// announced is really there, and the walk tells what the decoded form will take. The package knows no connection, and must never
// allocate on the word of a length, or take longer than the bytes that are there.
package shape

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// shapes.txt has a line per request: key, name, first flexible version (-1: none), fields in wire order:
//
//	1 2 4 8 u    fixed, that many bytes; u is a UUID          *4        an array of such
//	s b          string, bytes, both possibly null            [ … ]     an array of structs
//	{ … } ?{ … } a struct, a nullable struct                   x@3-8     only in versions 3 to 8 (x@3-: from 3 on)
//	#1:x         tagged field 1 (flexible versions only)
//
//go:generate go run ./shapegen
//go:embed shapes.txt
var shapesText string

// ErrMalformed is what a body or a header is that does not have the shape of its request.
var ErrMalformed = errors.New("malformed request")

// shapes is read-only after init, by API key.
var shapes = mustParseShapes(shapesText)

// Shape is the form of one request over all its versions. It is read-only.
type Shape struct {
	Name     string // without "Request"
	flexible int16  // the first flexible version (KIP-482); none if maxVersion
	fields   []field
}

const maxVersion = 1<<15 - 1

// field is one value on the wire.
type field struct {
	kind     byte // 'f' fixed, 's' string, 'b' bytes, '[' array, '{' struct, '?' nullable struct
	size     int  // of a fixed one, in bytes
	min, max int16
	tag      int     // -1: not tagged
	plain    bool    // of an array: its elements are fields[0], not structs with tags
	fields   []field // of a struct or of an array's element
	memory   int64   // what one element of an array, or a nullable struct, takes decoded, without what it points to
}

// in tells whether the field is there in version v.
func (f *field) in(v int16) bool { return f.tag < 0 && f.min <= v && v <= f.max }

const tagMemory = 96 // of one unknown tag in kmsg's map, while it grows

// walker walks one body.
type walker struct {
	src      []byte
	version  int16
	flexible bool
	memory   int64
}

// Of answers the shape of the request with an API key; nil if there is none.
func Of(key int16) *Shape { return shapes[key] }

// Name is that of the request with an API key, "" for an unknown one.
func Name(key int16) string {
	if s := shapes[key]; s != nil {
		return s.Name
	}
	return ""
}

// Flexible tells whether a version has compact lengths and tags (KIP-482), and with them the request header v2.
func (s *Shape) Flexible(version int16) bool { return version >= s.flexible }

// Header reads what follows the fixed part of a request header: client id, "" also if null, and in flexible versions tags. It answers
// the rest, which is the body, or ErrMalformed.
func (s *Shape) Header(version int16, src []byte) (clientID string, body []byte, err error) {
	w := walker{src: src, version: version} // a client id is never compact
	n, ok := w.length(2)
	if !ok || n > int64(len(w.src)) {
		return "", nil, fmt.Errorf("%w: client id of %s", ErrMalformed, s.Name)
	}
	if n > 0 {
		clientID = string(w.src[:n])
		w.src = w.src[n:]
	}
	if s.Flexible(version) && !w.tags(nil) {
		return clientID, nil, fmt.Errorf("%w: tags of %s", ErrMalformed, s.Name)
	}
	return clientID, w.src, nil
}

// Check answers the memory in bytes that decoding body as the request in a version takes besides body itself, or ErrMalformed.
// Bytes after the end are ignored, as Kafka and kmsg do.
func (s *Shape) Check(version int16, body []byte) (memory int64, err error) {
	w := walker{src: body, version: version, flexible: s.Flexible(version)}
	if !w.structure(s.fields) {
		return 0, fmt.Errorf("%w: %s version %d of %d bytes", ErrMalformed, s.Name, version, len(body))
	}
	return w.memory, nil
}

func (w *walker) structure(fields []field) bool {
	for i := range fields {
		if f := &fields[i]; f.in(w.version) && !w.value(f) {
			return false
		}
	}
	return !w.flexible || w.tags(fields)
}

func (w *walker) value(f *field) bool {
	switch f.kind {
	case 'f':
		return w.skip(int64(f.size))
	case 's':
		n, ok := w.length(2)
		w.memory += max(n, 0)
		return ok && (n < 0 || w.skip(n))
	case 'b':
		n, ok := w.length(4)
		return ok && (n < 0 || w.skip(n))
	case '{':
		return w.structure(f.fields)
	case '?':
		if len(w.src) == 0 {
			return false
		}
		present := int8(w.src[0]) != -1
		w.src = w.src[1:]
		if !present {
			return true
		}
		w.memory += f.memory
		return w.structure(f.fields)
	}
	return w.array(f)
}

// array walks an array; every element has at least one byte, so a count beyond the bytes that are left is a lie.
func (w *walker) array(f *field) bool {
	n, ok := w.length(4)
	if !ok || n > int64(len(w.src)) {
		return false
	}
	w.memory += max(n, 0) * f.memory
	for range n {
		if f.plain && !w.value(&f.fields[0]) || !f.plain && !w.structure(f.fields) {
			return false
		}
	}
	return true
}

// tags walks a tag section: count, then for each tag its number, its size and so many bytes.
func (w *walker) tags(fields []field) bool {
	n, ok := w.uvarint()
	if !ok || int64(n) > int64(len(w.src)) {
		return false
	}
	for range n {
		tag, ok := w.uvarint()
		if !ok {
			return false
		}
		size, ok := w.uvarint()
		if !ok || int64(size) > int64(len(w.src)) {
			return false
		}
		rest := w.src[size:]
		w.src = w.src[:size:size]
		w.memory += tagMemory
		for i := range fields {
			if fields[i].tag == int(tag) && !w.value(&fields[i]) {
				return false
			}
		}
		w.src = rest
	}
	return true
}

// length reads the length of a string, bytes or an array: compact in flexible versions, else fixed bytes wide; -1 is null.
func (w *walker) length(fixed int) (int64, bool) {
	if w.flexible {
		n, ok := w.uvarint()
		return int64(n) - 1, ok
	}
	if len(w.src) < fixed {
		return 0, false
	}
	var n int64
	if fixed == 2 {
		n = int64(int16(binary.BigEndian.Uint16(w.src)))
	} else {
		n = int64(int32(binary.BigEndian.Uint32(w.src)))
	}
	w.src = w.src[fixed:]
	return n, n >= -1
}

func (w *walker) skip(n int64) bool {
	if n > int64(len(w.src)) {
		return false
	}
	w.src = w.src[n:]
	return true
}

// uvarint reads an unsigned varint of at most 32 bits in at most 5 bytes, as kmsg does.
func (w *walker) uvarint() (uint32, bool) {
	var x uint32
	for i := 0; i < 5 && i < len(w.src); i++ {
		c := w.src[i]
		x |= uint32(c&0x7f) << (7 * i)
		if c < 0x80 {
			w.src = w.src[i+1:]
			return x, i < 4 || c <= 0x0f
		}
	}
	return 0, false
}

// mustParseShapes reads the embedded table; it was generated and a test reads it, so a panic can't depend on input.
func mustParseShapes(text string) map[int16]*Shape {
	all := map[int16]*Shape{}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		key, err1 := strconv.ParseInt(words[0], 10, 16)
		flexible, err2 := strconv.ParseInt(words[2], 10, 16)
		if err1 != nil || err2 != nil {
			panic("shapes.txt: " + line)
		}
		if flexible < 0 {
			flexible = maxVersion
		}
		rest := words[3:]
		all[int16(key)] = &Shape{
			Name:     strings.TrimSuffix(words[1], "Request"),
			flexible: int16(flexible),
			fields:   parseFields(&rest),
		}
	}
	return all
}

// parseFields takes fields from words up to the end or to a closing bracket, which it leaves.
func parseFields(words *[]string) []field {
	var fields []field
	for len(*words) > 0 && !strings.HasPrefix((*words)[0], "]") && !strings.HasPrefix((*words)[0], "}") {
		word := (*words)[0]
		*words = (*words)[1:]
		f := field{tag: -1, max: maxVersion}
		if rest, ok := strings.CutPrefix(word, "#"); ok {
			number, kind, _ := strings.Cut(rest, ":")
			f.tag, word = mustAtoi(number), kind
		}
		switch word[0] {
		case '[', '{', '?':
			f.kind = word[0]
			f.fields = parseFields(words)
			f.memory = memoryOf(f.fields) + 8
			word = (*words)[0] // the closing bracket carries the versions
			*words = (*words)[1:]
		case '*':
			element := primitive(word[1])
			f.kind, f.plain, f.fields, f.memory = '[', true, []field{element}, memoryOf([]field{element})
		default:
			f.kind, f.size = primitive(word[0]).kind, primitive(word[0]).size
		}
		if _, span, ok := strings.Cut(word, "@"); ok {
			from, to, _ := strings.Cut(span, "-")
			f.min = int16(mustAtoi(from))
			if to != "" {
				f.max = int16(mustAtoi(to))
			}
		}
		fields = append(fields, f)
	}
	return fields
}

func primitive(c byte) field {
	switch c {
	case 's', 'b':
		return field{kind: c, tag: -1, max: maxVersion}
	case 'u':
		return field{kind: 'f', size: 16, tag: -1, max: maxVersion}
	}
	return field{kind: 'f', size: mustAtoi(string(c)), tag: -1, max: maxVersion}
}

// memoryOf is at least what a struct of these fields takes in kmsg's form, padding included.
func memoryOf(fields []field) int64 {
	var n int64
	for _, f := range fields {
		switch f.kind {
		case 'f':
			n += int64(max(f.size, 8))
		case '{':
			n += f.memory
		default:
			n += 24
		}
	}
	return n
}

func mustAtoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic("shapes.txt: " + err.Error())
	}
	return n
}
