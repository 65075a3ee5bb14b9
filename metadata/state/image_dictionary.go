package state

// dictionary gathers the UUIDs that the records of one shard name again and again: topics and owners of objects. Positions begin
// at 1. A shard carries its own, so that it can be read by itself.
type dictionary struct {
	positions map[UUID]uint64
	ids       []byte // 16 bytes each
}

func (d *dictionary) of(id UUID) uint64 {
	at, ok := d.positions[id]
	if !ok {
		at = uint64(len(d.positions)) + 1
		d.positions[id] = at
		d.ids = append(d.ids, id[:]...)
	}
	return at
}

// dictionaryAt looks up a position that may be anything.
func dictionaryAt(r *reader, d []UUID, at uint64) UUID {
	if at == 0 || at > uint64(len(d)) {
		r.corrupt("position in the dictionary")
		return UUID{}
	}
	return d[at-1]
}

func fromDictionary(r *reader, d []UUID) UUID { return dictionaryAt(r, d, r.uint()) }
