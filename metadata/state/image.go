package state

import (
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
)

// An Image is the state as it was at one index, cut into shards. Taking one costs a few pointers; it is immutable, needs no
// lock, and may be encoded at leisure by another goroutine, one at a time, while entries are being applied.
type Image struct {
	header Header
	tables []frozen
	shards map[ShardID]func() []byte
}

// Table numbers a table of the state in images. A number is never reused.
type Table uint8

// The tables. Objects and the indexes by name and topic are derived and not among them.
const (
	TableMisc       Table = 1
	TableTopics     Table = 2
	TableConfigs    Table = 3
	TablePartitions Table = 4
	TableSessions   Table = 5
	TableEnded      Table = 6
	TableProducers  Table = 7
	TableClaims     Table = 8
	TableGroups     Table = 9
	TableOffsets    Table = 10
)

// ShardID names a shard: the records of a table whose hashes begin with the 4×Depth bits Number. A table is cut deeper
// as it grows.
type ShardID struct {
	Table  Table
	Depth  uint8
	Number uint32
}

// ShardInfo is a shard in a Header. Two images of one cluster that hold a shard of the same id and the same Changed hold the same
// bytes: the later one may use what was written for the earlier one.
type ShardInfo struct {
	ShardID
	Changed uint64 // no entry after this index changed it
}

// Header is what a manifest must keep of an image: enough to restore it, and to know that it was restored right.
type Header struct {
	Level  uint32
	Index  uint64 // of the last applied entry
	Time   int64  // ms since the epoch: the largest ever seen
	Steady int64  // ms since the epoch: by which things expire; see clock
	// JumpBegan and JumpTill are of a jump of time that is not confirmed yet, ms since the epoch; 0: none.
	JumpBegan, JumpTill int64

	Hash   uint64 // of the state
	Shards []ShardInfo
}

// frozen is one table of an image, as the image sees it: list yields the shards and how to encode each.
type frozen struct {
	table  Table
	weight int64 // about how many records of 20 bytes it holds
	list   func(depth int, yield func(ShardInfo, func() []byte) bool)
}

// shardWeight is the average weight of a shard above which a table is cut one level deeper: about a megabyte.
const shardWeight = 1 << 16

// maxDepth bounds the shards of a table: 16^5, a million.
const maxDepth = 5

// Image takes an image. The owner of the state calls it between two entries; it never waits and copies no records.
func (s *State) Image() *Image {
	m := s.misc
	m.fences = slices.Clip(m.fences)
	i := &Image{header: Header{Level: s.level, Index: s.index, Time: s.clock.latest, Steady: s.clock.steady,
		JumpBegan: s.clock.began, JumpTill: s.clock.till, Hash: s.Hash()}}
	i.tables = []frozen{
		{TableMisc, 1, func(_ int, yield func(ShardInfo, func() []byte) bool) {
			info := ShardInfo{ShardID{Table: TableMisc}, m.changed}
			yield(info, func() []byte {
				return encodeShard(info, func(add func(func(*writer, *dictionary))) {
					add(func(w *writer, _ *dictionary) { m.encode(w) })
				})
			})
		}},
		freeze(TableTopics, &s.topics.trie, 0),
		freeze(TableConfigs, &s.configs.trie, 0),
		freeze(TablePartitions, &s.partitions.trie, s.partitions.extents),
		freeze(TableSessions, &s.sessions.trie, 0),
		freeze(TableEnded, &s.sessions.ended, 0),
		freeze(TableProducers, &s.producers.trie, s.producers.entries),
		freeze(TableClaims, &s.groups.claims, 0),
		freeze(TableGroups, &s.groups.groups, 0),
		freeze(TableOffsets, &s.offsets.trie, s.offsets.entries),
	}
	return i
}

// encodable is a record that can be part of a shard.
type encodable interface{ encode(*writer, *dictionary) }

func freeze[K comparable, V interface {
	record[K, V]
	encodable
}](table Table, t *trie[K, V], more int64) frozen {
	root := t.freeze()
	return frozen{table, int64(t.n) + more, func(depth int, yield func(ShardInfo, func() []byte) bool) {
		root.parts(0, 0, depth, func(p part[V]) bool {
			info := ShardInfo{ShardID{table, uint8(depth), p.number}, p.changed}
			return yield(info, func() []byte {
				return encodeShard(info, func(add func(func(*writer, *dictionary))) {
					p.each(func(v V) bool {
						add(v.encode)
						return true
					})
				})
			})
		})
	}}
}

// depth is how deep the table is cut.
func (f frozen) depth() int {
	d := 0
	for w := f.weight; w > shardWeight && d < maxDepth; w /= 16 {
		d++
	}
	return d
}

// Header lists the shards. The first call walks the upper levels of the tables.
func (i *Image) Header() Header {
	i.walk()
	return i.header
}

// Shards yields the shards in the order of the header, each with a function that encodes it.
func (i *Image) Shards() iter.Seq2[ShardInfo, func() []byte] {
	return func(yield func(ShardInfo, func() []byte) bool) {
		i.walk()
		for _, info := range i.header.Shards {
			if !yield(info, i.shards[info.ShardID]) {
				return
			}
		}
	}
}

// Encode answers the bytes of one shard; false if the image has no such shard.
func (i *Image) Encode(id ShardID) ([]byte, bool) {
	i.walk()
	encode, ok := i.shards[id]
	if !ok {
		return nil, false
	}
	return encode(), true
}

func (i *Image) walk() {
	if i.shards != nil {
		return
	}
	i.shards = make(map[ShardID]func() []byte)
	for _, f := range i.tables {
		f.list(f.depth(), func(info ShardInfo, encode func() []byte) bool {
			i.header.Shards = append(i.header.Shards, info)
			i.shards[info.ShardID] = encode
			return true
		})
	}
}

// A shard:
//
//	format   one byte
//	field 1  table   field 2  depth   field 3  number   field 4  changed
//	field 5  dictionary, 16 bytes each
//	field 6  record, repeated, in the order of the hashes of the keys
const shardFormat = 1

func encodeShard(info ShardInfo, records func(add func(func(*writer, *dictionary)))) []byte {
	d := &dictionary{positions: make(map[UUID]uint64)}
	var body, one writer
	records(func(encode func(*writer, *dictionary)) {
		one.b = one.b[:0]
		encode(&one, d)
		body.repeated(6, one.b)
	})
	w := writer{b: append(make([]byte, 0, len(body.b)+len(d.ids)+32), shardFormat)}
	w.uint(1, uint64(info.Table))
	w.uint(2, uint64(info.Depth))
	w.uint(3, uint64(info.Number))
	w.uint(4, info.Changed)
	w.bytes(5, d.ids)
	w.b = append(w.b, body.b...)
	return w.b
}

// headerFormat is the first byte of an encoded Header.
const headerFormat = 1

// Encode answers the bytes of the header: one byte of format, then a message.
func (h Header) Encode() []byte {
	w := writer{b: []byte{headerFormat}}
	w.uint(1, uint64(h.Level))
	w.uint(2, h.Index)
	w.int(3, h.Time)
	w.fixed64(4, h.Hash)
	var b []byte
	for _, s := range h.Shards {
		b = append(b, byte(s.Table), s.Depth)
		b = binary.AppendUvarint(b, uint64(s.Number))
		b = binary.AppendUvarint(b, s.Changed)
	}
	w.bytes(5, b)
	w.int(6, h.Steady)
	w.int(7, h.JumpBegan)
	w.int(8, h.JumpTill)
	return w.b
}

// DecodeHeader is the reverse of Header.Encode. ErrCorrupt, ErrLevel.
func DecodeHeader(b []byte) (Header, error) {
	var h Header
	if len(b) == 0 {
		return h, fmt.Errorf("image header: %w: empty", ErrCorrupt)
	}
	if b[0] != headerFormat {
		return h, fmt.Errorf("image header: %w: format %d", ErrLevel, b[0])
	}
	r := reader{b: b[1:], unknown: ErrLevel}
	for r.next() {
		switch r.field {
		case 1:
			h.Level = uint32(r.uintUpTo(1<<32 - 1))
		case 2:
			h.Index = r.uint()
		case 3:
			h.Time = r.int()
		case 6:
			h.Steady = r.int()
		case 7:
			h.JumpBegan = r.int()
		case 8:
			h.JumpTill = r.int()
		case 4:
			h.Hash = r.fixed64()
		case 5:
			h.decodeShards(&r)
		default:
			r.skip()
		}
	}
	if h.Level == 0 {
		r.corrupt("level")
	}
	if r.err != nil {
		return Header{}, fmt.Errorf("image header: %w", r.err)
	}
	return h, nil
}

func (h *Header) decodeShards(r *reader) {
	m := reader{b: r.raw(), field: r.field}
	for m.err == nil && len(m.b) > 0 {
		var s ShardInfo
		s.Table = Table(m.below(256))
		s.Depth = uint8(m.below(maxDepth + 1))
		s.Number = uint32(m.below(1 << (4 * uint64(s.Depth))))
		s.Changed = m.uvarint()
		h.Shards = append(h.Shards, s)
	}
	if r.err == nil {
		r.err = m.err
	}
}
