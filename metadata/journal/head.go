package journal

import "fmt"

// Driver says where the entries of a cluster are kept. Its numbers are stored in head.
type Driver uint8

// The drivers.
const (
	DriverObject Driver = 1 // in the bucket, beside head
	DriverBolt   Driver = 2 // in a bbolt file on one machine
	DriverMem    Driver = 3 // in the memory of one process
	DriverEtcd   Driver = 4 // in an etcd
)

// String answers the name by which `--journal` knows the driver.
func (d Driver) String() string {
	switch d {
	case DriverObject:
		return "bucket"
	case DriverBolt:
		return "bolt"
	case DriverMem:
		return "mem"
	case DriverEtcd:
		return "etcd"
	}
	return fmt.Sprintf("driver %d", uint8(d))
}

// URL is what `--journal` takes for the driver; capitals stand for what the user knows.
func (d Driver) URL() string {
	switch d {
	case DriverBolt:
		return "bolt:///FILE"
	case DriverEtcd:
		return "etcd://HOST:PORT/PREFIX"
	}
	return d.String() + ":"
}

// Grow answers the head after t was published, and whether that differs from h: head only grows. A Trim whose snapshot is
// behind, or was built on another snapshot than h's, changes nothing; one of the same snapshot may only raise the boundary (the manifest published first stays). It
// fails if t's boundary would lie beyond what its snapshot covers.
func (h Head) Grow(t Trim) (Head, bool, error) {
	if t.Boundary > t.Snapshot+1 {
		return h, false, fmt.Errorf("trim: boundary %d is beyond snapshot %d", t.Boundary, t.Snapshot)
	}
	if t.Snapshot < h.Snapshot {
		return h, false, nil
	}
	if t.Snapshot > h.Snapshot && t.Base != ([16]byte{}) && t.Base != h.Manifest {
		return h, false, nil // it names shards that a sweep may have deleted
	}
	next := h
	if t.Snapshot > h.Snapshot {
		next.Snapshot, next.Manifest = t.Snapshot, t.Manifest
	}
	next.Boundary = max(h.Boundary, t.Boundary)
	return next, next != h, nil
}

// Deletable answers the end of the indexes that t may delete now that head h is published: below the boundary that head
// holds (J5), and below t's own, because t.Keep knows nothing beyond it.
func (h Head) Deletable(t Trim) uint64 { return min(h.Boundary, t.Boundary) }

// EncodeMark answers what a journal that is not in the bucket keeps of the bucket that it is bound to: that bucket's id.
func EncodeMark(bucket [16]byte) []byte { return bucket[:] }

// DecodeMark reads what EncodeMark wrote; nil if there is nothing. Before buckets had ids a mark was one byte, and heads had zeros
// there.
func DecodeMark(b []byte) *[16]byte {
	if b == nil {
		return nil
	}
	var bucket [16]byte
	if len(b) == len(bucket) {
		bucket = [16]byte(b)
	}
	return &bucket
}
