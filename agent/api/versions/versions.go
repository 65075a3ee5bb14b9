// Package versions says which Kafka API keys Leat announces, and in which versions. It is a table and nothing else: it
// must never ask kmsg what it could encode, because an announced version is a promise about behaviour, not about bytes.
//
// The numbers are those that a running Apache Kafka 4.3 broker announced (kafka-4.3.json, written by cmd/interop/record).
// Why each of them is honest here, and how answers differ from Kafka's, stands in agent/PROTOCOL.md; a test keeps the
// three in step. A call that is not implemented is not in the table, and no feature (KIP-584) is announced at all.
package versions

import "slices"

// API is one announced API key.
type API struct {
	Key  int16
	Name string // as in Kafka's ApiKeys, which is how logs and metrics should call it
	Min  int16  // lowest version announced
	Max  int16  // highest version announced and served
	// Served is the lowest version served. It is above Min only for Produce: versions 0 to 2 carry formats that Kafka 4
	// no longer accepts, yet older librdkafka turns compression off when they are not announced (KAFKA-18659,
	// librdkafka issue 4956).
	Served int16
}

// announced is ordered by key.
var announced = []API{
	{0, "Produce", 0, 13, 3},
	{1, "Fetch", 4, 18, 4},
	{2, "ListOffsets", 1, 11, 1},
	{3, "Metadata", 0, 13, 0},
	{8, "OffsetCommit", 2, 10, 2},
	{9, "OffsetFetch", 1, 10, 1},
	{10, "FindCoordinator", 0, 6, 0},
	{11, "JoinGroup", 0, 9, 0},
	{12, "Heartbeat", 0, 4, 0},
	{13, "LeaveGroup", 0, 5, 0},
	{14, "SyncGroup", 0, 5, 0},
	{15, "DescribeGroups", 0, 6, 0},
	{16, "ListGroups", 0, 5, 0},
	{18, "ApiVersions", 0, 4, 0},
	{19, "CreateTopics", 2, 7, 2},
	{20, "DeleteTopics", 1, 6, 1},
	{22, "InitProducerId", 0, 5, 0},
	{23, "OffsetForLeaderEpoch", 2, 4, 2},
	{32, "DescribeConfigs", 1, 4, 1},
	{37, "CreatePartitions", 0, 3, 0},
	{42, "DeleteGroups", 0, 2, 0},
	{44, "IncrementalAlterConfigs", 0, 1, 0},
	{60, "DescribeCluster", 0, 2, 0},
	{75, "DescribeTopicPartitions", 0, 0, 0},
}

// Announced returns what ApiVersions answers, ordered by key. The caller owns the slice.
func Announced() []API { return slices.Clone(announced) }

// Range returns the versions of key that are served, both inclusive; ok is false for a key that is not served. Any other
// version closes the connection, except that ApiVersions is answered in version 0 with UNSUPPORTED_VERSION (KIP-511).
// Safe for concurrent use.
func Range(key int16) (minServed, maxServed int16, ok bool) {
	a, ok := Lookup(key)
	return a.Served, a.Max, ok
}

// Lookup returns the announced API of that key.
func Lookup(key int16) (a API, ok bool) {
	i, ok := slices.BinarySearchFunc(announced, key, func(a API, key int16) int { return int(a.Key) - int(key) })
	if !ok {
		return API{}, false
	}
	return announced[i], true
}
