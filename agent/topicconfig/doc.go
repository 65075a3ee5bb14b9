// Package topicconfig knows every topic config of Apache Kafka 4.3: its type, default, valid values and the wording of
// Kafka's errors; how a value is written, altered and read; and which of them do something in Leat.
//
//	CreateTopics ──► Validate each, ValidateTogether ──► overrides (strings, kept in metadata)
//	IncrementalAlterConfigs ──► Alter ──────────────────► overrides
//	overrides ──► Resolve ──► Topic: typed values for the data path
//	overrides + All ──► DescribeConfigs
//
// Every config of Kafka is accepted and described, so that tools and topic definitions written for Kafka work unchanged;
// Def.Effect tells the truth about what each one does here. The package is pure: it must never read a clock, a file or
// the state, and never refuse what Kafka accepts, nor accept what Kafka refuses. The tests compare it with what a running
// broker answered (kafka-4.3-topic.json, and the "configs" section of cmd/interop/probe/kafka-4.3.txt).
//
// Two differences are wanted. Kafka keeps a value as it was typed and takes lists apart without trimming, so that after
// SET " delete , compact " a SUBTRACT of "compact" removes nothing; here values are kept in the form in which they are
// described, and elements are trimmed. And Kafka's internal.segment.bytes, which only its own tests use, is unknown here.
package topicconfig
