// Package segment is the immutable object that holds records in the bucket: how it is written in one PUT without copying what it is made of,
// and how it is read back by range. FORMAT.md beside this file draws the bytes.
//
// A segment is header, runs of record batches, index, footer. A run is the batches of one partition, back to back, as a client sent them or
// a merge wrote them. The object describes itself: from its bytes alone one can tell whose it is and what lies where.
//
// The package knows runs, not batches: it never looks into the bytes of a run, and never imports agent. It never changes an object, never trusts
// a length that it reads, and never composes a key.
package segment
