package state

import (
	"cmp"
	"slices"
)

// resource names what configs belong to.
type resource struct {
	typ    ResourceType
	topic  UUID
	broker string
}

// configs is a record of the configs table: the overrides of one resource, ordered by name. It stays when the last override is
// removed, so that its version is never forgotten; it goes with its topic. A topic without a record has the version at
// which it was created.
type configs struct {
	of      resource
	version uint64 // index of the last change
	values  []Config
	hash    uint64
	gen     uint32
}

func (c *configs) key() resource { return c.of }
func (c *configs) stamp() uint32 { return c.gen }
func (c *configs) clone(gen uint32) *configs {
	d := *c
	d.gen = gen
	return &d
}

func (c *configs) encode(w *writer, _ *dictionary) {
	w.uint(1, uint64(c.of.typ))
	w.uuid(2, c.of.topic)
	w.string(3, c.of.broker)
	w.uint(4, c.version)
	for _, v := range c.values {
		w.message(5, v.encode)
	}
}

func decodeConfigs(r *reader, _ []UUID) *configs {
	c := &configs{}
	for r.next() {
		switch r.field {
		case 1:
			c.of.typ = ResourceType(r.uintUpTo(255))
		case 2:
			c.of.topic = r.uuid()
		case 3:
			c.of.broker = r.string()
		case 4:
			c.version = r.uint()
		case 5:
			c.values = append(c.values, decodeConfig(r))
		default:
			r.skip()
		}
	}
	if !slices.IsSortedFunc(c.values, compareConfig) {
		r.corrupt("order of configs")
	}
	return c
}

func (c Config) encode(w *writer) {
	w.string(1, c.Name)
	w.string(2, c.Value)
}

func decodeConfig(r *reader) (c Config) {
	r.message(func(r *reader) {
		switch r.field {
		case 1:
			c.Name = r.string()
		case 2:
			c.Value = r.string()
		default:
			r.skip()
		}
	})
	return c
}

func compareConfig(a, b Config) int { return cmp.Compare(a.Name, b.Name) }

// configTable is the table of overridden configuration values.
type configTable struct {
	trie trie[resource, *configs]
	sum  uint64
}

func resourceHash(of resource) uint64 {
	return newHash(0).word(uint64(of.typ)).uuid(of.topic).string(of.broker).sum()
}

func (ct *configTable) get(of resource) (*configs, bool) { return ct.trie.get(resourceHash(of), of) }

// set replaces the overrides of a resource; values must be ordered and never change afterwards.
func (ct *configTable) set(c *configs, index uint64) {
	if old, ok := ct.get(c.of); ok {
		ct.sum -= old.hash
	}
	c.gen = ct.trie.gen
	c.hash = hashEncoded(hashConfigs, func(w *writer) { c.encode(w, nil) })
	ct.sum += c.hash
	ct.trie.put(resourceHash(c.of), c, index)
}

func (ct *configTable) remove(of resource, index uint64) {
	if old, ok := ct.trie.delete(resourceHash(of), of, index); ok {
		ct.sum -= old.hash
	}
}
