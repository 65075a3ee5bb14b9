package state

import (
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"testing"
)

// pair is a record whose hash the test chooses.
type pair struct {
	k, v int
	gen  uint32
}

func (p *pair) key() int      { return p.k }
func (p *pair) stamp() uint32 { return p.gen }
func (p *pair) clone(gen uint32) *pair {
	return &pair{p.k, p.v, gen}
}

// pairHash gives some keys the same hash, and some hashes that differ only at the end, so that every depth is reached.
func pairHash(k int) uint64 {
	switch k % 16 {
	case 0:
		return 0
	case 1, 2:
		return 1<<63 | uint64(k)&3
	case 3:
		return 1<<63 | uint64(k)<<56
	}
	return producerHash(int64(k))
}

func TestTrieIsAMapAndFrozenTriesDoNotChange(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	var tr trie[int, *pair]
	want := map[int]int{}
	type frozenTrie struct {
		root *node[*pair]
		want map[int]int
	}
	var frozen []frozenTrie
	for i := range 30_000 {
		k := r.Intn(4000)
		switch h := pairHash(k); r.Intn(4) {
		case 0:
			tr.put(h, &pair{k, i, tr.gen}, uint64(i))
			want[k] = i
		case 1:
			if p, ok := tr.edit(h, k, uint64(i)); ok {
				p.v = i
				want[k] = i
			}
		case 2:
			if i%3 == 0 {
				_, ok := tr.delete(h, k, uint64(i))
				if _, had := want[k]; had != ok {
					t.Fatalf("delete %d: %v", k, ok)
				}
				delete(want, k)
			}
		}
		if p, ok := tr.get(pairHash(k), k); ok != hasKey(want, k) || ok && p.v != want[k] {
			t.Fatalf("get %d: %v %v, want %d", k, ok, p, want[k])
		}
		if i%3000 == 0 {
			frozen = append(frozen, frozenTrie{tr.freeze(), maps.Clone(want)})
		}
	}
	if tr.n != len(want) {
		t.Errorf("n is %d, want %d", tr.n, len(want))
	}
	frozen = append(frozen, frozenTrie{tr.root, want})
	for i, f := range frozen {
		got := map[int]int{}
		last := uint64(0)
		f.root.each(func(p *pair) bool {
			if h := pairHash(p.k); h < last {
				t.Fatalf("order of hashes: %x after %x", h, last)
			} else {
				last = h
			}
			got[p.k] = p.v
			return true
		})
		if !maps.Equal(got, f.want) {
			t.Errorf("trie frozen as the %dth has changed", i)
		}
	}
}

func hasKey(m map[int]int, k int) bool {
	_, ok := m[k]
	return ok
}

func TestPartsAreAllOfAFrozenTrie(t *testing.T) {
	var tr trie[int, *pair]
	for k := range 3000 {
		tr.put(pairHash(k), &pair{k, k, tr.gen}, uint64(k))
	}
	var all []int
	tr.root.each(func(p *pair) bool { all = append(all, p.k); return true })
	for depth := range 5 {
		var got []int
		last := -1
		tr.root.parts(0, 0, depth, func(p part[*pair]) bool {
			if int(p.number) <= last || p.number >= 1<<(4*depth) {
				t.Fatalf("depth %d: part %d after %d", depth, p.number, last)
			}
			last = int(p.number)
			n := 0
			p.each(func(x *pair) bool {
				if uint32(pairHash(x.k)>>(64-4*depth)) != p.number || uint64(x.k) > p.changed {
					t.Fatalf("depth %d: record %d, hash %x, in part %d of index %d", depth, x.k, pairHash(x.k), p.number, p.changed)
				}
				got = append(got, x.k)
				n++
				return true
			})
			if n == 0 {
				t.Fatalf("depth %d: part %d is empty", depth, p.number)
			}
			return true
		})
		if !slices.Equal(got, all) {
			t.Errorf("depth %d: %d records of %d, or another order", depth, len(got), len(all))
		}
	}
}

func TestALargeStateComesBackFromItsShards(t *testing.T) {
	if testing.Short() {
		t.Skip("builds 100,000 partitions")
	}
	s := large(t, 1)
	shards := s.Image().Header().Shards
	if n := len(shards); n < 16 {
		t.Errorf("only %d shards", n)
	}
	r := throughRestore(t, s)
	if r.Hash() != s.Hash() {
		t.Error("hash differs")
	}
	before := map[string]bool{}
	for _, x := range shards {
		before[fmt.Sprint(x)] = true
	}
	apply(t, s, objectCommand(101, 100, []UUID{{0, 0, 9}}, 1, false))
	changed := map[Table]int{}
	for _, x := range s.Image().Header().Shards {
		if !before[fmt.Sprint(x)] {
			changed[x.Table]++
		}
	}
	if want := map[Table]int{TablePartitions: 1, TableSessions: 1}; !maps.Equal(changed, want) {
		t.Errorf("shards changed by a commit to one partition: %v, want %v", changed, want)
	}
}
