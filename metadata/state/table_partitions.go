package state

import (
	"encoding/binary"
	"math"
	"sort"
)

// extent is an Extent in memory: 40 bytes. A batch's object is at most MaxObjectSize long, so 32 bits hold a position.
type extent struct {
	base, last   int64
	object       *object
	maxTimestamp int64
	pos, len     uint32
}

// MaxObjectSize is the most bytes that an object named by a command may have.
const MaxObjectSize = math.MaxUint32

func (e *extent) export() Extent {
	return Extent{Base: e.base, Last: e.last, Object: e.object.name, ObjectSize: e.object.size, Pos: int64(e.pos), Len: int64(e.len),
		MaxTimestamp: e.maxTimestamp}
}

// partition is a record of the partitions table. A partition that nothing was ever written to has none: it costs nothing.
//
// extents is append-only: an image keeps its own slice header, and what it sees is never written again. The front is cut off by
// slicing; append leaves it behind when it next grows.
type partition struct {
	topic    UUID
	number   int32
	gen      uint32
	logStart int64
	next     int64 // the watermark
	extents  []extent
	bytes    int64  // of all extents
	hash     uint64 // of logStart and next; extents are elements of their own
}

func (p *partition) key() TopicPartition { return TopicPartition{p.topic, p.number} }
func (p *partition) stamp() uint32       { return p.gen }
func (p *partition) clone(gen uint32) *partition {
	c := *p
	c.gen = gen
	return &c
}

// firstFrom is the position of the first extent that ends at offset or later.
func (p *partition) firstFrom(offset int64) int {
	return sort.Search(len(p.extents), func(i int) bool { return p.extents[i].last >= offset })
}

// encode packs the extents, which are most of every image, without tags. Each is
//
//	gap      uvarint  base offset - (last offset of the one before + 1)
//	count-1  uvarint  last offset - base offset
//	owner    uvarint  position in the shard's dictionary
//	number   zigzag   minus that of the one before
//	attempt  uvarint
//	size     uvarint  of the object, bytes
//	pos, len uvarint  within the object, bytes
//	time     zigzag   largest timestamp minus that of the one before
func (p *partition) encode(w *writer, d *dictionary) {
	w.uint(1, d.of(p.topic))
	w.int(2, int64(p.number))
	w.int(3, p.logStart)
	w.int(4, p.next)
	var b []byte
	var end, time int64
	var number uint64
	for i := range p.extents {
		e := &p.extents[i]
		b = binary.AppendUvarint(b, uint64(e.base-end))
		b = binary.AppendUvarint(b, uint64(e.last-e.base))
		b = binary.AppendUvarint(b, d.of(e.object.name.Owner))
		b = binary.AppendUvarint(b, zigzag(int64(e.object.name.Number-number)))
		b = binary.AppendUvarint(b, uint64(e.object.name.Attempt))
		b = binary.AppendUvarint(b, uint64(e.object.size))
		b = binary.AppendUvarint(b, uint64(e.pos))
		b = binary.AppendUvarint(b, uint64(e.len))
		b = binary.AppendUvarint(b, zigzag(e.maxTimestamp-time))
		end, number, time = e.last+1, e.object.name.Number, e.maxTimestamp
	}
	w.bytes(5, b)
}

// decodePartition answers a partition whose extents have no objects yet, and in names and sizes what they refer to.
func decodePartition(r *reader, d []UUID) (p *partition, found []object) {
	p = &partition{}
	for r.next() {
		switch r.field {
		case 1:
			p.topic = fromDictionary(r, d)
		case 2:
			p.number = r.int32()
		case 3:
			p.logStart = r.int()
		case 4:
			p.next = r.int()
		case 5:
			found = p.decodeExtents(r, d)
		default:
			r.skip()
		}
	}
	if p.number < 0 || p.logStart < 0 || p.logStart > p.next {
		r.corrupt("offsets")
	}
	if n := len(p.extents); n > 0 && (p.extents[n-1].last >= p.next || p.extents[0].last < p.logStart) {
		r.corrupt("extents")
	}
	return p, found
}

// minExtent is the fewest bytes that an encoded extent has.
const minExtent = 9

func (p *partition) decodeExtents(r *reader, d []UUID) []object {
	m := reader{b: r.raw(), field: r.field}
	n := len(m.b) / minExtent
	p.extents = make([]extent, 0, n)
	found := make([]object, 0, n)
	var end, time int64
	var number uint64
	for m.err == nil && len(m.b) > 0 {
		var e extent
		var o object
		e.base = end + int64(m.below(uint64(math.MaxInt64-end)))
		e.last = e.base + int64(m.below(uint64(math.MaxInt64-e.base)))
		o.name.Owner = dictionaryAt(&m, d, m.uvarint())
		number += uint64(m.varint())
		o.name.Number = number
		o.name.Attempt = uint32(m.below(math.MaxUint32 + 1))
		o.size = int64(m.below(MaxObjectSize + 1))
		e.pos = uint32(m.below(MaxObjectSize + 1))
		e.len = uint32(m.below(MaxObjectSize + 1))
		time += m.varint()
		e.maxTimestamp = time
		if int64(e.pos)+int64(e.len) > o.size {
			m.corrupt("extent")
		}
		end = e.last + 1
		p.extents = append(p.extents, e)
		found = append(found, o)
	}
	if r.err == nil {
		r.err = m.err
	}
	return found
}

// partitions is the table of partitions and their extents.
type partitions struct {
	trie    trie[TopicPartition, *partition]
	extents int64 // in all
	sum     uint64
}

// topicBits is how much of a partition's place is decided by its topic alone: partitions of one topic share shards, so that
// an idle topic leaves shards unchanged.
const topicBits = 12

func partitionHash(tp TopicPartition) uint64 {
	const low = 1<<(64-topicBits) - 1
	t := topicHash(tp.Topic)
	return t&^low | hasher(t).word(uint64(tp.Partition)).sum()&low
}

func (ps *partitions) get(tp TopicPartition) (*partition, bool) {
	return ps.trie.get(partitionHash(tp), tp)
}

// edit answers the partition for writing; it is made if it has no record yet. Call rehash afterwards.
func (ps *partitions) edit(tp TopicPartition, index uint64) *partition {
	h := partitionHash(tp)
	p, ok := ps.trie.edit(h, tp, index)
	if !ok {
		p = &partition{topic: tp.Topic, number: tp.Partition, gen: ps.trie.gen}
		ps.trie.put(h, p, index)
	}
	return p
}

func (ps *partitions) rehash(p *partition) {
	ps.sum -= p.hash
	p.hash = newHash(hashPartition).uuid(p.topic).word(uint64(p.number)).word(uint64(p.logStart)).word(uint64(p.next)).sum()
	ps.sum += p.hash
}

func (ps *partitions) append(p *partition, e extent) {
	p.extents = append(p.extents, e)
	p.bytes += int64(e.len)
	ps.extents++
	ps.sum += extentHash(p, &e)
}

// cut drops the first n extents and tells drop which objects they referred to.
func (ps *partitions) cut(p *partition, n int, drop func(*object)) {
	for i := range p.extents[:n] {
		e := &p.extents[i]
		p.bytes -= int64(e.len)
		ps.extents--
		ps.sum -= extentHash(p, e)
		drop(e.object)
	}
	p.extents = p.extents[n:]
	if len(p.extents) == 0 {
		p.extents = nil
	}
}

// remove drops a partition, if it has a record.
func (ps *partitions) remove(tp TopicPartition, index uint64, drop func(*object)) {
	h := partitionHash(tp)
	if _, ok := ps.trie.get(h, tp); !ok {
		return
	}
	p, _ := ps.trie.edit(h, tp, index)
	ps.cut(p, len(p.extents), drop)
	ps.sum -= p.hash
	ps.trie.delete(h, tp, index)
}

func extentHash(p *partition, e *extent) uint64 {
	o := e.object
	return newHash(hashExtent).uuid(p.topic).word(uint64(p.number)).word(uint64(e.base)).word(uint64(e.last)).
		uuid(o.name.Owner).word(o.name.Number).word(uint64(o.name.Attempt)).word(uint64(o.size)).
		word(uint64(e.pos)).word(uint64(e.len)).word(uint64(e.maxTimestamp)).sum()
}
