package etcd

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/leat-stream/leat/metadata/journal"
)

// Everything of one journal lies below its prefix (FORMAT.md has the same):
//
//	PREFIX/head                    an encoded head; replaced by Trim
//	PREFIX/tip                     index and term of the newest entry; replaced by every append
//	PREFIX/bound                   id of the bucket whose head names this journal; put once, if it is not there
//	PREFIX/entry/INDEX             an encoded entry, or a stub if it is too large
//	PREFIX/part/INDEX/ID/NUMBER    a part of that encoded entry; ID is in the stub
//
// INDEX is 20 decimal digits, ID 32 hexadecimal ones, NUMBER 6 decimal ones: sorting keys sorts numbers.
//
//	tip                                      stub
//	 0  4  magic "LeJT"                       0  4  magic "LeJP"
//	 4  2  level                              4  2  level
//	 6  2  zero                               6  2  zero
//	 8  8  index                              8  4  n, length of the encoded entry
//	16 16  term                              12 16  id of its parts
//	32  4  CRC-32C of all before             28  4  CRC-32C of all before
const (
	tipMagic  = "LeJT"
	stubMagic = "LeJP"
	tipSize   = 36
	stubSize  = 32

	// inlineLimit is the longest encoded entry that is stored under its own key, in bytes: it bounds what a page of entries
	// takes. What is longer lies in parts of partSize: etcd refuses requests of more than 1.5 MiB.
	inlineLimit = 128 << 10
	partSize    = 1 << 20
	maxEntry    = journal.MaxBody + journal.EntryOverhead
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// keys makes and takes apart the names of keys below a prefix.
type keys string

func (k keys) head() string              { return string(k) + "/head" }
func (k keys) tip() string               { return string(k) + "/tip" }
func (k keys) bound() string             { return string(k) + "/bound" }
func (k keys) entry(index uint64) string { return fmt.Sprintf("%s/entry/%020d", string(k), index) }

// entriesEnd is behind every entry.
func (k keys) entriesEnd() string { return string(k) + "/entry0" }

// partsAt is what the parts of all tries at index begin with; partsAt(index+1) is behind them.
func (k keys) partsAt(index uint64) string { return fmt.Sprintf("%s/part/%020d", string(k), index) }

// parts is what the parts of one entry begin with.
func (k keys) parts(index uint64, id [16]byte) string {
	return fmt.Sprintf("%s/%x/", k.partsAt(index), id)
}

func (k keys) part(index uint64, id [16]byte, number int) string {
	return fmt.Sprintf("%s%06d", k.parts(index, id), number)
}

// index answers the index in a key of an entry or a part.
func (k keys) index(key []byte) (uint64, error) {
	name, ok := strings.CutPrefix(string(key), string(k)+"/entry/")
	if !ok {
		name, ok = strings.CutPrefix(string(key), string(k)+"/part/")
		if i := strings.IndexByte(name, '/'); i >= 0 {
			name = name[:i]
		}
	}
	index, err := strconv.ParseUint(name, 10, 64)
	if !ok || err != nil || len(name) != 20 {
		return 0, fmt.Errorf("%w: %q is no key of an entry or a part", journal.ErrCorrupt, key)
	}
	return index, nil
}

// position is the end of a journal: index and term of its newest entry, all zero before the first. Terms are random, and a term
// has one entry at an index, so a position is never the end twice.
type position struct {
	index uint64
	term  journal.TermID
}

func (p position) encode() string {
	b := make([]byte, 0, tipSize)
	b = append(b, tipMagic...)
	b = binary.BigEndian.AppendUint16(b, journal.Level)
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint64(b, p.index)
	b = append(b, p.term[:]...)
	return string(seal(b))
}

func decodePosition(b []byte) (position, error) {
	if err := check("tip", b, tipMagic, tipSize); err != nil {
		return position{}, err
	}
	return position{binary.BigEndian.Uint64(b[8:]), journal.TermID(b[16:32])}, nil
}

// stub stands for an entry that lies in parts.
type stub struct {
	length int // of the encoded entry, at most maxEntry
	id     [16]byte
}

func (s stub) encode() []byte {
	b := make([]byte, 0, stubSize)
	b = append(b, stubMagic...)
	b = binary.BigEndian.AppendUint16(b, journal.Level)
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(s.length))
	b = append(b, s.id[:]...)
	return seal(b)
}

func isStub(b []byte) bool { return len(b) >= 4 && string(b[:4]) == stubMagic }

func decodeStub(b []byte) (stub, error) {
	if err := check("stub", b, stubMagic, stubSize); err != nil {
		return stub{}, err
	}
	n := binary.BigEndian.Uint32(b[8:])
	if n > maxEntry {
		return stub{}, fmt.Errorf("stub: %w: it stands for %d bytes, at most %d are allowed", journal.ErrCorrupt, n, maxEntry)
	}
	return stub{int(n), [16]byte(b[12:28])}, nil
}

func seal(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// check tells damage from a newer level, as FORMAT.md promises for every level to come.
func check(what string, b []byte, magic string, size int) error {
	if len(b) < 10 || string(b[:4]) != magic {
		return fmt.Errorf("%s: %w: %d bytes that do not begin with %q", what, journal.ErrCorrupt, len(b), magic)
	}
	end := len(b) - 4
	if sum := binary.BigEndian.Uint32(b[end:]); sum != crc32.Checksum(b[:end], castagnoli) {
		return fmt.Errorf("%s: %w: its checksum does not fit", what, journal.ErrCorrupt)
	}
	switch level := binary.BigEndian.Uint16(b[4:]); {
	case level == 0:
		return fmt.Errorf("%s: %w: level 0 does not exist", what, journal.ErrCorrupt)
	case level > journal.Level:
		return fmt.Errorf("%s: %w: it has level %d, this version reads up to %d", what, journal.ErrFormat, level, journal.Level)
	case len(b) != size || b[6] != 0 || b[7] != 0:
		return fmt.Errorf("%s: %w: it has %d bytes, must have %d, with zeros at 6 and 7", what, journal.ErrCorrupt, len(b), size)
	}
	return nil
}
