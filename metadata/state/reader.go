package state

import "iter"

// Reader is a read-only look at a state. It is valid only while its owner keeps Apply out; everything it answers is a copy
// or immutable, and may be kept.
type Reader struct{ s *State }

// Index is the index of the last applied entry; Time the largest time seen in a command, ms since the epoch; StateLevel
// the level that Apply obeys; Leader who leads, and the index of its fence.
func (r Reader) Index() uint64                { panic("") }
func (r Reader) Time() int64                  { panic("") }
func (r Reader) StateLevel() uint32           { panic("") }
func (r Reader) Leader() (LeaderInfo, uint64) { panic("") }

// Topic, TopicByName: one topic. Topics: all of them, ordered by name. TopicCount, PartitionCount: totals.
func (r Reader) Topic(id UUID) (Topic, bool)            { panic("") }
func (r Reader) TopicByName(name string) (Topic, bool)  { panic("") }
func (r Reader) Topics() iter.Seq[Topic]                { panic("") }
func (r Reader) TopicCount() (topics, partitions int64) { panic("") }

// ConfigVersion is the index of the last change of a resource's configs, for AlterConfigs.Expect. Configs: its overrides.
func (r Reader) ConfigVersion(t ResourceType, topic UUID, broker string) uint64 { panic("") }
func (r Reader) Configs(t ResourceType, topic UUID, broker string) []Config     { panic("") }

// View is one partition at this index: its offsets, and the extents that hold [from, …) up to maxBytes in all, at least one if there
// is any. A from below the log start or above the watermark gives no extents: the caller compares. maxBytes ≤ 0: no extents.
func (r Reader) View(tp TopicPartition, from int64, maxBytes int64) (View, bool) { panic("") }

// FirstAtOrAfter is the first extent that may hold a record with a timestamp ≥ ts (ms), not wholly below the log start.
// MaxTimestamp is the first extent with the largest timestamp. False if there is none.
func (r Reader) FirstAtOrAfter(tp TopicPartition, ts int64) (Extent, bool) { panic("") }
func (r Reader) MaxTimestamp(tp TopicPartition) (Extent, bool)             { panic("") }

// Size is the bytes of a partition's extents that are not below the log start.
func (r Reader) Size(tp TopicPartition) int64 { panic("") }

// Session, Sessions: those that the state remembers; closed ones are kept while anything refers to their objects.
func (r Reader) Session(id UUID) (Session, bool) { panic("") }
func (r Reader) Sessions() iter.Seq[Session]     { panic("") }

// Group answers a copy. Groups: the ids of all groups, ordered. Claim: who coordinates it (zero: nobody) and the claim's id.
func (r Reader) Group(id string) (Group, bool)                { panic("") }
func (r Reader) Groups() iter.Seq[string]                     { panic("") }
func (r Reader) Claim(id string) (session UUID, claim uint64) { panic("") }

// Offset is one committed offset of a group; Offsets all of them, ordered by topic id and partition.
func (r Reader) Offset(group string, tp TopicPartition) (CommittedOffset, bool) { panic("") }
func (r Reader) Offsets(group string) []CommittedOffset                         { panic("") }

// Referenced reports whether any extent refers to the object; Decided whether its owner has decided its number or is closed or
// unknown. An object that is decided and not referenced is garbage for ever (rule R3).
func (r Reader) Referenced(o ObjectName) bool { panic("") }
func (r Reader) Decided(o ObjectName) bool    { panic("") }

// Fence reports whether the entry at index was a fence (they are never trimmed). TrimmedThrough: see NoteTrim.
func (r Reader) Fence(index uint64) bool { panic("") }
func (r Reader) TrimmedThrough() uint64  { panic("") }

// Hash is the hash of the whole state. Replicas that applied the same index have the same.
func (r Reader) Hash() uint64 { panic("") }

// CommittedOffset is an offset as a group committed it.
type CommittedOffset struct {
	OffsetCommit
	Committed int64 // ms since the epoch: the Time of the command
}
