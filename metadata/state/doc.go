// Package state is the metadata state machine: topics, extents, watermarks, sessions, producers, groups and offsets.
//
// It is pure: no clock, no randomness, no I/O, no goroutines, no channels, no logging, nothing but the standard library.
// Time and random ids arrive inside commands. The same entries applied in the same order give the same state and the
// same hash on every machine, for ever: Apply depends on the state's level, never on the binary that runs it.
//
//	Entry (from the journal) ──► State.Apply ──► []Result (one per command) and Changes (what watchers want to know)
//	                                  │
//	                                  └─► tables, each a type with its own encoding, hash and copy-on-write image
//
// Who may call what: one goroutine owns a State and calls Apply; readers get a Reader while Apply is kept out by a lock
// that the owner (metadata/replica) holds. An Image is immutable and may be encoded at leisure.
package state
