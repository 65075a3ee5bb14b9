package state

import (
	"encoding/binary"
	"math/bits"
)

// The hash of a state is the sum, modulo 2^64, of the hashes of its elements (a topic, an extent, a recorded outcome …), so
// that a command costs what it changes and the order in which elements came does not matter. The function is part of
// level 1: it may only change together with a level, or replicas of two versions would call each other diverged.

// hasher accumulates one element, word by word. Every element begins with its own tag, so that equal content in two tables
// does not hash alike.
type hasher uint64

// The tags of the hashed elements.
const (
	hashMisc      = 1
	hashFence     = 2
	hashTopic     = 3
	hashConfigs   = 4
	hashPartition = 5
	hashExtent    = 6
	hashSession   = 7
	hashLane      = 8
	hashOutcome   = 9
	hashEnded     = 10
	hashProducer  = 11
	hashSequence  = 12
	hashClaim     = 13
	hashGroup     = 14
	hashOffset    = 15
	hashState     = 16
	hashDeleted   = 17 // a producer's names of deleted topics
)

func newHash(tag uint64) hasher { return hasher(0x51_7C_C1_B7_27_22_0A_95).word(tag) }

// word is a bijection of the accumulated value for every w, and of w for every accumulated value.
func (h hasher) word(w uint64) hasher {
	x := bits.RotateLeft64((uint64(h)^w)*0x9E37_79B9_7F4A_7C15, 29)
	return hasher(x ^ x>>32)
}

func (h hasher) uuid(u UUID) hasher {
	return h.word(binary.LittleEndian.Uint64(u[:8])).word(binary.LittleEndian.Uint64(u[8:]))
}

func (h hasher) bytes(b []byte) hasher {
	h = h.word(uint64(len(b)))
	for ; len(b) >= 8; b = b[8:] {
		h = h.word(binary.LittleEndian.Uint64(b))
	}
	if len(b) > 0 {
		var last [8]byte
		copy(last[:], b)
		h = h.word(binary.LittleEndian.Uint64(last[:]))
	}
	return h
}

func (h hasher) string(s string) hasher {
	h = h.word(uint64(len(s)))
	for len(s) > 0 {
		var part [8]byte
		n := copy(part[:], s)
		h = h.word(binary.LittleEndian.Uint64(part[:]))
		s = s[n:]
	}
	return h
}

// sum finishes with the mixer of splitmix64: elements that differ in one bit must differ everywhere, since they are added.
func (h hasher) sum() uint64 {
	x := uint64(h)
	x = (x ^ x>>30) * 0xBF58_476D_1CE4_E5B9
	x = (x ^ x>>27) * 0x94D0_49BB_1331_11EB
	return x ^ x>>31
}

// hashEncoded hashes an element that changes rarely by its encoding, which is canonical.
func hashEncoded(tag uint64, encode func(*writer)) uint64 {
	var w writer
	encode(&w)
	return newHash(tag).bytes(w.b).sum()
}
