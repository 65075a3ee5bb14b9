package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// Dump writes the annotated bytes of an encoded entry or head, one field a line, and fails as a decoder would, after
// writing what can be told. body prints an entry's body, which the journal does not understand; nil prints it as hex.
func Dump(w io.Writer, b []byte, body func(io.Writer, []byte)) error {
	p := printer{w: w, b: b}
	switch {
	case bytes.HasPrefix(b, []byte(entryMagic)):
		p.entry(body)
	case bytes.HasPrefix(b, []byte(headMagic)):
		p.head()
	default:
		p.err = fmt.Errorf("%w: neither an entry nor a head of a journal", ErrCorrupt)
	}
	if p.err != nil {
		fmt.Fprintf(w, "!! %v\n", p.err)
	}
	return p.err
}

// printer prints fields one after the other; it belongs to one Dump.
type printer struct {
	w   io.Writer
	b   []byte
	pos int
	err error
}

// field prints the next n bytes as hex with the meaning beside.
func (p *printer) field(n int, name, format string, args ...any) {
	line := fmt.Sprintf("%06d  %-34s %-9s "+format,
		append([]any{p.pos, hex.EncodeToString(p.b[p.pos : p.pos+n]), name}, args...)...)
	fmt.Fprintln(p.w, strings.TrimRight(line, " "))
	p.pos += n
}

func (p *printer) entry(body func(io.Writer, []byte)) {
	e, cluster, err := parseEntry(p.b)
	if p.err = err; err != nil {
		return
	}
	p.prefix()
	p.field(1, "kind", "%s", e.Kind)
	p.field(1, "zero", "")
	p.field(8, "index", "%d", e.Index)
	p.field(16, "term", "%x", e.Term)
	p.field(16, "cluster", "%x", cluster)
	p.field(4, "length", "%d bytes of body", len(e.Body))
	if body == nil {
		body = func(w io.Writer, b []byte) { fmt.Fprint(w, hex.Dump(b)) }
	}
	fmt.Fprintf(p.w, "%06d  body:\n", p.pos)
	body(p.w, e.Body)
	p.pos += len(e.Body)
	p.field(4, "crc32c", "right")
}

func (p *printer) head() {
	h, err := DecodeHead(p.b)
	if p.err = err; err != nil {
		return
	}
	p.prefix()
	p.field(1, "driver", "%s", h.Driver)
	p.field(1, "zero", "")
	p.field(16, "cluster", "%x", h.Cluster)
	p.field(8, "snapshot", "%d", h.Snapshot)
	p.field(16, "manifest", "%x", h.Manifest)
	p.field(8, "boundary", "%d", h.Boundary)
	p.field(4, "crc32c", "right")
}

func (p *printer) prefix() {
	p.field(4, "magic", "%q", p.b[:4])
	p.field(2, "level", "%d", binary.BigEndian.Uint16(p.b[4:]))
}

// String names the kind.
func (k Kind) String() string {
	switch k {
	case KindFence:
		return "fence"
	case KindCommands:
		return "commands"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Is tells by its first bytes whether b is an encoded entry or head.
func Is(b []byte) bool {
	return bytes.HasPrefix(b, []byte(entryMagic)) || bytes.HasPrefix(b, []byte(headMagic))
}
