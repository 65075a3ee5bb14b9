package state

import "slices"

// groupOffsets is a record of the offsets table: what one group committed, ordered by topic id and partition.
type groupOffsets struct {
	group string
	list  []committed
	gen   uint32
}

// committed is one offset as it is kept: the fields of CommittedOffset, packed, and what tells a late commit from a later one.
type committed struct {
	TopicPartition
	leaderEpoch int32
	offset      int64
	metadata    string
	time        int64
	index       uint64 // of the entry that committed it; 0 if that command gave no accept index
	by          uint32 // which session did, see issuer
}

// export is the offset as readers see it.
func (c *committed) export() CommittedOffset {
	return CommittedOffset{Committed: c.time, OffsetCommit: OffsetCommit{
		TopicPartition: c.TopicPartition, Offset: c.offset, LeaderEpoch: c.leaderEpoch, Metadata: c.metadata,
	}}
}

// overtook reports whether the offset was committed through another session, by an entry that the agent which accepted the new commit had
// not applied then: the client may have committed it after it gave the new one up for lost.
func (c *committed) overtook(accepted uint64, by uint32) bool {
	return c.index > accepted && c.by != by
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
			w.int(3, c.offset)
			w.int(4, int64(c.leaderEpoch))
			w.string(5, c.metadata)
			w.int(6, c.time)
			w.uint(7, c.index)
			w.uint(8, uint64(c.by))
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

func (c *committed) decodeField(r *reader, d []UUID) {
	switch r.field {
	case 1:
		c.Topic = fromDictionary(r, d)
	case 2:
		c.Partition = r.int32()
	case 3:
		c.offset = r.int()
	case 4:
		c.leaderEpoch = r.int32()
	case 5:
		c.metadata = r.string()
	case 6:
		c.time = r.int()
	case 7:
		c.index = r.uint()
	case 8:
		c.by = uint32(r.uintUpTo(1 << 31))
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
		ot.sum += offsetHash(g.group, c)
		ot.byTopic.add(c.Topic, g.group)
		ot.entries++
	}
}

// lookup is what a group has committed for a partition; nil: nothing. It is valid until the table changes.
func (ot *offsets) lookup(group string, tp TopicPartition) *committed {
	if g, ok := ot.get(group); ok {
		if at, ok := g.find(tp); ok {
			return &g.list[at]
		}
	}
	return nil
}

func (ot *offsets) set(group string, c committed, index uint64) {
	h := stringHash(group)
	g, ok := ot.trie.edit(h, group, index)
	if !ok {
		g = &groupOffsets{group: group, gen: ot.trie.gen}
		ot.trie.put(h, g, index)
	}
	ot.sum += offsetHash(group, &c)
	at, found := g.find(c.TopicPartition)
	if found {
		ot.sum -= offsetHash(group, &g.list[at])
		g.list[at] = c
		return
	}
	g.list = slices.Insert(g.list, at, c)
	ot.byTopic.add(c.Topic, group)
	ot.entries++
}

// removeIf drops the offsets of a group for which drop answers true, and its record if none is left. It answers how many.
func (ot *offsets) removeIf(group string, index uint64, drop func(*committed) bool) (removed int) {
	g, ok := ot.get(group)
	if !ok || !slices.ContainsFunc(g.list, func(c committed) bool { return drop(&c) }) {
		return 0
	}
	g, _ = ot.trie.edit(stringHash(group), group, index)
	g.list = slices.DeleteFunc(g.list, func(c committed) bool {
		if !drop(&c) {
			return false
		}
		ot.sum -= offsetHash(group, &c)
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
		ot.removeIf(group, index, func(c *committed) bool { return c.Topic == topic })
	}
}

// offsetHash is recomputed where it is needed: it costs less than eight bytes with every offset would.
func offsetHash(group string, c *committed) uint64 {
	h := newHash(hashOffset).string(group).uuid(c.Topic).word(uint64(c.Partition)).word(uint64(c.offset)).
		word(uint64(c.leaderEpoch)).string(c.metadata).word(uint64(c.time))
	if c.index != 0 { // an offset of a command without an accept index hashes as it did before there were any
		h = h.word(c.index).word(uint64(c.by))
	}
	return h.sum()
}
