package batch

import "hash/crc32"

// CRCOf answers what CRC should be of a batch that lies in pieces, one after the other.
func CRCOf(pieces ...[]byte) uint32 {
	var sum uint32
	before := atAttributes
	for _, piece := range pieces {
		n := min(before, len(piece))
		before -= n
		sum = crc32.Update(sum, castagnoli, piece[n:])
	}
	return sum
}
