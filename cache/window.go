package cache

import (
	"container/list"
	"sync"
)

// window is a strong first-in first-out tier: what was added is in it until limit bytes came after it. A unit is added and
// leaves as a whole, because the chunks of an object that was just written share its memory: only when all are gone is
// any of it free, so counting units counts bytes truly held.
//
// mu guards all fields. It is the innermost lock of the package and is held for map operations only.
type window struct {
	mu     sync.Mutex
	limit  int64 // bytes
	bytes  int64 // held now
	units  *list.List
	chunks map[chunkID]slot
}

// unit is what enters and leaves a window together: an object just written, or one chunk just read.
type unit struct {
	chunks []*chunk
	bytes  int64 // what it is charged
}

// slot finds a chunk and the unit that it belongs to.
type slot struct {
	chunk *chunk
	unit  *list.Element
}

func newWindow(limit int64) *window {
	return &window{limit: limit, units: list.New(), chunks: map[chunkID]slot{}}
}

func newUnit(chunks ...*chunk) *unit {
	u := &unit{chunks: chunks}
	for _, c := range chunks {
		u.bytes += c.charge()
	}
	return u
}

// get answers the chunk, or nil.
func (w *window) get(id chunkID) *chunk {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.chunks[id].chunk
}

// oldest answers the unit that must leave before another of bytes may enter, or nil if there is room.
func (w *window) oldest(bytes int64) *unit {
	w.mu.Lock()
	defer w.mu.Unlock()
	if front := w.units.Front(); front != nil && w.bytes+bytes > w.limit {
		return front.Value.(*unit)
	}
	return nil
}

// removeOldest drops the unit that oldest answered. Units enter and leave under the cache's admission lock, so it is
// still the first.
func (w *window) removeOldest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.remove(w.units.Front())
}

// add puts a unit in; the caller has made room.
func (w *window) add(u *unit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.units.PushBack(u)
	w.bytes += u.bytes
	for _, c := range u.chunks {
		w.chunks[c.id] = slot{c, e}
	}
}

// drop forgets a chunk, and with it the unit it belongs to: a unit holds chunks of one object only, and objects are
// dropped whole.
func (w *window) drop(id chunkID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s, ok := w.chunks[id]; ok {
		w.remove(s.unit)
	}
}

// remove takes a unit out. A chunk that a later unit brought again stays.
func (w *window) remove(e *list.Element) {
	u := w.units.Remove(e).(*unit)
	w.bytes -= u.bytes
	for _, c := range u.chunks {
		if w.chunks[c.id].unit == e {
			delete(w.chunks, c.id)
		}
	}
}

// held answers the bytes charged now.
func (w *window) held() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bytes
}
