package brokers

import (
	"github.com/cespare/xxhash/v2"

	"github.com/leat-stream/leat/metadata/state"
)

// Rendezvous hashing: whoever is asked for, a key's best agent is the one with the greatest score, and score depends on the
// key and that agent alone. So an agent that joins only takes keys, and takes them from everybody alike; one that leaves
// only gives its own away; and one that comes back under its node id gets exactly what it had.
//
// All agents of a cluster must agree, across versions: this is part of the protocol between agents, and a golden test holds it.
//
//	mix(x)                 the finaliser of SplitMix64, a bijection
//	agent                  mix(node id + 0x61…)
//	partition p of topic t mix(xxhash64(t's 16 bytes) + p · 0x9e37…, 64-bit)
//	group g                mix(xxhash64(g's bytes) + 0x67…)
//	region r of object k   mix(mix(xxhash64(k's bytes) + 0x63…) + r · 0x9e37…)
//	score                  mix(key ^ agent)
//
// Two agents never tie: mix and ^ are bijections, and node ids differ.
const (
	agentSeed = 0x6167656e74000001 // "agent", 1
	groupSeed = 0x67726f7570000001 // "group", 1
	chunkSeed = 0x6368756e6b000001 // "chunk", 1
	golden    = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
)

func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func agentHash(node int32) uint64 { return mix(uint64(uint32(node)) + agentSeed) }

func partitionKey(topic state.UUID, partition int32) uint64 {
	return mix(xxhash.Sum64(topic[:]) + uint64(uint32(partition))*golden)
}

func groupKey(group string) uint64 { return mix(xxhash.Sum64String(group) + groupSeed) }

func chunkKey(object string, region int64) uint64 {
	return mix(mix(xxhash.Sum64String(object)+chunkSeed) + uint64(region)*golden)
}

// candidate is an agent that may win a key.
type candidate struct {
	hash uint64 // agentHash
	at   int32  // place in View.live
}

// winner is the candidate with the greatest score, and that score. There is at least one candidate.
func winner(candidates []candidate, key uint64) (at int32, score uint64) {
	at = -1
	for _, c := range candidates {
		if s := mix(key ^ c.hash); s > score || at < 0 {
			at, score = c.at, s
		}
	}
	return at, score
}
