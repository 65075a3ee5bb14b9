package state

import (
	"iter"
	"slices"
)

// trie is the copy-on-write map under most tables: a radix trie over 64-bit hashes of the keys, 16 ways a level, whose leaves
// hold up to leafMax records sorted by hash. Three things make it fit here:
//
//   - Its order is the order of the hashes: the same records are walked in the same order on every machine.
//   - freeze is O(1). Nodes and records carry the generation that wrote them; what is of an older generation may be seen by
//     an image and is copied, one path of nodes and one record, when it is next written. Nothing ever stalls to copy a table.
//   - All records whose hashes begin with the same 4×depth bits lie in one subtree, and a node knows the index of the last entry
//     that changed something below it: the shards of an image, of which unchanged ones need not be written again.
type trie[K comparable, V record[K, V]] struct {
	root *node[V]
	gen  uint32
	n    int
}

// record is what a trie holds: usually a pointer to a struct with a generation stamp.
type record[K comparable, V any] interface {
	key() K
	stamp() uint32
	clone(gen uint32) V // an equal record of generation gen, that may be changed without the old one changing
}

type node[V any] struct {
	kids    *[16]*node[V] // of an inner node; nil in a leaf
	items   []item[V]     // of a leaf, sorted by h
	changed uint64        // no entry after this index changed anything below
	gen     uint32
}

type item[V any] struct {
	h uint64
	v V
}

const leafMax = 16

func (t *trie[K, V]) get(h uint64, k K) (v V, ok bool) {
	n := t.root
	for shift := 60; n != nil && n.kids != nil; shift -= 4 {
		n = n.kids[h>>shift&15]
	}
	if n == nil {
		return v, false
	}
	for i := range n.items {
		if n.items[i].h == h && n.items[i].v.key() == k {
			return n.items[i].v, true
		}
	}
	return v, false
}

// edit answers the record of k for writing, if there is one. It marks k's place as changed in any case: ask get first if
// the answer may be no and nothing is put then.
func (t *trie[K, V]) edit(h uint64, k K, index uint64) (v V, ok bool) {
	leaf, _ := t.leaf(h, index)
	for i := range leaf.items {
		it := &leaf.items[i]
		if it.h != h || it.v.key() != k {
			continue
		}
		if it.v.stamp() != t.gen {
			it.v = it.v.clone(t.gen)
		}
		return it.v, true
	}
	return v, false
}

// put adds v or replaces the record with its key.
func (t *trie[K, V]) put(h uint64, v V, index uint64) {
	leaf, shift := t.leaf(h, index)
	for i := range leaf.items {
		if leaf.items[i].h == h && leaf.items[i].v.key() == v.key() {
			leaf.items[i].v = v
			return
		}
	}
	at := len(leaf.items)
	for at > 0 && leaf.items[at-1].h > h {
		at--
	}
	leaf.items = slices.Insert(leaf.items, at, item[V]{h, v})
	t.n++
	if len(leaf.items) > leafMax && shift >= 0 {
		leaf.split(shift)
	}
}

func (t *trie[K, V]) delete(h uint64, k K, index uint64) (v V, ok bool) {
	if v, ok = t.get(h, k); !ok {
		return v, false
	}
	leaf, _ := t.leaf(h, index)
	i := slices.IndexFunc(leaf.items, func(it item[V]) bool { return it.h == h && it.v.key() == k })
	leaf.items = slices.Delete(leaf.items, i, i+1)
	t.n--
	return v, true
}

// leaf makes the path to h's leaf writable, marks it as changed, and answers the leaf and the shift of the next level.
func (t *trie[K, V]) leaf(h uint64, index uint64) (*node[V], int) {
	at := &t.root
	for shift := 60; ; shift -= 4 {
		n := *at
		if n == nil {
			n = &node[V]{gen: t.gen}
			*at = n
		} else if n.gen != t.gen {
			n = n.copy(t.gen)
			*at = n
		}
		n.changed = max(n.changed, index)
		if n.kids == nil {
			return n, shift
		}
		at = &n.kids[h>>shift&15]
	}
}

// all walks the records in the order of their hashes.
func (t *trie[K, V]) all() iter.Seq[V] {
	return func(yield func(V) bool) { t.root.each(yield) }
}

// freeze answers the records as they are, for an image, and lets the trie write to copies from now on.
func (t *trie[K, V]) freeze() *node[V] {
	t.gen++
	return t.root
}

func (n *node[V]) copy(gen uint32) *node[V] {
	c := &node[V]{items: slices.Clone(n.items), changed: n.changed, gen: gen}
	if n.kids != nil {
		kids := *n.kids
		c.kids = &kids
	}
	return c
}

func (n *node[V]) split(shift int) {
	n.kids = new([16]*node[V])
	for _, it := range n.items {
		kid := &n.kids[it.h>>shift&15]
		if *kid == nil {
			*kid = &node[V]{changed: n.changed, gen: n.gen}
		}
		(*kid).items = append((*kid).items, it)
	}
	n.items = nil
}

func (n *node[V]) each(yield func(V) bool) bool {
	if n == nil {
		return true
	}
	if n.kids != nil {
		for _, kid := range n.kids {
			if !kid.each(yield) {
				return false
			}
		}
		return true
	}
	for i := range n.items {
		if !yield(n.items[i].v) {
			return false
		}
	}
	return true
}

// part is the records of one shard of a frozen trie.
type part[V any] struct {
	number  uint32
	changed uint64
	items   []item[V] // if the shard is a piece of a leaf
	node    *node[V]  // else
}

func (p part[V]) each(yield func(V) bool) {
	if p.node != nil {
		p.node.each(yield)
		return
	}
	for i := range p.items {
		if !yield(p.items[i].v) {
			return
		}
	}
}

// parts yields the non-empty shards of a frozen trie that is cut at depth, in order. 16^depth is their largest number.
func (n *node[V]) parts(number uint64, level, depth int, yield func(part[V]) bool) bool {
	switch {
	case n == nil:
		return true
	case level == depth:
		empty := n.each(func(V) bool { return false })
		return empty || yield(part[V]{number: uint32(number), changed: n.changed, node: n})
	case n.kids != nil:
		for i, kid := range n.kids {
			if !kid.parts(number<<4|uint64(i), level+1, depth, yield) {
				return false
			}
		}
		return true
	}
	shift := 64 - 4*depth
	for from := 0; from < len(n.items); {
		to := from + 1
		for to < len(n.items) && n.items[to].h>>shift == n.items[from].h>>shift {
			to++
		}
		if !yield(part[V]{number: uint32(n.items[from].h >> shift), changed: n.changed, items: n.items[from:to]}) {
			return false
		}
		from = to
	}
	return true
}
