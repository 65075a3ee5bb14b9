package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// ParseHeader reads the header that b begins with, and answers its length in bytes, which is where the first run begins.
func ParseHeader(b []byte) (Header, int64, error) {
	if len(b) < HeaderSize || string(b[headerMagic:headerKind]) != magic {
		return Header{}, 0, corrupt("it does not begin with a header (%d bytes)", len(b))
	}
	if err := checkLevel(binary.BigEndian.Uint16(b[headerLevel:])); err != nil {
		return Header{}, 0, err
	}
	length := int(binary.BigEndian.Uint16(b[headerLength:]))
	if length < HeaderSize || length > len(b) {
		return Header{}, 0, corrupt("a header of %d bytes in %d", length, len(b))
	}
	if got, want := crc32.Checksum(b[:length-headTail], castagnoli), binary.BigEndian.Uint32(b[length-headTail:]); got != want {
		return Header{}, 0, corrupt("header has checksum %08x instead of %08x", got, want)
	}
	h := Header{Kind: Kind(b[headerKind]), Number: binary.BigEndian.Uint64(b[headerNumber:])}
	copy(h.Cluster[:], b[headerCluster:])
	copy(h.Owner[:], b[headerOwner:])
	if h.Kind != Mixed && h.Kind != Merged {
		return Header{}, 0, corrupt("unknown %s", h.Kind)
	}
	return h, int64(length), nil
}

// ParseFooter reads the footer that b ends with; b is the last bytes, at least FooterSize, of an object of size bytes.
func ParseFooter(b []byte, size int64) (Footer, error) {
	if len(b) < FooterSize || int64(len(b)) > size || string(b[len(b)-FooterSize+footerMagic:len(b)-1]) != magic {
		return Footer{}, corrupt("it does not end with a footer (%d of %d bytes)", len(b), size)
	}
	end := b[len(b)-trailer:] // what lies at the same distance from the end at every level
	if err := checkLevel(binary.BigEndian.Uint16(end)); err != nil {
		return Footer{}, err
	}
	length := int(binary.BigEndian.Uint16(end[footerLength-footerLevel:]))
	if length < FooterSize || length > len(b) {
		return Footer{}, corrupt("a footer of %d bytes in %d", length, len(b))
	}
	b = b[len(b)-length:]
	summed := length - FooterSize + footerChecksum
	if got, want := crc32.Checksum(b[:summed], castagnoli), binary.BigEndian.Uint32(b[summed:]); got != want {
		return Footer{}, corrupt("footer has checksum %08x instead of %08x", got, want)
	}
	position, bytes := binary.BigEndian.Uint64(b[footerIndexPosition:]), binary.BigEndian.Uint64(b[footerIndexLength:])
	f := Footer{
		Kind:          Kind(b[length-FooterSize+footerKind]),
		IndexCount:    int64(binary.BigEndian.Uint32(b[footerIndexCount:])),
		IndexChecksum: binary.BigEndian.Uint32(b[footerIndexChecksum:]),
		Length:        int64(length),
	}
	body := uint64(size - f.Length)
	switch {
	case position < HeaderSize || position > body || bytes != body-position:
		return Footer{}, corrupt("an index of %d bytes at %d does not end at the footer, at %d", bytes, position, body)
	case f.IndexCount > MaxRuns || bytes > maxIndex || uint64(f.IndexCount)*EntrySize > bytes:
		return Footer{}, corrupt("an index of %d runs in %d bytes", f.IndexCount, bytes)
	}
	f.IndexPosition, f.IndexLength = int64(position), int64(bytes)
	return f, nil
}

// ParseIndex reads the runs from the bytes of an index. Their positions are checked: back to back from start, which is the header's length,
// to the index.
func ParseIndex(b []byte, f Footer, start int64) ([]Run, error) {
	if int64(len(b)) != f.IndexLength {
		return nil, corrupt("%d bytes of an index of %d", len(b), f.IndexLength)
	}
	if got := crc32.Checksum(b, castagnoli); got != f.IndexChecksum {
		return nil, corrupt("index has checksum %08x instead of %08x", got, f.IndexChecksum)
	}
	runs := make([]Run, 0, min(f.IndexCount, int64(len(b)/EntrySize)))
	for at := start; len(b) > 0; {
		r, length, err := parseEntry(b)
		if err != nil {
			return nil, fmt.Errorf("run %d: %w", len(runs), err)
		}
		var before *Run
		if len(runs) > 0 {
			before = &runs[len(runs)-1]
		}
		if r.Position != at || r.Length > f.IndexPosition-at {
			return nil, corrupt("run %d has %d bytes at %d, but begins at %d, before the index at %d", len(runs), r.Length, r.Position, at, f.IndexPosition)
		}
		if err := checkRun(f.Kind, r, before); err != nil {
			return nil, corrupt("run %d: %v", len(runs), err)
		}
		at = r.End()
		runs = append(runs, r)
		b = b[length:]
	}
	if int64(len(runs)) != f.IndexCount {
		return nil, corrupt("an index of %d runs instead of %d", len(runs), f.IndexCount)
	}
	if n := len(runs); n == 0 || runs[n-1].End() != f.IndexPosition {
		return nil, corrupt("the runs do not reach the index at %d", f.IndexPosition)
	}
	return runs, nil
}

// parseEntry reads one entry and answers how many bytes it has.
func parseEntry(b []byte) (Run, int, error) {
	if len(b) < EntrySize {
		return Run{}, 0, corrupt("an index entry of %d bytes", len(b))
	}
	length := int(binary.BigEndian.Uint16(b[entryLength:]))
	if length < EntrySize || length > len(b) {
		return Run{}, 0, corrupt("an index entry of %d bytes in %d", length, len(b))
	}
	r := Run{
		Partition:    int32(binary.BigEndian.Uint32(b[entryPartition:])),
		Position:     int64(binary.BigEndian.Uint64(b[entryPosition:])),
		Length:       int64(binary.BigEndian.Uint64(b[entryBytes:])),
		BaseOffset:   int64(binary.BigEndian.Uint64(b[entryBaseOffset:])),
		Records:      int64(binary.BigEndian.Uint64(b[entryRecords:])),
		Batches:      int32(binary.BigEndian.Uint32(b[entryBatches:])),
		MaxTimestamp: int64(binary.BigEndian.Uint64(b[entryMaxTimestamp:])),
		Checksum:     binary.BigEndian.Uint32(b[entryChecksum:]),
	}
	copy(r.Topic[:], b[entryTopic:])
	return r, length, nil
}

// checkRun says what is wrong with a run of a segment of that kind; before is the run in front of it, or nil.
func checkRun(kind Kind, r Run, before *Run) error {
	switch {
	case r.Length <= 0:
		return fmt.Errorf("it has %d bytes", r.Length)
	case r.Records < 0 || r.Batches <= 0:
		return fmt.Errorf("it has %d records in %d batches", r.Records, r.Batches)
	case r.Partition < 0:
		return fmt.Errorf("it has partition %d", r.Partition)
	case kind == Mixed && r.BaseOffset < noOffset:
		return fmt.Errorf("it has base offset %d", r.BaseOffset)
	case kind == Merged && r.BaseOffset < 0:
		return errors.New("it has no final offset in a merged segment")
	case kind == Merged && before != nil && (before.Topic != r.Topic || before.Partition != r.Partition):
		return errors.New("it is of a second partition in a merged segment")
	case kind == Merged && before != nil && r.BaseOffset <= before.BaseOffset:
		return fmt.Errorf("it begins at offset %d, after a run that begins at %d", r.BaseOffset, before.BaseOffset)
	}
	return nil
}

// Parse reads what a whole object says about itself, without looking at its runs.
func Parse(b []byte) (Segment, error) {
	h, start, err := ParseHeader(b)
	if err != nil {
		return Segment{}, err
	}
	f, err := ParseFooter(b, int64(len(b)))
	if err != nil {
		return Segment{}, err
	}
	if f.Kind != h.Kind {
		return Segment{}, corrupt("the header says %s, the footer %s", h.Kind, f.Kind)
	}
	if f.IndexPosition < start {
		return Segment{}, corrupt("the index at %d lies within the header", f.IndexPosition)
	}
	runs, err := ParseIndex(b[f.IndexPosition:f.IndexPosition+f.IndexLength], f, start)
	if err != nil {
		return Segment{}, err
	}
	return Segment{Header: h, Footer: f, Runs: runs, Size: int64(len(b))}, nil
}

// Verify reads a whole object and checks every checksum of it, also those of the runs.
func Verify(b []byte) (Segment, error) {
	s, err := Parse(b)
	if err != nil {
		return Segment{}, err
	}
	for i, r := range s.Runs {
		if got := crc32.Checksum(b[r.Position:r.End()], castagnoli); got != r.Checksum {
			return Segment{}, corrupt("run %d, of partition %d, has checksum %08x instead of %08x", i, r.Partition, got, r.Checksum)
		}
	}
	return s, nil
}
