// Package peerpb is the code generated from peer.proto: what agents say to each other. Nothing but agent/peer imports it,
// so that no other code depends on how peers talk; it must never be edited by hand.
package peerpb
