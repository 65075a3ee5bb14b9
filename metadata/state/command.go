package state

// Command is one deterministic request to change the state.
type Command struct {
	// Session, Lane and Number say who asks and in which order (rule R2). Apply accepts only the next number of a lane
	// (numbers begin at 1), answers a decided one with its recorded outcome, refuses gaps (CodeGap) and closed or unknown
	// sessions (CodeSessionClosed). The zero Session is allowed for OpenSession and for what the metadata leader itself issues.
	Session UUID
	Lane    Lane
	Number  uint64

	// Settled: the session has seen the outcome of every number ≤ Settled of this lane, which may be forgotten. A session may
	// have at most MaxUnsettled commands undecided or unforgotten; a command beyond gets CodeGap.
	Settled uint64

	Time int64 // ms since the epoch, when it was issued; the state keeps the maximum of all that it carried out
	Op   Op
}

// MaxUnsettled bounds the recorded outcomes of one lane. A session that settles what it has seen never meets the bound.
const MaxUnsettled = 1024

// Op is what a command does. The types of this file are all there are, by value.
type Op interface {
	opcode() opcode
	encode(*writer)
}

// opcode is the stored number of an op; a number is never reused.
type opcode uint8

// LeaderInfo is the body of a fence entry: who leads the journal from there on.
type LeaderInfo struct {
	Session UUID // that the leader is about to open
	Agent   string
	Address string // where other agents reach it
	Time    int64
}

// OpenSession lets a process issue commands. Result: Index (also the session's Opened); Number = its NodeID. CodeSessionExists if the
// id was ever opened before; CodeLevel if Level is below the state's; CodeConflict if a session of that name is open (close it
// first), if the wanted node id belongs or belonged to another, or if the name has another one.
type OpenSession struct {
	Session UUID   // random, never reused: CodeSessionExists
	NodeID  int32  // wanted; -1: the name's own, else the lowest (from 0) that no session ever had
	Agent   string // a stable name keeps its node id over restarts
	Address string // where clients of the first listener reach it
	Zone    string
	Level   uint32

	Peer      string     // where other agents reach it, host:port; "": nobody can
	Listeners []Listener // where clients reach it, by listener; at most MaxListeners
}

// MaxListeners bounds the listeners of one agent.
const MaxListeners = 64

// LeaveSession says that a session is about to end: clients are sent elsewhere, while what it has accepted is still committed. It is never
// taken back.
// Idempotent, and without an effect on a session that is closed or unknown.
type LeaveSession struct{ Session UUID }

// StepAside says that a session cannot do its work for now: as LeaveSession, but it may take it back, with Back. Without an effect on a
// session that is closed or unknown, and on one that has left by LeaveSession, which is for good. Idempotent; who may say both sends
// them through one lane, so that an old one never comes last.
type StepAside struct {
	Session UUID
	Back    bool // it can again
}

// CloseSession ends a session; its later commands are refused, its undecided objects may be swept. Idempotent.
type CloseSession struct{ Session UUID }

// RaiseLevel moves the state to a higher level; a lower or equal one changes nothing. Refused with CodeLevel unless every open session
// announced it. A replica that does not know the level stops.
type RaiseLevel struct{ Level uint32 }

// CreateTopic creates a topic. CodeTopicExists if the name is taken, CodeTopicCollides if another topic's differs from it only in
// dots and underscores (Result.Topic then is the one that is there); CodeInvalidPartitions unless 1 ≤ Partitions ≤ MaxPartitions; CodeInvalid if the id is in use.
type CreateTopic struct {
	Topic             UUID // random
	Name              string
	Partitions        int32 // ≥ 1
	ReplicationFactor int16
	Configs           []Config // validated by the caller
}

// DeleteTopic deletes a topic, its partitions, its producers' sequences and the offsets committed for it. Its name is remembered
// with the producers that wrote to it. CodeUnknownTopic.
type DeleteTopic struct{ Topic UUID }

// CreatePartitions raises the number of partitions. CodeUnknownTopic, CodeInvalidPartitions if Count is not larger or
// larger than MaxPartitions.
type CreatePartitions struct {
	Topic UUID
	Count int32 // in total, afterwards
}

// ResourceType tells what a config belongs to.
type ResourceType uint8

// The resource types, numbered as in Kafka's config resources.
const (
	ResourceTopic  ResourceType = 2
	ResourceBroker ResourceType = 4
)

// AlterConfigs sets and removes overridden values of one resource, all or nothing; the caller has validated them against
// the values that held at index Expect, and Apply refuses with CodeConflict if the resource's configs changed since.
type AlterConfigs struct {
	Type   ResourceType
	Topic  UUID   // for ResourceTopic
	Broker string // for ResourceBroker: node id in decimal, or "" for the default of all
	Expect uint64 // index of the last change of this resource's configs that the caller saw; see Reader.ConfigVersion
	Set    []Config
	Remove []string
}

// CommitObject gives offsets to the batches of one uploaded object. Every batch gets its own BatchResult, in order;
// the Result's own Code is CodeOK even if every batch was refused. The bytes of refused batches stay in the object and
// are never served; an object of which nothing was accepted is garbage. A malformed command (ranges beyond Size, a Size
// above MaxObjectSize, counts below 1, an AcceptIndex that is still to come) is decided as CodeInvalid and changes nothing;
// transactional and control batches, and those with a negative epoch or sequence, are refused one by one with CodeInvalid.
type CommitObject struct {
	Attempt uint32 // with the session and the command's Number, the ObjectName
	Size    int64  // bytes of the whole object
	Runs    []Run
}

// Run is the batches of one partition that lie one after the other in an object.
type Run struct {
	Topic       UUID
	Partition   int32
	Pos         int64  // of the first batch within the object, bytes
	AcceptIndex uint64 // the journal index that the agent had applied when it accepted them
	Batches     []Batch
}

// Batch is what the state needs to know of one record batch.
type Batch struct {
	Len           int32 // bytes
	Attributes    int16 // as in the batch's header
	Count         int32 // offsets it takes: last offset delta + 1
	MaxTimestamp  int64 // ms since the epoch, or -1
	ProducerID    int64 // -1: not idempotent
	ProducerEpoch int16
	FirstSequence int32
}

// SkipObject decides an object number without an object: its buffer was given up.
type SkipObject struct{}

// AllocateProducerIDs reserves Count producer ids (1 … 1,000,000, else CodeInvalid) for the agent to hand out. Result.Number is the
// first; the very first is 1.
type AllocateProducerIDs struct{ Count int32 }

// ExpireProducers forgets producers that have been idle since before Before (ms), or since the steady time of the state if
// that is earlier (R13), at most Limit of them. Result.Number: how many.
type ExpireProducers struct {
	Before int64
	Limit  int32
}

// AdvanceLogStart moves a partition's log start forward, never back, at most to its watermark. Extents wholly below it
// are dropped and their objects dereferenced. Result.Number: the log start afterwards. CodeUnknownTopic; CodeOffsetOutOfRange if
// Offset is above the watermark; CodeInvalid if it is negative.
type AdvanceLogStart struct {
	TopicPartition
	Offset int64
}

// ClaimGroup makes the issuing session the coordinator of a group. Result.Index is the claim's id. CodeConflict if Replaces is not
// the claim that stands (0: none); Result.Number then is the one that does.
type ClaimGroup struct {
	Group    string
	Replaces uint64
}

// WriteGroup replaces a group, creating it if there is none. CodeConflict unless Claim stands and belongs to the issuing session;
// CodeInvalid unless members' ids and instances are unique and State is GroupEmpty exactly if there are no members.
type WriteGroup struct {
	Claim uint64
	Group Group
}

// Group is a consumer group of the classic protocol as it is kept in the journal.
type Group struct {
	ID           string
	State        GroupState
	Generation   int32
	ProtocolType string
	Protocol     string // the chosen one; "" if none
	Leader       string // member id; "" in a stable group: members left since, and whoever claims it asks the others to join again
	Changed      int64  // ms since the epoch, of the last change of State
	Members      []Member
}

// GroupState is a durable state of a group. "PreparingRebalance" is not one: it lives in the coordinator only.
type GroupState uint8

// The durable states.
const (
	GroupEmpty      GroupState = 0
	GroupCompleting GroupState = 1 // generation and members are known, assignments are not: Kafka's CompletingRebalance
	GroupStable     GroupState = 2
)

// Member is one member of a group.
type Member struct {
	ID               string
	Instance         string // group.instance.id, "" if none
	ClientID         string
	ClientHost       string
	RebalanceTimeout int32 // ms
	SessionTimeout   int32 // ms
	Protocols        []Protocol
	Assignment       []byte
}

// Protocol is one assignment protocol that a member offers.
type Protocol struct {
	Name     string
	Metadata []byte
}

// CommitOffsets records a group's offsets, checked here against generation, member and instance, as Kafka's classic group
// does: CodeIllegalGeneration, CodeUnknownMember, CodeFencedInstance, CodeRebalanceInProgress refuse all of them. Needs no claim. With
// Generation < 0 and an empty Member the group must be unknown (it is created) or without members. Single partitions are
// refused by Result.Partitions, in order, while the others are committed: of unknown topics (CodeUnknownTopic), and what an agent held
// for too long (CodeStale). The latter is an offset that, by an entry after Accepted, another session has committed; or that nobody has
// committed, though offsets of some group were deleted or expired by an entry after Accepted. Nothing is stale of a command
// without Accepted; one that is still to come is CodeInvalid.
type CommitOffsets struct {
	Group      string
	Generation int32
	Member     string
	Instance   string
	Offsets    []OffsetCommit
	Accepted   uint64 // the journal index that the agent had applied when the client's request reached it, or less; 0: not told
}

// OffsetCommit is one committed offset.
type OffsetCommit struct {
	TopicPartition
	Offset      int64
	LeaderEpoch int32
	Metadata    string
}

// DeleteGroup deletes a group, its offsets and its claim. CodeNoSuchGroup, CodeGroupNotEmpty.
type DeleteGroup struct{ Group string }

// ExpireOffsets deletes offsets of groups that have had no members since before Before (ms), or the steady time of the state
// if that is earlier (R13), and then the groups that have neither members nor offsets left, at most Limit groups, lowest ids
// first. As in Apache Kafka, offsets of a group without a protocol type (it never had members) expire one by one, by when they
// were committed. It also drops claims on groups that do not exist. Result.Number: how many groups lost something.
type ExpireOffsets struct {
	Before int64
	Limit  int32
}

// NoteTrim records that the journal is deleted below Through, except for fences, so that a later trim does not begin anew.
type NoteTrim struct{ Through uint64 }
