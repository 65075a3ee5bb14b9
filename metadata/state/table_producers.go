package state

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"math"
	"slices"
)

// producer is a record of the producers table: an idempotent producer id that wrote something and has not expired. Its
// sequences, one for each partition that it wrote to, are ordered by topic and partition.
type producer struct {
	id        int64
	time      int64 // ms since the epoch: the state's time when it last wrote
	sequences []*sequence
	deleted   []string // names of deleted topics that it wrote to, the latest deletion last; see tombstones
	hash      uint64
	buried    uint64 // hash of deleted; 0 if there are none
	gen       uint32
}

// tombstones is how many names of deleted topics are remembered with a producer id, the latest ones. A client goes on with its
// sequence when a topic was deleted and made again, since it counts by name (rule R6).
const tombstones = 256

// remembered is how many batches are remembered to recognise duplicates: a client has at most five requests in flight.
const remembered = 5

// sequence is what is known of one producer in one partition.
type sequence struct {
	topic     UUID
	partition int32
	gen       uint32
	epoch     int16
	n         uint8             // how many of recent are in use, at least one
	recent    [remembered]batch // oldest first
	hash      uint64
}

// batch is one remembered batch.
type batch struct {
	first, last int32 // sequence numbers
	base        int64 // its base offset
}

func (p *producer) key() int64    { return p.id }
func (p *producer) stamp() uint32 { return p.gen }
func (p *producer) clone(gen uint32) *producer {
	c := *p
	c.sequences = slices.Clone(p.sequences)
	c.deleted = slices.Clone(p.deleted)
	c.gen = gen
	return &c
}

func (q *sequence) last() int32 { return q.recent[q.n-1].last }

// remember makes b the newest remembered batch.
func (q *sequence) remember(b batch) {
	if q.n == remembered {
		copy(q.recent[:], q.recent[1:])
		q.n--
	}
	q.recent[q.n] = b
	q.n++
}

func compareTopicPartition(a, b TopicPartition) int {
	if c := bytes.Compare(a.Topic[:], b.Topic[:]); c != 0 {
		return c
	}
	return cmp.Compare(a.Partition, b.Partition)
}

// find answers where the sequence for tp is or would be.
func (p *producer) find(tp TopicPartition) (int, bool) {
	return slices.BinarySearchFunc(p.sequences, tp, func(q *sequence, tp TopicPartition) int {
		return compareTopicPartition(TopicPartition{q.topic, q.partition}, tp)
	})
}

// encode packs each sequence without tags; the names of deleted topics follow as fields of their own:
//
//	topic      uvarint  position in the shard's dictionary
//	partition  uvarint
//	epoch      uvarint
//	n          uvarint  1 … 5, then n times, oldest first:
//	  first    uvarint
//	  last     uvarint
//	  base     uvarint
func (p *producer) encode(w *writer, d *dictionary) {
	w.int(1, p.id)
	w.int(2, p.time)
	var b []byte
	for _, q := range p.sequences {
		b = binary.AppendUvarint(b, d.of(q.topic))
		b = binary.AppendUvarint(b, uint64(q.partition))
		b = binary.AppendUvarint(b, uint64(q.epoch))
		b = binary.AppendUvarint(b, uint64(q.n))
		for _, r := range q.recent[:q.n] {
			b = binary.AppendUvarint(b, uint64(r.first))
			b = binary.AppendUvarint(b, uint64(r.last))
			b = binary.AppendUvarint(b, uint64(r.base))
		}
	}
	w.bytes(3, b)
	for _, name := range p.deleted {
		w.repeatedString(4, name)
	}
}

func decodeProducer(r *reader, d []UUID) *producer {
	p := &producer{}
	for r.next() {
		switch r.field {
		case 1:
			p.id = r.int()
		case 2:
			p.time = r.int()
		case 3:
			p.decodeSequences(r, d)
		case 4:
			p.deleted = append(p.deleted, r.string())
		default:
			r.skip()
		}
	}
	if len(p.deleted) > tombstones {
		r.corrupt("names of deleted topics")
	}
	if p.id < 0 {
		r.corrupt("producer id")
	}
	return p
}

func (p *producer) decodeSequences(r *reader, d []UUID) {
	m := reader{b: r.raw(), field: r.field}
	for m.err == nil && len(m.b) > 0 {
		q := &sequence{}
		q.topic = dictionaryAt(&m, d, m.uvarint())
		q.partition = int32(m.below(math.MaxInt32 + 1))
		q.epoch = int16(m.below(math.MaxInt16 + 1))
		q.n = uint8(m.below(remembered + 1))
		if q.n == 0 {
			m.corrupt("remembered batches")
		}
		for i := range q.recent[:q.n] {
			q.recent[i].first = int32(m.below(math.MaxInt32 + 1))
			q.recent[i].last = int32(m.below(math.MaxInt32 + 1))
			q.recent[i].base = int64(m.below(math.MaxInt64 + 1))
		}
		if n := len(p.sequences); n > 0 {
			before := p.sequences[n-1]
			if compareTopicPartition(TopicPartition{before.topic, before.partition}, TopicPartition{q.topic, q.partition}) >= 0 {
				m.corrupt("order of sequences")
			}
		}
		p.sequences = append(p.sequences, q)
	}
	if r.err == nil {
		r.err = m.err
	}
}

// producers is the table of idempotent producers.
type producers struct {
	trie    trie[int64, *producer]
	byTopic backrefs[int64] // derived: which producers have a sequence in a topic, and how many
	entries int64           // sequences and names of deleted topics in all
	sum     uint64
}

func producerHash(id int64) uint64 { return newHash(0).word(uint64(id)).sum() }

func (ps *producers) get(id int64) (*producer, bool) { return ps.trie.get(producerHash(id), id) }

// edit answers a producer for writing; it is made if it is unknown.
func (ps *producers) edit(id int64, index uint64) *producer {
	h := producerHash(id)
	p, ok := ps.trie.edit(h, id, index)
	if !ok {
		p = &producer{id: id, gen: ps.trie.gen, time: math.MinInt64}
		ps.trie.put(h, p, index)
	}
	return p
}

// insert adds a decoded producer.
func (ps *producers) insert(p *producer, index uint64) {
	p.gen = ps.trie.gen
	ps.trie.put(producerHash(p.id), p, index)
	time := p.time
	p.time = math.MinInt64
	ps.touch(p, time)
	for _, q := range p.sequences {
		q.gen = p.gen
		ps.byTopic.add(q.topic, p.id)
		ps.entries++
		ps.rehash(p, q)
	}
	ps.entries += int64(len(p.deleted))
	ps.rehashDeleted(p)
}

// touch notes that the producer wrote.
func (ps *producers) touch(p *producer, time int64) {
	if p.time == time {
		return
	}
	p.time = time
	ps.sum -= p.hash
	p.hash = newHash(hashProducer).word(uint64(p.id)).word(uint64(time)).sum()
	ps.sum += p.hash
}

// sequence answers a producer's sequence of tp for writing; it is made if there is none. at and ok are what p.find(tp)
// answered. Call rehash afterwards.
func (ps *producers) sequence(p *producer, tp TopicPartition, at int, ok bool) *sequence {
	if !ok {
		q := &sequence{topic: tp.Topic, partition: tp.Partition, gen: ps.trie.gen}
		p.sequences = slices.Insert(p.sequences, at, q)
		ps.byTopic.add(tp.Topic, p.id)
		ps.entries++
		return q
	}
	q := p.sequences[at]
	if q.gen != ps.trie.gen {
		c := *q
		c.gen = ps.trie.gen
		q = &c
		p.sequences[at] = q
	}
	return q
}

func (ps *producers) rehash(p *producer, q *sequence) {
	ps.sum -= q.hash
	h := newHash(hashSequence).word(uint64(p.id)).uuid(q.topic).word(uint64(q.partition)).word(uint64(q.epoch))
	for _, b := range q.recent[:q.n] {
		h = h.word(uint64(b.first)<<32 | uint64(b.last)).word(uint64(b.base))
	}
	q.hash = h.sum()
	ps.sum += q.hash
}

// bury remembers that a topic was deleted that the producer wrote to. Of too many the one that was deleted first is forgotten.
func (ps *producers) bury(p *producer, name string) {
	if at := slices.Index(p.deleted, name); at >= 0 {
		p.deleted = slices.Delete(p.deleted, at, at+1)
		ps.entries--
	} else if len(p.deleted) == tombstones {
		p.deleted = slices.Delete(p.deleted, 0, 1)
		ps.entries--
	}
	p.deleted = append(p.deleted, name)
	ps.entries++
	ps.rehashDeleted(p)
}

func (ps *producers) rehashDeleted(p *producer) {
	ps.sum -= p.buried
	p.buried = 0
	if len(p.deleted) == 0 {
		return
	}
	h := newHash(hashDeleted).word(uint64(p.id)).word(uint64(len(p.deleted)))
	for _, name := range p.deleted {
		h = h.word(uint64(len(name))).string(name)
	}
	p.buried = h.sum()
	ps.sum += p.buried
}

// removeTopic drops the sequences of a topic, and remembers its name with the producers that wrote to it. The ids stay known
// until they expire.
func (ps *producers) removeTopic(topic UUID, name string, index uint64) {
	for _, id := range ps.byTopic.of(topic) {
		p, _ := ps.trie.edit(producerHash(id), id, index)
		p.sequences = slices.DeleteFunc(p.sequences, func(q *sequence) bool {
			if q.topic != topic {
				return false
			}
			ps.sum -= q.hash
			ps.entries--
			return true
		})
		ps.bury(p, name)
	}
	ps.byTopic.drop(topic)
}

// idle answers at most limit ids that last wrote before before, in ascending order.
func (ps *producers) idle(before int64, limit int) []int64 {
	var ids []int64
	for p := range ps.trie.all() {
		if p.time < before {
			ids = append(ids, p.id)
		}
	}
	slices.Sort(ids)
	return ids[:min(limit, len(ids))]
}

func (ps *producers) remove(id int64, index uint64) {
	p, ok := ps.trie.delete(producerHash(id), id, index)
	if !ok {
		return
	}
	ps.sum -= p.hash + p.buried
	ps.entries -= int64(len(p.deleted))
	for _, q := range p.sequences {
		ps.sum -= q.hash
		ps.byTopic.remove(q.topic, id)
		ps.entries--
	}
}

// backrefs tells which records have entries for a topic, so that deleting a topic need not look at all records. It is derived.
type backrefs[K cmp.Ordered] map[UUID]map[K]int32

func (b backrefs[K]) add(topic UUID, k K) {
	of, ok := b[topic]
	if !ok {
		of = make(map[K]int32, 1)
		b[topic] = of
	}
	of[k]++
}

func (b backrefs[K]) remove(topic UUID, k K) {
	of := b[topic]
	if of[k]--; of[k] > 0 {
		return
	}
	delete(of, k)
	if len(of) == 0 {
		delete(b, topic)
	}
}

// of answers them in ascending order.
func (b backrefs[K]) of(topic UUID) []K { return slices.Sorted(maps.Keys(b[topic])) }

func (b backrefs[K]) drop(topic UUID) { delete(b, topic) }
