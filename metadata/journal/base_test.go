package journal

import "testing"

// A snapshot names shards of the one that it was built on, and a sweep may have deleted what only an older head named.
func TestASnapshotBuiltOnAnotherHeadIsNotPublished(t *testing.T) {
	h := Head{Snapshot: 10, Manifest: [16]byte{1}, Boundary: 5}
	for _, c := range []struct {
		base    [16]byte
		changed bool
	}{{[16]byte{1}, true}, {[16]byte{}, true}, {[16]byte{9}, false}} {
		next, changed, err := h.Grow(Trim{Snapshot: 20, Manifest: [16]byte{2}, Boundary: 11, Base: c.base})
		if err != nil || changed != c.changed || (next != h) != c.changed {
			t.Fatalf("base %x: head %+v, changed %v, %v", c.base[:1], next, changed, err)
		}
	}
}
