package segment

import (
	"errors"
	"fmt"
	"hash/crc32"
)

// Level is the format that Builder writes and the highest that this version reads. It is raised when an older reader would misunderstand an
// object; fields that an older reader may ignore are appended without raising it (FORMAT.md, "Room for later").
const Level uint16 = 1

// Sizes at level 1, in bytes. Header, index entries and footer carry their own length: a later writer may make them longer.
const (
	HeaderSize = 56
	EntrySize  = 70
	FooterSize = 40
)

// What a reader accepts at most. Beyond it the object is refused before memory is taken for it.
const (
	MaxRuns  = 1 << 20                     // in an index
	maxIndex = MaxRuns * 2 * EntrySize     // bytes; leaves room for longer entries
	noOffset = int64(-1)                   // BaseOffset of a run whose offsets the metadata gives
	magic    = "LEATSEG"                   // first bytes of an object, and last but one
	trailer  = FooterSize - footerLevel    // bytes at the end of a footer of any length, the same at every level
	headTail = HeaderSize - headerChecksum // bytes of checksum at the end of a header of any length
)

// Where fields lie in the header, counted from its first byte.
const (
	headerMagic    = 0
	headerKind     = 7
	headerLevel    = 8
	headerLength   = 10
	headerCluster  = 12
	headerOwner    = 28
	headerNumber   = 44
	headerChecksum = 52 // counted from the end, 4 before it, if the header is longer
)

// Where fields lie in an index entry.
const (
	entryLength       = 0
	entryTopic        = 2
	entryPartition    = 18
	entryPosition     = 22
	entryBytes        = 30
	entryBaseOffset   = 38
	entryRecords      = 46
	entryBatches      = 54
	entryMaxTimestamp = 58
	entryChecksum     = 66
)

// Where fields lie in a footer of FooterSize. Those from the level on keep their distance from the end if it is longer.
const (
	footerIndexPosition = 0
	footerIndexLength   = 8
	footerIndexCount    = 16
	footerIndexChecksum = 20
	footerLevel         = 24
	footerLength        = 26
	footerChecksum      = 28
	footerMagic         = 32
	footerKind          = 39
)

// Kind says what the runs of a segment are.
type Kind uint8

// The kinds.
const (
	Mixed  Kind = 1 // runs of many partitions, one accepted buffer; offsets are in the metadata
	Merged Kind = 2 // runs of one partition, in offset order, their offsets final
)

// String names the kind.
func (k Kind) String() string {
	switch k {
	case Mixed:
		return "mixed"
	case Merged:
		return "merged"
	default:
		return fmt.Sprintf("kind %d", uint8(k))
	}
}

// Header says whose object this is.
type Header struct {
	Kind    Kind
	Cluster [16]byte // id of the cluster
	Owner   [16]byte // session or merge job that wrote it, as in the object's name
	Number  uint64   // which of the owner's objects, as in the object's name
}

// Run is an entry of the index: a byte range that holds the batches of one partition.
type Run struct {
	Topic        [16]byte // topic id
	Partition    int32
	Position     int64 // bytes from the beginning of the object
	Length       int64 // bytes
	BaseOffset   int64 // of the first record, or −1 if only the metadata knows it
	Records      int64
	Batches      int32
	MaxTimestamp int64  // milliseconds; the greatest of the batches'
	Checksum     uint32 // CRC-32C of the bytes
}

// End is the position after the run's last byte.
func (r Run) End() int64 { return r.Position + r.Length }

// Footer says where the index is.
type Footer struct {
	Kind          Kind
	IndexPosition int64 // bytes from the beginning of the object
	IndexLength   int64 // bytes
	IndexCount    int64 // runs
	IndexChecksum uint32
	Length        int64 // bytes of the footer itself
}

// Segment is what an object says about itself.
type Segment struct {
	Header Header
	Footer Footer
	Runs   []Run // in the order of their positions
	Size   int64 // bytes of the object
}

// The errors of this package. They come wrapped with what was found where.
var (
	// ErrCorrupt: the bytes are not a segment, or not the one that was written. Reading again may help only if the transfer was bad.
	ErrCorrupt = errors.New("corrupt segment")
	// ErrLevel: a newer version wrote it.
	ErrLevel = errors.New("segment of a higher level")
	// ErrInvalid: what a Builder was given cannot be a segment.
	ErrInvalid = errors.New("invalid segment")
)

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// checkLevel refuses what this version cannot read.
func checkLevel(level uint16) error {
	if level > Level {
		return fmt.Errorf("%w: it has level %d, this version reads up to level %d: upgrade", ErrLevel, level, Level)
	}
	if level == 0 {
		return corrupt("level 0 does not exist")
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)
