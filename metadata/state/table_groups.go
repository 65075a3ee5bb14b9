package state

import "slices"

// claim is a record of the claims table: who coordinates a group. A claim may stand for a group that does not exist.
type claim struct {
	group   string
	session UUID
	id      uint64 // index of the entry that made it
	hash    uint64
	gen     uint32
}

func (c *claim) key() string   { return c.group }
func (c *claim) stamp() uint32 { return c.gen }
func (c *claim) clone(gen uint32) *claim {
	d := *c
	d.gen = gen
	return &d
}

func (c *claim) encode(w *writer, _ *dictionary) {
	w.string(1, c.group)
	w.uuid(2, c.session)
	w.uint(3, c.id)
}

func decodeClaim(r *reader, _ []UUID) *claim {
	c := &claim{}
	for r.next() {
		switch r.field {
		case 1:
			c.group = r.string()
		case 2:
			c.session = r.uuid()
		case 3:
			c.id = r.uint()
		default:
			r.skip()
		}
	}
	return c
}

// group is a record of the groups table. Its value is replaced as a whole and never changed in place.
type group struct {
	Group
	hash uint64
	gen  uint32
}

func (g *group) key() string   { return g.ID }
func (g *group) stamp() uint32 { return g.gen }
func (g *group) clone(gen uint32) *group {
	c := *g
	c.gen = gen
	return &c
}

func (g *group) encode(w *writer, _ *dictionary) { g.Group.encode(w) }

func decodeGroupRecord(r *reader, _ []UUID) *group {
	g := &group{}
	for r.next() {
		g.Group.decodeField(r)
	}
	return g
}

// groupTable is the tables of claims and groups.
type groupTable struct {
	claims trie[string, *claim]
	groups trie[string, *group]
	sum    uint64
}

func stringHash(s string) uint64 { return newHash(0).string(s).sum() }

func (gt *groupTable) claim(id string) (*claim, bool) { return gt.claims.get(stringHash(id), id) }
func (gt *groupTable) get(id string) (*group, bool)   { return gt.groups.get(stringHash(id), id) }

func (gt *groupTable) setClaim(c *claim, index uint64) {
	gt.removeClaim(c.group, index)
	c.gen = gt.claims.gen
	c.hash = newHash(hashClaim).string(c.group).uuid(c.session).word(c.id).sum()
	gt.sum += c.hash
	gt.claims.put(stringHash(c.group), c, index)
}

func (gt *groupTable) removeClaim(id string, index uint64) {
	if c, ok := gt.claims.delete(stringHash(id), id, index); ok {
		gt.sum -= c.hash
	}
}

// set replaces a group; the value must never change afterwards.
func (gt *groupTable) set(value Group, index uint64) {
	gt.remove(value.ID, index)
	g := &group{Group: value, gen: gt.groups.gen, hash: hashEncoded(hashGroup, value.encode)}
	gt.sum += g.hash
	gt.groups.put(stringHash(g.ID), g, index)
}

func (gt *groupTable) remove(id string, index uint64) {
	if g, ok := gt.groups.delete(stringHash(id), id, index); ok {
		gt.sum -= g.hash
	}
}

func (g Group) encode(w *writer) {
	w.string(1, g.ID)
	w.uint(2, uint64(g.State))
	w.int(3, int64(g.Generation))
	w.string(4, g.ProtocolType)
	w.string(5, g.Protocol)
	w.string(6, g.Leader)
	w.int(7, g.Changed)
	for i := range g.Members {
		w.message(8, g.Members[i].encode)
	}
}

func (g *Group) decodeField(r *reader) {
	switch r.field {
	case 1:
		g.ID = r.string()
	case 2:
		g.State = GroupState(r.uintUpTo(255))
	case 3:
		g.Generation = r.int32()
	case 4:
		g.ProtocolType = r.string()
	case 5:
		g.Protocol = r.string()
	case 6:
		g.Leader = r.string()
	case 7:
		g.Changed = r.int()
	case 8:
		var m Member
		r.message(m.decodeField)
		g.Members = append(g.Members, m)
	default:
		r.skip()
	}
}

func (m *Member) encode(w *writer) {
	w.string(1, m.ID)
	w.string(2, m.Instance)
	w.string(3, m.ClientID)
	w.string(4, m.ClientHost)
	w.int(5, int64(m.RebalanceTimeout))
	w.int(6, int64(m.SessionTimeout))
	for _, p := range m.Protocols {
		w.message(7, func(w *writer) {
			w.string(1, p.Name)
			w.bytes(2, p.Metadata)
		})
	}
	w.bytes(8, m.Assignment)
}

func (m *Member) decodeField(r *reader) {
	switch r.field {
	case 1:
		m.ID = r.string()
	case 2:
		m.Instance = r.string()
	case 3:
		m.ClientID = r.string()
	case 4:
		m.ClientHost = r.string()
	case 5:
		m.RebalanceTimeout = r.int32()
	case 6:
		m.SessionTimeout = r.int32()
	case 7:
		var p Protocol
		r.message(func(r *reader) {
			switch r.field {
			case 1:
				p.Name = r.string()
			case 2:
				p.Metadata = r.bytes()
			default:
				r.skip()
			}
		})
		m.Protocols = append(m.Protocols, p)
	case 8:
		m.Assignment = r.bytes()
	default:
		r.skip()
	}
}

// clone answers a deep copy.
func (g Group) clone() Group {
	g.Members = slices.Clone(g.Members)
	for i := range g.Members {
		m := &g.Members[i]
		m.Protocols = slices.Clone(m.Protocols)
		for j := range m.Protocols {
			m.Protocols[j].Metadata = slices.Clone(m.Protocols[j].Metadata)
		}
		m.Assignment = slices.Clone(m.Assignment)
	}
	return g
}
