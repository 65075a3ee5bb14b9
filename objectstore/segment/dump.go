package segment

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// field is one line of an annotated dump.
type field struct {
	at, size int
	name     string
	show     func(b []byte) string
}

// The layouts at level 1, as FORMAT.md draws them; a test compares the two.
var (
	headerLayout = []field{
		{headerMagic, 7, "magic", text},
		{headerKind, 1, "kind", kind},
		{headerLevel, 2, "level", unsigned},
		{headerLength, 2, "header length", unsigned},
		{headerCluster, 16, "cluster", nil},
		{headerOwner, 16, "owner", nil},
		{headerNumber, 8, "number", unsigned},
		{headerChecksum, 4, "header crc32c", nil},
	}
	entryLayout = []field{
		{entryLength, 2, "entry length", unsigned},
		{entryTopic, 16, "topic id", nil},
		{entryPartition, 4, "partition", signed},
		{entryPosition, 8, "position", unsigned},
		{entryBytes, 8, "length", unsigned},
		{entryBaseOffset, 8, "base offset", signed},
		{entryRecords, 8, "records", unsigned},
		{entryBatches, 4, "batches", unsigned},
		{entryMaxTimestamp, 8, "max timestamp", signed},
		{entryChecksum, 4, "run crc32c", nil},
	}
	footerLayout = []field{
		{footerIndexPosition, 8, "index position", unsigned},
		{footerIndexLength, 8, "index length", unsigned},
		{footerIndexCount, 4, "index count", unsigned},
		{footerIndexChecksum, 4, "index crc32c", nil},
		{footerLevel, 2, "level", unsigned},
		{footerLength, 2, "footer length", unsigned},
		{footerChecksum, 4, "footer crc32c", nil},
		{footerMagic, 7, "magic", text},
		{footerKind, 1, "kind", kind},
	}
)

func text(b []byte) string { return fmt.Sprintf("%q", b) }
func kind(b []byte) string { return Kind(b[0]).String() }

func unsigned(b []byte) string {
	var wide [8]byte
	copy(wide[8-len(b):], b)
	return fmt.Sprint(binary.BigEndian.Uint64(wide[:]))
}

func signed(b []byte) string {
	if len(b) == 4 {
		return fmt.Sprint(int32(binary.BigEndian.Uint32(b)))
	}
	return fmt.Sprint(int64(binary.BigEndian.Uint64(b)))
}

// DumpRun prints what is in a run: its bytes b, of which the first has that position in the object.
type DumpRun func(w io.Writer, position int64, b []byte) error

// Dump prints a whole object for people: a line per field with position, bytes and meaning. Runs are printed by run, or only
// their sizes if it is nil. What is wrong with the object is printed where it is found and answered as the error; it is dumped as
// far as it can be understood.
func Dump(w io.Writer, b []byte, run DumpRun) error {
	out := bufio.NewWriter(w)
	err := dump(out, b, run)
	if err != nil {
		fmt.Fprintf(out, "!! %v\n", err)
	}
	if flush := out.Flush(); flush != nil {
		return flush
	}
	return err
}

func dump(w io.Writer, b []byte, run DumpRun) error {
	_, start, err := ParseHeader(b)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "header\n")
	lines(w, b, 0, int(start), headTail, headerLayout)
	s, err := Parse(b)
	if err != nil {
		return err
	}
	for i, r := range s.Runs {
		fmt.Fprintf(w, "run %d: partition %d of %x\n", i, r.Partition, r.Topic)
		fmt.Fprintf(w, "%10d  %d bytes, %d records in %d batches\n", r.Position, r.Length, r.Records, r.Batches)
		if run == nil {
			continue
		}
		if err := run(w, r.Position, b[r.Position:r.End():r.End()]); err != nil {
			fmt.Fprintf(w, "!! run %d: %v\n", i, err)
		}
	}
	at := int(s.Footer.IndexPosition)
	for i := range s.Runs {
		_, length, err := parseEntry(b[at:])
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "index entry %d\n", i)
		lines(w, b, at, length, 0, entryLayout)
		at += length
	}
	fmt.Fprintf(w, "footer\n")
	lines(w, b, at, int(s.Footer.Length), trailer, footerLayout)
	_, err = Verify(b)
	return err
}

// lines prints a structure of length bytes at a position. Fields that a later version put in front of the last fixed bytes are printed
// as they are.
func lines(w io.Writer, b []byte, at, length, fixed int, layout []field) {
	last := layout[len(layout)-1]
	extra := length - last.at - last.size
	for _, f := range layout {
		from := at + f.at
		if f.at >= last.at+last.size-fixed {
			if extra > 0 {
				fmt.Fprintf(w, "%10d  %x  unknown to this version\n", from, b[from:from+extra])
				at, from, extra = at+extra, from+extra, 0
			}
		}
		bytes := b[from : from+f.size]
		fmt.Fprintf(w, "%10d  %-32x  %s", from, bytes, f.name)
		if f.show != nil {
			fmt.Fprintf(w, " %s", f.show(bytes))
		}
		fmt.Fprintln(w)
	}
	if extra > 0 {
		fmt.Fprintf(w, "%10d  %x  unknown to this version\n", at+last.at+last.size, b[at+last.at+last.size:at+last.at+last.size+extra])
	}
}

// Is tells by its first bytes whether b is a segment.
func Is(b []byte) bool { return len(b) >= len(magic) && string(b[:len(magic)]) == magic }
