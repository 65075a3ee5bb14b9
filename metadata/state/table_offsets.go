package state

import "slices"

// groupOffsets is a record of the offsets table: what one group committed, ordered by topic id and partition.
type groupOffsets struct {
	group string
	list  []committed
	gen   uint32
}

type committed struct {
	CommittedOffset
	hash uint64
}

func (g *groupOffsets) key() string   { return g.group }
func (g *groupOffsets) stamp() uint32 { return g.gen }
func (g *groupOffsets) clone(gen uint32) *groupOffsets {
	return &groupOffsets{group: g.group, list: slices.Clone(g.list), gen: gen}
}

func (g *groupOffsets) find(tp TopicPartition) (int, bool) {
	return slices.BinarySearchFunc(g.list, tp, func(c committed, tp TopicPartition) int {
		return compareTopicPartition(c.TopicPartition, tp)
	})
}

func (g *groupOffsets) encode(w *writer, d *dictionary) {
	w.string(1, g.group)
	for i := range g.list {
		c := &g.list[i]
		w.message(2, func(w *writer) {
			w.uint(1, d.of(c.Topic))
			w.int(2, int64(c.Partition))
			w.int(3, c.Offset)
			w.int(4, int64(c.LeaderEpoch))
			w.string(5, c.Metadata)
			w.int(6, c.Committed)
		})
	}
}

func decodeOffsets(r *reader, d []UUID) *groupOffsets {
	g := &groupOffsets{}
	for r.next() {
		switch r.field {
		case 1:
			g.group = r.string()
		case 2:
			var c committed
			r.message(func(r *reader) { c.decodeField(r, d) })
			if n := len(g.list); n > 0 && compareTopicPartition(g.list[n-1].TopicPartition, c.TopicPartition) >= 0 {
				r.corrupt("order of offsets")
			}
			g.list = append(g.list, c)
		default:
			r.skip()
		}
	}
	return g
}

func (c *CommittedOffset) decodeField(r *reader, d []UUID) {
	switch r.field {
	case 1:
		c.Topic = fromDictionary(r, d)
	case 2:
		c.Partition = r.int32()
	case 3:
		c.Offset = r.int()
	case 4:
		c.LeaderEpoch = r.int32()
	case 5:
		c.Metadata = r.string()
	case 6:
		c.Committed = r.int()
	default:
		r.skip()
	}
}

// offsets is the table of committed offsets.
type offsets struct {
	trie    trie[string, *groupOffsets]
	byTopic backrefs[string] // derived: which groups have offsets of a topic, and how many
	entries int64
	sum     uint64
}

func (ot *offsets) get(group string) (*groupOffsets, bool) {
	return ot.trie.get(stringHash(group), group)
}

// insert adds a decoded record.
func (ot *offsets) insert(g *groupOffsets, index uint64) {
	g.gen = ot.trie.gen
	ot.trie.put(stringHash(g.group), g, index)
	for i := range g.list {
		c := &g.list[i]
		c.hash = offsetHash(g.group, &c.CommittedOffset)
		ot.sum += c.hash
		ot.byTopic.add(c.Topic, g.group)
		ot.entries++
	}
}

func (ot *offsets) set(group string, o CommittedOffset, index uint64) {
	h := stringHash(group)
	g, ok := ot.trie.edit(h, group, index)
	if !ok {
		g = &groupOffsets{group: group, gen: ot.trie.gen}
		ot.trie.put(h, g, index)
	}
	c := committed{CommittedOffset: o, hash: offsetHash(group, &o)}
	ot.sum += c.hash
	at, found := g.find(o.TopicPartition)
	if found {
		ot.sum -= g.list[at].hash
		g.list[at] = c
		return
	}
	g.list = slices.Insert(g.list, at, c)
	ot.byTopic.add(o.Topic, group)
	ot.entries++
}

// removeIf drops the offsets of a group for which drop answers true, and its record if none is left. It answers how many.
func (ot *offsets) removeIf(group string, index uint64, drop func(*CommittedOffset) bool) (removed int) {
	g, ok := ot.get(group)
	if !ok || !slices.ContainsFunc(g.list, func(c committed) bool { return drop(&c.CommittedOffset) }) {
		return 0
	}
	g, _ = ot.trie.edit(stringHash(group), group, index)
	g.list = slices.DeleteFunc(g.list, func(c committed) bool {
		if !drop(&c.CommittedOffset) {
			return false
		}
		ot.sum -= c.hash
		ot.byTopic.remove(c.Topic, group)
		ot.entries--
		removed++
		return true
	})
	if len(g.list) == 0 {
		ot.trie.delete(stringHash(group), group, index)
	}
	return removed
}

func (ot *offsets) removeTopic(topic UUID, index uint64) {
	for _, group := range ot.byTopic.of(topic) {
		ot.removeIf(group, index, func(o *CommittedOffset) bool { return o.Topic == topic })
	}
}

func offsetHash(group string, o *CommittedOffset) uint64 {
	return newHash(hashOffset).string(group).uuid(o.Topic).word(uint64(o.Partition)).word(uint64(o.Offset)).
		word(uint64(o.LeaderEpoch)).string(o.Metadata).word(uint64(o.Committed)).sum()
}
