package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// The bytes of an entry and of head, all numbers big-endian (FORMAT.md has the same, with the rules):
//
//	entry                                    head
//	 0  4  magic "LeJE"                       0  4  magic "LeJH"
//	 4  2  level                              4  2  level
//	 6  1  kind                               6  1  driver
//	 7  1  zero                               7  1  zero
//	 8  8  index                              8 16  cluster
//	16 16  term                              24  8  snapshot
//	32 16  cluster                           32 16  manifest
//	48  4  n, length of body                 48  8  boundary
//	52  n  body                              56  4  CRC-32C of all before
//	52+n 4 CRC-32C of all before
//
// Magic, level and the trailing checksum stay where they are in every level to come, so that a damaged object is always told
// from a newer one.
const (
	// Level is the format level that this version writes, and the highest that it reads, for entries and head.
	Level = 1
	// MaxBody bounds the body of an entry, in bytes.
	MaxBody = 16 << 20
	// EntryOverhead is how much longer an encoded entry is than its body, in bytes.
	EntryOverhead = entryHeader + checksumSize
	// HeadSize is the length of an encoded head, in bytes.
	HeadSize = 60

	entryMagic   = "LeJE"
	headMagic    = "LeJH"
	entryHeader  = 52
	checksumSize = 4
	prefixSize   = 6 // magic and level
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// EncodeEntry answers the bytes of e as an entry of cluster. ErrTooLarge if its body exceeds MaxBody.
func EncodeEntry(cluster [16]byte, e Entry) ([]byte, error) {
	if len(e.Body) > MaxBody {
		return nil, fmt.Errorf("%w: entry %d has %d bytes, at most %d are allowed", ErrTooLarge, e.Index, len(e.Body), MaxBody)
	}
	b := make([]byte, 0, EntryOverhead+len(e.Body))
	b = append(b, entryMagic...)
	b = binary.BigEndian.AppendUint16(b, Level)
	b = append(b, byte(e.Kind), 0)
	b = binary.BigEndian.AppendUint64(b, e.Index)
	b = append(b, e.Term[:]...)
	b = append(b, cluster[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(e.Body)))
	b = append(b, e.Body...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

// DecodeEntry reads what EncodeEntry wrote for that cluster and index. ErrFormat if a newer version wrote it; ErrCorrupt for
// anything else that is not exactly that entry, also one that belongs to another index or cluster. The body of the
// answer shares b.
func DecodeEntry(b []byte, cluster [16]byte, index uint64) (Entry, error) {
	e, owner, err := parseEntry(b)
	switch {
	case err != nil:
		return Entry{}, fmt.Errorf("entry %d: %w", index, err)
	case e.Index != index:
		return Entry{}, fmt.Errorf("entry %d: %w: it says that its index is %d", index, ErrCorrupt, e.Index)
	case owner != cluster:
		return Entry{}, fmt.Errorf("entry %d: %w: it belongs to cluster %x, not %x", index, ErrCorrupt, owner, cluster)
	}
	return e, nil
}

// parseEntry reads an entry of whatever index and cluster.
func parseEntry(b []byte) (e Entry, cluster [16]byte, err error) {
	if err := checkEnvelope(b, entryMagic); err != nil {
		return Entry{}, cluster, err
	}
	if len(b) < EntryOverhead {
		return Entry{}, cluster, fmt.Errorf("%w: %d bytes are too few", ErrCorrupt, len(b))
	}
	e = Entry{Kind: Kind(b[6]), Index: binary.BigEndian.Uint64(b[8:]), Term: TermID(b[16:32])}
	cluster = [16]byte(b[32:48])
	n := binary.BigEndian.Uint32(b[48:])
	switch {
	case e.Kind != KindFence && e.Kind != KindCommands:
		err = fmt.Errorf("%w: kind %d does not exist", ErrCorrupt, e.Kind)
	case b[7] != 0:
		err = fmt.Errorf("%w: byte 7 is %d, must be 0", ErrCorrupt, b[7])
	case uint64(n) != uint64(len(b)-EntryOverhead):
		err = fmt.Errorf("%w: body should have %d bytes and has %d", ErrCorrupt, n, len(b)-EntryOverhead)
	case n > MaxBody:
		err = fmt.Errorf("%w: body has %d bytes, at most %d are allowed", ErrCorrupt, n, MaxBody)
	}
	if err != nil {
		return Entry{}, cluster, err
	}
	e.Body = b[entryHeader : len(b)-checksumSize : len(b)-checksumSize]
	return e, cluster, nil
}

// EncodeHead answers the bytes of h, at the level that this version writes.
func EncodeHead(h Head) []byte {
	b := make([]byte, 0, HeadSize)
	b = append(b, headMagic...)
	b = binary.BigEndian.AppendUint16(b, Level)
	b = append(b, byte(h.Driver), 0)
	b = append(b, h.Cluster[:]...)
	b = binary.BigEndian.AppendUint64(b, h.Snapshot)
	b = append(b, h.Manifest[:]...)
	b = binary.BigEndian.AppendUint64(b, h.Boundary)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// DecodeHead reads what EncodeHead wrote. ErrFormat if a newer version wrote it; ErrCorrupt for anything else.
func DecodeHead(b []byte) (Head, error) {
	if err := checkEnvelope(b, headMagic); err != nil {
		return Head{}, fmt.Errorf("head: %w", err)
	}
	if len(b) != HeadSize {
		return Head{}, fmt.Errorf("head: %w: it has %d bytes, must have %d", ErrCorrupt, len(b), HeadSize)
	}
	h := Head{
		Format: binary.BigEndian.Uint16(b[4:]), Driver: Driver(b[6]), Cluster: [16]byte(b[8:24]),
		Snapshot: binary.BigEndian.Uint64(b[24:]), Manifest: [16]byte(b[32:48]), Boundary: binary.BigEndian.Uint64(b[48:]),
	}
	switch {
	case h.Driver == 0 || b[7] != 0:
		return Head{}, fmt.Errorf("head: %w: driver %d, byte 7 %d", ErrCorrupt, h.Driver, b[7])
	case h.Boundary > 0 && h.Boundary-1 > h.Snapshot:
		return Head{}, fmt.Errorf("head: %w: boundary %d is beyond snapshot %d", ErrCorrupt, h.Boundary, h.Snapshot)
	}
	return h, nil
}

// checkEnvelope checks what every level has in common: magic, checksum, and a level that this version understands.
func checkEnvelope(b []byte, magic string) error {
	if len(b) < prefixSize+checksumSize {
		return fmt.Errorf("%w: %d bytes are too few", ErrCorrupt, len(b))
	}
	if !bytes.HasPrefix(b, []byte(magic)) {
		return fmt.Errorf("%w: begins with %q, not %q", ErrCorrupt, b[:len(magic)], magic)
	}
	body, sum := b[:len(b)-checksumSize], binary.BigEndian.Uint32(b[len(b)-checksumSize:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return fmt.Errorf("%w: checksum is %08x, its bytes give %08x", ErrCorrupt, sum, got)
	}
	switch level := binary.BigEndian.Uint16(b[4:]); {
	case level == 0:
		return fmt.Errorf("%w: level 0 does not exist", ErrCorrupt)
	case level > Level:
		return fmt.Errorf("%w: it has level %d, this version reads up to %d", ErrFormat, level, Level)
	}
	return nil
}
