package state

import "fmt"

// Code says how a command, or a part of one, ended. Codes are stored: a number is never reused.
type Code uint16

// The codes. agent/api maps each to a Kafka error in one table.
const (
	CodeOK                  Code = 0
	CodeUnknownCommand      Code = 1 // never an outcome: it stops the replica
	CodeGap                 Code = 2 // not the lane's next number, or too many unsettled
	CodeSessionClosed       Code = 3
	CodeSessionExists       Code = 4
	CodeLevel               Code = 5
	CodeForgotten           Code = 6 // a decided number whose outcome the session had settled
	CodeTopicExists         Code = 10
	CodeUnknownTopic        Code = 11 // topic or partition
	CodeInvalidPartitions   Code = 12
	CodeConflict            Code = 13
	CodeOffsetOutOfRange    Code = 14
	CodeTopicCollides       Code = 15 // the name differs from another topic's only in dots and underscores
	CodeOutOfOrderSequence  Code = 20
	CodeUnknownProducer     Code = 21
	CodeInvalidEpoch        Code = 22 // of a producer: lower than the one known for the partition
	CodeDuplicateSequence   Code = 23 // older than the five batches that are remembered
	CodeNoSuchGroup         Code = 30
	CodeGroupNotEmpty       Code = 31
	CodeUnknownMember       Code = 32
	CodeIllegalGeneration   Code = 33
	CodeFencedInstance      Code = 34
	CodeRebalanceInProgress Code = 35
	CodeStale               Code = 36 // of an offset: a later commit, or a deletion, came before
	CodeInvalid             Code = 40 // the command is malformed: a bug of the issuer
)

// Result is the outcome of one command. It is recorded in the session until settled, so nobody may change its slices.
type Result struct {
	Code       Code
	Index      uint64 // of the entry that decided it
	Number     int64  // meaning depends on the op, see there
	Topic      UUID   // CreateTopic: the topic of that name, or the one whose name collides
	Batches    []BatchResult
	Partitions []Code // CommitOffsets: one for each offset; nil means all CodeOK
}

// BatchResult is the outcome of one batch of a CommitObject.
type BatchResult struct {
	Code      Code
	Duplicate bool  // acknowledged before, with Base as its offset then
	Base      int64 // base offset; -1 if refused
	LogStart  int64 // of the partition, after this command; -1 if there is no such partition
}

// Change is something that happened to the state, for those who watch it. Changes tell where to look, not what is there.
type Change struct {
	Index     uint64
	Kind      ChangeKind
	Topic     UUID  // ChangePartition, ChangeTopic
	Partition int32 // ChangePartition
	Group     string
}

// ChangeKind tells what changed.
type ChangeKind uint8

// The kinds of changes.
const (
	ChangePartition ChangeKind = 1 // watermark, stable offset, log start or extents of one partition
	ChangeTopic     ChangeKind = 2 // a topic was created, deleted, extended or reconfigured
	ChangeGroup     ChangeKind = 3 // claim, members or existence of a group; not its offsets
	ChangeSession   ChangeKind = 4 // a session was opened or closed, or the leader changed
	ChangeAll       ChangeKind = 5 // too much to tell: look at everything again
)

var codeNames = map[Code]string{
	CodeOK: "ok", CodeUnknownCommand: "unknown-command", CodeGap: "gap", CodeSessionClosed: "session-closed",
	CodeSessionExists: "session-exists", CodeLevel: "level", CodeForgotten: "forgotten", CodeTopicExists: "topic-exists",
	CodeUnknownTopic: "unknown-topic", CodeInvalidPartitions: "invalid-partitions", CodeConflict: "conflict",
	CodeOffsetOutOfRange: "offset-out-of-range", CodeTopicCollides: "topic-collides", CodeOutOfOrderSequence: "out-of-order-sequence",
	CodeUnknownProducer: "unknown-producer", CodeInvalidEpoch: "invalid-epoch", CodeDuplicateSequence: "duplicate-sequence",
	CodeNoSuchGroup: "no-such-group", CodeGroupNotEmpty: "group-not-empty", CodeUnknownMember: "unknown-member",
	CodeIllegalGeneration: "illegal-generation", CodeFencedInstance: "fenced-instance",
	CodeRebalanceInProgress: "rebalance-in-progress", CodeStale: "stale", CodeInvalid: "invalid",
}

// String names the code, for logs and inspections.
func (c Code) String() string {
	if name, ok := codeNames[c]; ok {
		return name
	}
	return fmt.Sprintf("code-%d", uint16(c))
}
