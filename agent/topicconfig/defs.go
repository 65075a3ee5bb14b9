package topicconfig

import "slices"

// Type is the type of a config's value, with the numbers that DescribeConfigs answers (ConfigType, KIP-569).
type Type int8

// The types that topic configs have.
const (
	Boolean Type = 1
	String  Type = 2
	Int     Type = 3
	Long    Type = 5
	Double  Type = 6
	List    Type = 7
)

var typeNames = map[Type]string{
	Boolean: "BOOLEAN", String: "STRING", Int: "INT", Long: "LONG", Double: "DOUBLE", List: "LIST",
}

// String returns Kafka's name of the type.
func (t Type) String() string { return typeNames[t] }

// Effect says what a config does in Leat.
type Effect int8

const (
	// Applied means that it does what it does in Kafka, or what Def.Note says.
	Applied Effect = iota
	// NotYet means that it is kept and described, and that what it asks for is not implemented so far.
	NotYet
	// Moot means that it is kept and described for compatibility: it tunes files, replicas or tiers that do not exist here.
	Moot
)

// Def is one topic config.
type Def struct {
	Name    string
	Type    Type
	Default string // as DescribeConfigs answers it
	// Synonym is the broker config that Kafka names as the origin of the default, empty if it names none.
	Synonym string
	Effect  Effect
	Doc     string // one or two plain sentences; byte sizes and milliseconds as the name says
	Note    string // what is different in Leat, empty if nothing is

	check check
}

// All returns every config, ordered by name. The caller owns the slice.
func All() []Def { return slices.Clone(defs) }

// Lookup returns the config of that name.
func Lookup(name string) (Def, bool) {
	i, ok := slices.BinarySearchFunc(defs, name, func(d Def, name string) int {
		if d.Name < name {
			return -1
		}
		if d.Name > name {
			return 1
		}
		return 0
	})
	if !ok {
		return Def{}, false
	}
	return defs[i], true
}

const (
	minInt   = -1 << 31
	maxInt   = 1<<31 - 1
	maxLong  = 1<<63 - 1
	forever  = "9223372036854775807"
	noTiers  = "all data is in one tier; remote.storage.enable=true is refused as by a Kafka without tiered storage"
	noFiles  = "there are no segment files"
	noQuotas = "replicas are not copied between agents"
	noMerge  = "compaction is not implemented yet"
)

// defs is ordered by name. Names, types, defaults and synonyms are compared with the recording of a broker.
var defs = []Def{
	{Name: "cleanup.policy", Type: List, Default: "delete", Synonym: "log.cleanup.policy", Effect: NotYet,
		Doc: "What becomes of old records: \"delete\" drops them by retention.ms and retention.bytes, \"compact\" keeps the newest record " +
			"of each key, both do both, and an empty list keeps everything.",
		Note: "compact makes keys mandatory, but neither policy removes anything yet", check: elements("compact", "delete")},
	{Name: "compression.gzip.level", Type: Int, Default: "-1", Synonym: "compression.gzip.level",
		Doc: "The level when compression.type is gzip: 1 to 9, or -1 for the library's choice.", check: gzipLevel},
	{Name: "compression.lz4.level", Type: Int, Default: "9", Synonym: "compression.lz4.level",
		Doc: "The level when compression.type is lz4: 1 to 17.", check: between(1, 17)},
	{Name: "compression.type", Type: String, Default: "producer", Synonym: "compression.type",
		Doc: "How batches are stored: \"producer\" keeps them as they were sent; uncompressed, gzip, snappy, lz4 and zstd compress them " +
			"anew when they came in another form.",
		check: oneOf("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer")},
	{Name: "compression.zstd.level", Type: Int, Default: "3", Synonym: "compression.zstd.level",
		Doc: "The level when compression.type is zstd: -131072 to 22.", check: between(-131072, 22)},
	{Name: "delete.retention.ms", Type: Long, Default: "86400000", Synonym: "log.cleaner.delete.retention.ms", Effect: NotYet,
		Doc: "How long a compacted topic keeps tombstones, so that a consumer that began at the start sees them.", Note: noMerge,
		check: atLeast(0)},
	{Name: "file.delete.delay.ms", Type: Long, Default: "60000", Synonym: "log.segment.delete.delay.ms", Effect: Moot,
		Doc: "How long to wait before a file is deleted from the file system.", Note: noFiles, check: atLeast(0)},
	{Name: "flush.messages", Type: Long, Default: forever, Synonym: "log.flush.interval.messages", Effect: Moot,
		Doc: "After how many messages the log is forced to disk.", Note: "what is acknowledged is durable", check: atLeast(1)},
	{Name: "flush.ms", Type: Long, Default: forever, Effect: Moot,
		Doc: "After what time the log is forced to disk.", Note: "what is acknowledged is durable", check: atLeast(0)},
	{Name: "follower.replication.throttled.replicas", Type: List, Effect: Moot,
		Doc:  "Replicas whose copying is throttled on the follower's side: partition:broker pairs, or * for all.",
		Note: noQuotas, check: throttled},
	{Name: "index.interval.bytes", Type: Int, Default: "4096", Synonym: "log.index.interval.bytes", Effect: Moot,
		Doc: "How many bytes of a log lie between two entries of its offset index.", Note: noFiles, check: atLeast(0)},
	{Name: "leader.replication.throttled.replicas", Type: List, Effect: Moot,
		Doc:  "Replicas whose copying is throttled on the leader's side: partition:broker pairs, or * for all.",
		Note: noQuotas, check: throttled},
	{Name: "local.retention.bytes", Type: Long, Default: "-2", Synonym: "log.local.retention.bytes", Effect: Moot,
		Doc: "How much of a partition stays on local disk under tiered storage; -2 means retention.bytes.", Note: noTiers,
		check: atLeast(-2)},
	{Name: "local.retention.ms", Type: Long, Default: "-2", Synonym: "log.local.retention.ms", Effect: Moot,
		Doc: "How long a segment stays on local disk under tiered storage; -2 means retention.ms.", Note: noTiers, check: atLeast(-2)},
	{Name: "max.compaction.lag.ms", Type: Long, Default: forever, Synonym: "log.cleaner.max.compaction.lag.ms", Effect: NotYet,
		Doc: "The longest time that a record may stay without having been considered for compaction.", Note: noMerge, check: atLeast(1)},
	{Name: "max.message.bytes", Type: Int, Default: "1048588", Synonym: "message.max.bytes",
		Doc: "The largest record batch that is accepted, in bytes as sent, after compression.", check: atLeast(0)},
	{Name: "message.timestamp.after.max.ms", Type: Long, Default: "3600000", Synonym: "log.message.timestamp.after.max.ms",
		Doc:   "How far a record's timestamp may lie ahead of the agent's clock. Ignored with LogAppendTime.",
		check: atLeast(0)},
	{Name: "message.timestamp.before.max.ms", Type: Long, Default: forever, Synonym: "log.message.timestamp.before.max.ms",
		Doc:   "How far a record's timestamp may lie behind the agent's clock. Ignored with LogAppendTime.",
		check: atLeast(0)},
	{Name: "message.timestamp.type", Type: String, Default: "CreateTime", Synonym: "log.message.timestamp.type",
		Doc:   "Whether a record's timestamp is the producer's (CreateTime) or the time of its append (LogAppendTime).",
		check: oneOf("CreateTime", "LogAppendTime")},
	{Name: "min.cleanable.dirty.ratio", Type: Double, Default: "0.5", Synonym: "log.cleaner.min.cleanable.ratio", Effect: NotYet,
		Doc: "What share of a log must be uncompacted before it is compacted: 0 to 1.", Note: noMerge, check: between(0, 1)},
	{Name: "min.compaction.lag.ms", Type: Long, Default: "0", Synonym: "log.cleaner.min.compaction.lag.ms", Effect: NotYet,
		Doc: "How long a record is safe from compaction.", Note: noMerge, check: atLeast(0)},
	{Name: "min.insync.replicas", Type: Int, Default: "1", Synonym: "min.insync.replicas", Effect: Moot,
		Doc:  "How many replicas must be in sync for a write with acks=all.",
		Note: "every acknowledged record is in the bucket; a write is never refused for want of replicas", check: atLeast(1)},
	{Name: "preallocate", Type: Boolean, Default: "false", Synonym: "log.preallocate", Effect: Moot,
		Doc: "Whether the file of a new segment is allocated at once.", Note: noFiles},
	{Name: "remote.log.copy.disable", Type: Boolean, Default: "false", Effect: Moot,
		Doc: "Whether a tiered topic's remote data becomes read-only.", Note: noTiers},
	{Name: "remote.log.delete.on.disable", Type: Boolean, Default: "false", Effect: Moot,
		Doc: "Whether a topic's remote data is deleted when tiered storage is switched off for it.", Note: noTiers},
	{Name: "remote.storage.enable", Type: Boolean, Default: "false", Effect: Moot,
		Doc: "Whether tiered storage is used for the topic.", Note: noTiers, check: noRemoteStorage},
	{Name: "retention.bytes", Type: Long, Default: "-1", Synonym: "log.retention.bytes", Effect: NotYet,
		Doc:  "How large a partition may grow before its oldest records are dropped; -1 is without limit.",
		Note: "nothing is dropped yet"},
	{Name: "retention.ms", Type: Long, Default: "604800000", Effect: NotYet,
		Doc: "How long records are kept at least; -1 is forever.", Note: "nothing is dropped yet", check: atLeast(-1)},
	{Name: "segment.bytes", Type: Int, Default: "1073741824", Synonym: "log.segment.bytes",
		Doc:  "The size of a segment file.",
		Note: "only bounds a batch: a larger one gets RECORD_LIST_TOO_LARGE", check: atLeast(1 << 20)},
	{Name: "segment.index.bytes", Type: Int, Default: "10485760", Synonym: "log.index.size.max.bytes", Effect: Moot,
		Doc: "The size of the index of a segment file.", Note: noFiles, check: atLeast(4)},
	{Name: "segment.jitter.ms", Type: Long, Default: "0", Effect: Moot,
		Doc: "How much chance is taken off segment.ms.", Note: noFiles, check: atLeast(0)},
	{Name: "segment.ms", Type: Long, Default: "604800000", Effect: Moot,
		Doc: "After what time a new segment file is begun.", Note: noFiles, check: atLeast(1)},
	{Name: "unclean.leader.election.enable", Type: Boolean, Default: "false", Synonym: "unclean.leader.election.enable", Effect: Moot,
		Doc: "Whether a replica that is not in sync may become leader.", Note: "there are no replicas that could be out of sync"},
}
