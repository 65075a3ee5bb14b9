package state

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// misc is what there is one of. It is copied as a whole for an image: its slices are replaced, never changed, except that
// fences is append-only.
type misc struct {
	leader  LeaderInfo
	fences  []uint64 // indexes of all fences, ascending; the last is the leader's
	trimmed uint64   // see NoteTrim

	nextProducer int64  // the next producer id to be given out
	expired      uint64 // index of the entry that last expired a producer id; 0: none
	expiredID    int64  // the highest id that ever expired, of those that had been given out; 0: none

	offsetsRemoved uint64 // index of the entry that last deleted or expired committed offsets of a topic that stays; 0: none

	names []nodeName // ordered by name; kept for ever
	nodes []interval // node ids that were ever given out: ordered, disjoint, not adjacent

	changed  uint64 // index of the entry that last changed something here
	hash     uint64 // of all but fences
	fenceSum uint64
}

// nodeName is the node id of a stable agent name.
type nodeName struct {
	name string
	node int32
}

// interval is the numbers lo … hi.
type interval struct{ lo, hi int32 }

func (m *misc) sum() uint64 { return m.hash + m.fenceSum }

func (m *misc) addFence(index uint64) {
	m.fences = append(m.fences, index)
	m.fenceSum += newHash(hashFence).word(index).sum()
}

// recentIDs is how far back from the next id one that was given out is known for such. Ids from the cluster that used the bucket before
// this one are elsewhere (firstProducer), but where this cluster's begin is not kept.
const recentIDs = maxProducerIDs

// neverExpired reports whether a producer id was given out lately and has never expired: if it is unknown, nothing was ever accepted
// from it. Ids are given out in ascending order.
func (m *misc) neverExpired(id int64) bool {
	if m.expired > 0 && m.expiredID == 0 { // they were none of those that had been given out, or before this was kept
		return false
	}
	return id > m.expiredID && id < m.nextProducer && m.nextProducer-id <= recentIDs
}

// expire notes that an id expired.
func (m *misc) expire(id int64, index uint64) {
	if m.expired = index; id < m.nextProducer {
		m.expiredID = max(m.expiredID, id)
	}
}

// touch must follow every change.
func (m *misc) touch(index uint64) {
	m.changed = max(m.changed, index)
	m.hash = hashEncoded(hashMisc, m.encodeRest)
}

// nodeFor finds the node id of a session that is being opened under a name, or none, and wants a certain id, or any (-1). A name
// has one for ever; any other session gets one that nobody ever had, so that a client which remembers an old broker id
// never takes another agent for it. False if the wish cannot be granted.
func (m *misc) nodeFor(name string, wanted int32) (int32, bool) {
	if name != "" {
		if node, ok := m.nodeOf(name); ok {
			return node, wanted == -1 || wanted == node
		}
	}
	if wanted == -1 {
		var ok bool
		if wanted, ok = m.freshNode(); !ok {
			return 0, false
		}
	} else if m.nodeUsed(wanted) {
		return 0, false
	}
	m.takeNode(wanted, name)
	return wanted, true
}

func (m *misc) nodeOf(name string) (int32, bool) {
	at, ok := slices.BinarySearchFunc(m.names, name, compareNodeName)
	if !ok {
		return 0, false
	}
	return m.names[at].node, true
}

func compareNodeName(n nodeName, name string) int { return cmp.Compare(n.name, name) }

// freshNode is the lowest node id that was never given out; false if there is none left.
func (m *misc) freshNode() (int32, bool) {
	switch {
	case len(m.nodes) == 0 || m.nodes[0].lo > 0:
		return 0, true
	case m.nodes[0].hi == 1<<31-1:
		return 0, false
	}
	return m.nodes[0].hi + 1, true
}

func (m *misc) nodeUsed(node int32) bool {
	return slices.ContainsFunc(m.nodes, func(i interval) bool { return i.lo <= node && node <= i.hi })
}

// takeNode notes a node id that was never given out before, and the name it belongs to, if any.
func (m *misc) takeNode(node int32, name string) {
	at, _ := slices.BinarySearchFunc(m.nodes, node, func(i interval, node int32) int { return cmp.Compare(i.lo, node) })
	nodes := slices.Insert(slices.Clone(m.nodes), at, interval{node, node})
	if at+1 < len(nodes) && nodes[at+1].lo-1 == node {
		nodes[at].hi = nodes[at+1].hi
		nodes = slices.Delete(nodes, at+1, at+2)
	}
	if at > 0 && nodes[at-1].hi+1 == node {
		nodes[at-1].hi = nodes[at].hi
		nodes = slices.Delete(nodes, at, at+1)
	}
	m.nodes = nodes
	if name != "" {
		at, _ := slices.BinarySearchFunc(m.names, name, compareNodeName)
		m.names = slices.Insert(slices.Clone(m.names), at, nodeName{name, node})
	}
}

func (m *misc) encode(w *writer) {
	m.encodeRest(w)
	var b []byte
	before := uint64(0)
	for _, f := range m.fences {
		b = binary.AppendUvarint(b, f-before)
		before = f
	}
	w.bytes(10, b)
}

func (m *misc) encodeRest(w *writer) {
	w.message(1, m.leader.encode)
	w.uint(2, m.trimmed)
	w.int(3, m.nextProducer)
	w.uint(4, m.expired)
	for _, n := range m.names {
		w.message(5, func(w *writer) {
			w.string(1, n.name)
			w.int(2, int64(n.node))
		})
	}
	for _, i := range m.nodes {
		w.message(6, func(w *writer) {
			w.int(1, int64(i.lo))
			w.int(2, int64(i.hi))
		})
	}
	w.int(7, m.expiredID)
	w.uint(8, m.offsetsRemoved)
}

func decodeMisc(r *reader) *misc {
	m := &misc{}
	for r.next() {
		switch r.field {
		case 1:
			r.message(m.leader.decodeField)
		case 2:
			m.trimmed = r.uint()
		case 3:
			m.nextProducer = r.int()
		case 4:
			m.expired = r.uint()
		case 5:
			m.names = append(m.names, decodeNodeName(r))
		case 6:
			m.nodes = append(m.nodes, decodeInterval(r))
		case 7:
			m.expiredID = r.int()
		case 8:
			m.offsetsRemoved = r.uint()
		case 10:
			m.decodeFences(r)
		default:
			r.skip()
		}
	}
	if !m.valid() {
		r.corrupt("misc")
	}
	return m
}

func (m *misc) valid() bool {
	for i := range m.names {
		if i > 0 && m.names[i-1].name >= m.names[i].name {
			return false
		}
	}
	for i, n := range m.nodes {
		if n.lo < 0 || n.hi < n.lo || i > 0 && int64(m.nodes[i-1].hi)+1 >= int64(n.lo) {
			return false
		}
	}
	return m.nextProducer > 0 && m.expiredID >= 0 && m.expiredID < m.nextProducer
}

func decodeNodeName(r *reader) (n nodeName) {
	r.message(func(r *reader) {
		switch r.field {
		case 1:
			n.name = r.string()
		case 2:
			n.node = r.int32()
		default:
			r.skip()
		}
	})
	return n
}

func decodeInterval(r *reader) (i interval) {
	r.message(func(r *reader) {
		switch r.field {
		case 1:
			i.lo = r.int32()
		case 2:
			i.hi = r.int32()
		default:
			r.skip()
		}
	})
	return i
}

func (m *misc) decodeFences(r *reader) {
	d := reader{b: r.raw(), field: r.field}
	before := uint64(0)
	for d.err == nil && len(d.b) > 0 {
		f := before + d.uvarint()
		if f <= before {
			d.corrupt("order of fences")
			break
		}
		m.addFence(f)
		before = f
	}
	if r.err == nil {
		r.err = d.err
	}
}
