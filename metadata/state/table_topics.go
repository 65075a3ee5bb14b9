package state

import (
	"slices"
	"strings"
)

// topic is a record of the topics table. Its configs live in the configs table, its partitions in that of partitions.
type topic struct {
	id         UUID
	name       string
	created    uint64
	hash       uint64
	partitions int32
	gen        uint32
	factor     int16
}

func (t *topic) key() UUID     { return t.id }
func (t *topic) stamp() uint32 { return t.gen }
func (t *topic) clone(gen uint32) *topic {
	c := *t
	c.gen = gen
	return &c
}

func (t *topic) encode(w *writer, _ *dictionary) {
	w.uuid(1, t.id)
	w.string(2, t.name)
	w.int(3, int64(t.partitions))
	w.int(4, int64(t.factor))
	w.uint(5, t.created)
}

func decodeTopic(r *reader, _ []UUID) *topic {
	t := &topic{}
	for r.next() {
		switch r.field {
		case 1:
			t.id = r.uuid()
		case 2:
			t.name = r.string()
		case 3:
			t.partitions = r.int32()
		case 4:
			t.factor = r.int16()
		case 5:
			t.created = r.uint()
		default:
			r.skip()
		}
	}
	if t.id.IsZero() || t.name == "" || t.partitions < 1 {
		r.corrupt("topic")
	}
	return t
}

// topics is the table of topics. names, alike and order are derived from the records.
type topics struct {
	trie       trie[UUID, *topic]
	names      map[string]UUID
	alike      map[string]UUID // by the name with underscores for dots, if it has any of them
	order      []string        // all names, ascending
	partitions int64
	sum        uint64
}

// topicHash places topics, and the partitions of a topic near each other (see partitionHash).
func topicHash(id UUID) uint64 { return newHash(0).uuid(id).sum() }

func (ts *topics) get(id UUID) (*topic, bool) { return ts.trie.get(topicHash(id), id) }

func (ts *topics) insert(t *topic, index uint64) {
	t.gen = ts.trie.gen
	ts.trie.put(topicHash(t.id), t, index)
	ts.names[t.name] = t.id
	if key, ok := alikeKey(t.name); ok {
		ts.alike[key] = t.id
	}
	at, _ := slices.BinarySearch(ts.order, t.name)
	ts.order = slices.Insert(ts.order, at, t.name)
	ts.partitions += int64(t.partitions)
	ts.rehash(t)
}

func (ts *topics) remove(t *topic, index uint64) {
	ts.trie.delete(topicHash(t.id), t.id, index)
	delete(ts.names, t.name)
	if key, ok := alikeKey(t.name); ok {
		delete(ts.alike, key)
	}
	at, _ := slices.BinarySearch(ts.order, t.name)
	ts.order = slices.Delete(ts.order, at, at+1)
	ts.partitions -= int64(t.partitions)
	ts.sum -= t.hash
}

// alikeKey is what names that collide have in common, as in Kafka: in names of metrics dots become underscores. A name with
// neither collides with no other.
func alikeKey(name string) (key string, ok bool) {
	return strings.ReplaceAll(name, ".", "_"), strings.ContainsAny(name, "._")
}

// collision answers the topic that a new name would collide with. No two topics of a state ever do, so there is one at most.
func (ts *topics) collision(name string) (UUID, bool) {
	key, ok := alikeKey(name)
	if !ok {
		return UUID{}, false
	}
	other, ok := ts.alike[key]
	return other, ok
}

func (ts *topics) extend(id UUID, partitions int32, index uint64) {
	t, _ := ts.trie.edit(topicHash(id), id, index)
	ts.partitions += int64(partitions) - int64(t.partitions)
	t.partitions = partitions
	ts.rehash(t)
}

func (ts *topics) rehash(t *topic) {
	ts.sum -= t.hash
	t.hash = hashEncoded(hashTopic, func(w *writer) { t.encode(w, nil) })
	ts.sum += t.hash
}

// hasPartition reports whether the partition exists.
func (ts *topics) hasPartition(tp TopicPartition) bool {
	t, ok := ts.get(tp.Topic)
	return ok && tp.Partition >= 0 && tp.Partition < t.partitions
}
