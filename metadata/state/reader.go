package state

import (
	"cmp"
	"iter"
	"slices"
)

// Reader is a read-only look at a state. It is valid only while its owner keeps Apply out; everything it answers is a copy
// or immutable, and may be kept.
type Reader struct{ s *State }

// Index is the index of the last applied entry.
func (r Reader) Index() uint64 { return r.s.index }

// HashOf is the hash of the whole state that r looks at: replicas that have applied the same entries have the same.
func HashOf(r Reader) uint64 { return r.s.Hash() }

// Time is what the decided commands say of time, ms since the epoch: the steady time, by which things may expire (rule R13), and
// the latest, with which they are stamped.
func (r Reader) Time() (steady, latest int64) { return r.s.clock.steady, r.s.clock.latest }

// StateLevel is the level that Apply obeys.
func (r Reader) StateLevel() uint32 { return r.s.level }

// Leader is who leads, and the index of its fence; 0 if nobody ever did.
func (r Reader) Leader() (LeaderInfo, uint64) {
	m := &r.s.misc
	if len(m.fences) == 0 {
		return LeaderInfo{}, 0
	}
	return m.leader, m.fences[len(m.fences)-1]
}

// Topic is the topic with that id.
func (r Reader) Topic(id UUID) (Topic, bool) {
	t, ok := r.s.topics.get(id)
	if !ok {
		return Topic{}, false
	}
	return Topic{ID: t.id, Name: t.name, Partitions: t.partitions, ReplicationFactor: t.factor,
		Configs: r.Configs(ResourceTopic, t.id, ""), Created: t.created}, true
}

// TopicByName is the topic with that name.
func (r Reader) TopicByName(name string) (Topic, bool) {
	id, ok := r.s.topics.names[name]
	if !ok {
		return Topic{}, false
	}
	return r.Topic(id)
}

// Topics is all topics, ordered by name.
func (r Reader) Topics() iter.Seq[Topic] {
	return func(yield func(Topic) bool) {
		for _, name := range r.s.topics.order {
			if t, ok := r.TopicByName(name); ok && !yield(t) {
				return
			}
		}
	}
}

// TopicCount is how many topics and partitions there are.
func (r Reader) TopicCount() (topics, partitions int64) {
	return int64(r.s.topics.trie.n), r.s.topics.partitions
}

// ConfigVersion is the index of the last change of a resource's configs, for AlterConfigs.Expect; 0 if there never was one.
func (r Reader) ConfigVersion(t ResourceType, topic UUID, broker string) uint64 {
	return r.s.configVersion(resource{t, topic, broker})
}

// Configs is a resource's overrides, ordered by name.
func (r Reader) Configs(t ResourceType, topic UUID, broker string) []Config {
	c, ok := r.s.configs.get(resource{t, topic, broker})
	if !ok {
		return nil
	}
	return slices.Clone(c.values)
}

// View is one partition at this index: its offsets, and the extents that hold [from, …) up to maxBytes in all, at least one if there
// is any. A from below the log start or above the watermark gives no extents: the caller compares. maxBytes ≤ 0: no extents.
func (r Reader) View(tp TopicPartition, from int64, maxBytes int64) (View, bool) {
	if !r.s.topics.hasPartition(tp) {
		return View{}, false
	}
	v := View{Index: r.s.index}
	p, ok := r.s.partitions.get(tp)
	if !ok {
		return v, true
	}
	v.LogStart, v.Stable, v.Watermark = p.logStart, p.next, p.next
	if from < p.logStart || from >= p.next || maxBytes <= 0 {
		return v, true
	}
	first := p.firstFrom(from)
	last := first
	for sum := int64(0); last < len(p.extents); last++ {
		sum += int64(p.extents[last].len)
		if sum > maxBytes && last > first {
			break
		}
	}
	v.Extents = make([]Extent, last-first)
	for i := range v.Extents {
		v.Extents[i] = p.extents[first+i].export()
	}
	return v, true
}

// FirstAtOrAfter is the first extent that may hold a record with a timestamp ≥ ts (ms), not wholly below the log start.
// False if there is none.
func (r Reader) FirstAtOrAfter(tp TopicPartition, ts int64) (Extent, bool) {
	if p, ok := r.s.partitions.get(tp); ok {
		for i := range p.extents {
			if p.extents[i].maxTimestamp >= ts {
				return p.extents[i].export(), true
			}
		}
	}
	return Extent{}, false
}

// MaxTimestamp is the first extent with the largest timestamp, not wholly below the log start. False if there is none.
func (r Reader) MaxTimestamp(tp TopicPartition) (Extent, bool) {
	p, ok := r.s.partitions.get(tp)
	if !ok || len(p.extents) == 0 {
		return Extent{}, false
	}
	best := &p.extents[0]
	for i := range p.extents {
		if p.extents[i].maxTimestamp > best.maxTimestamp {
			best = &p.extents[i]
		}
	}
	return best.export(), true
}

// Size is the bytes of a partition's extents that are not wholly below the log start.
func (r Reader) Size(tp TopicPartition) int64 {
	if p, ok := r.s.partitions.get(tp); ok {
		return p.bytes
	}
	return 0
}

// Session is the session with that id, as long as the state remembers it: closed ones are kept while an extent refers to
// an object of theirs.
func (r Reader) Session(id UUID) (Session, bool) {
	s, ok := r.s.sessions.get(id)
	if !ok {
		return Session{}, false
	}
	return s.Session, true
}

// Sessions is those that the state remembers, ordered by when they were opened.
func (r Reader) Sessions() iter.Seq[Session] {
	all := make([]Session, 0, r.s.sessions.trie.n)
	for s := range r.s.sessions.trie.all() {
		all = append(all, s.Session)
	}
	slices.SortStableFunc(all, func(a, b Session) int { return cmp.Compare(a.Opened, b.Opened) })
	return slices.Values(all)
}

// Group answers a copy.
func (r Reader) Group(id string) (Group, bool) {
	g, ok := r.s.groups.get(id)
	if !ok {
		return Group{}, false
	}
	return g.Group.clone(), true
}

// Groups is the ids of all groups, ordered.
func (r Reader) Groups() iter.Seq[string] {
	ids := make([]string, 0, r.s.groups.groups.n)
	for g := range r.s.groups.groups.all() {
		ids = append(ids, g.ID)
	}
	slices.Sort(ids)
	return slices.Values(ids)
}

// Claim is who coordinates the group (zero: nobody) and the claim's id. The session may be closed by now.
func (r Reader) Claim(id string) (session UUID, claim uint64) {
	if c, ok := r.s.groups.claim(id); ok {
		return c.session, c.id
	}
	return UUID{}, 0
}

// Offset is one committed offset of a group.
func (r Reader) Offset(group string, tp TopicPartition) (CommittedOffset, bool) {
	g, ok := r.s.offsets.get(group)
	if !ok {
		return CommittedOffset{}, false
	}
	at, ok := g.find(tp)
	if !ok {
		return CommittedOffset{}, false
	}
	return g.list[at].export(), true
}

// Offsets is all committed offsets of a group, ordered by topic id and partition.
func (r Reader) Offsets(group string) []CommittedOffset {
	g, ok := r.s.offsets.get(group)
	if !ok {
		return nil
	}
	all := make([]CommittedOffset, len(g.list))
	for i := range g.list {
		all[i] = g.list[i].export()
	}
	return all
}

// Referenced reports whether any extent refers to the object.
func (r Reader) Referenced(o ObjectName) bool {
	_, ok := r.s.objects.names[o]
	return ok
}

// Decided reports whether no command can begin to refer to the object any more: its owner has decided its number, or is
// closed. An owner that this state never heard of decides nothing: the replica may just be behind its opening. An object
// that is decided and not referenced is garbage for ever (rule R3).
func (r Reader) Decided(o ObjectName) bool {
	if s, ok := r.s.sessions.get(o.Owner); ok {
		return s.Closed || o.Number <= s.lanes[LaneObjects-1].decided()
	}
	return r.s.sessions.hasEnded(o.Owner)
}

// Fence reports whether the entry at index was a fence (they are never trimmed).
func (r Reader) Fence(index uint64) bool {
	_, ok := slices.BinarySearch(r.s.misc.fences, index)
	return ok
}

// TrimmedThrough is the largest NoteTrim.Through.
func (r Reader) TrimmedThrough() uint64 { return r.s.misc.trimmed }

// CommittedOffset is an offset as a group committed it.
type CommittedOffset struct {
	OffsetCommit
	Committed int64 // ms since the epoch: the state's time then
}
