package state

import "encoding/hex"

// UUID is a random 128-bit id: of a topic, of a session. The zero UUID means "none".
type UUID [16]byte

// String prints the id in hexadecimal.
func (u UUID) String() string { return hex.EncodeToString(u[:]) }

// IsZero reports whether the id is "none".
func (u UUID) IsZero() bool { return u == UUID{} }

// TopicPartition names one partition of one topic, by id: names are resolved when a request is accepted.
type TopicPartition struct {
	Topic     UUID
	Partition int32
}

// ObjectName names a data object: the Number-th object of its owner's session, in the attempt that succeeded.
type ObjectName struct {
	Owner   UUID
	Number  uint64
	Attempt uint32
}

// Topic is one topic. A Topic handed out by a Reader is a copy.
type Topic struct {
	ID                UUID
	Name              string
	Partitions        int32
	ReplicationFactor int16 // as asked for at creation; storage replicates by itself, so it is only reported
	Configs           []Config
	Created           uint64 // index of the entry that created it
}

// Config is one overridden configuration value.
type Config struct{ Name, Value string }

// Extent is a run of record batches of one partition that lies in one piece in one object. Its batches hold the
// offsets Base … Last without a gap; within it, each batch's base offset is its predecessor's last offset + 1.
type Extent struct {
	Base, Last   int64 // first and last offset, inclusive
	Object       ObjectName
	ObjectSize   int64 // bytes of the whole object, for chunk arithmetic
	Pos, Len     int64 // byte range within the object
	MaxTimestamp int64 // ms since the epoch, the largest of any record; -1 if no record has one
}

// AbortedTxn is a range of an aborted transaction, as a fetch with read_committed reports it. None exist before
// transactions do.
type AbortedTxn struct {
	ProducerID  int64
	FirstOffset int64
	LastOffset  int64
}

// View is what one answer about a partition needs, all of one applied index (rule R9).
type View struct {
	Index     uint64 // applied index at which all of this held
	LogStart  int64
	Stable    int64 // last stable offset
	Watermark int64 // the next offset to be given
	Extents   []Extent
	Aborted   []AbortedTxn
}

// Session is a process that may issue commands.
type Session struct {
	ID      UUID
	NodeID  int32  // broker id of the agent; no session under another name, or without one, ever had it
	Agent   string // stable name, or "" for a nameless agent
	Address string // where Kafka clients reach it, host:port, for people who read an inspection
	Zone    string
	Opened  uint64 // index of the entry that opened it
	Time    int64  // ms since the epoch, when it was opened
	Level   uint32 // highest level of state it understands
	Closed  bool

	Peer      string     // where other agents reach it, host:port
	Listeners []Listener // where clients reach it, by listener; must not be changed
	Leaving   bool       // nothing new should be sent to it: it said that it is about to end, or stepped aside
	Aside     bool       // it is Leaving only until it says that it is back
}

// Listener is one way into an agent.
type Listener struct{ Name, Address string }

// Lane is one of the ordered command streams of a session (rule R2).
type Lane uint8

// The lanes.
const (
	LaneObjects Lane = 1 // CommitObject and SkipObject, in seal order; a command's number is the object's number
	LaneOther   Lane = 2 // everything else
	laneCount        = 2
)

// Level is the newest level of state that this version understands. The state of a new cluster begins at level 1.
const Level uint32 = 1
