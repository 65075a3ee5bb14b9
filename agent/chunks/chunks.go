// Package chunks lets the agents of a zone read together, so that each object is read from the bucket about once per zone,
// however many agents have consumers of it. It sits between an agent's cache and the bucket, on both sides:
//
//	this agent                                        another agent of the zone
//	cache ──miss──► Reader ──► who has it?  ─peer─►   Server ──► its cache ──miss──► bucket
//	                  │                                          (ReadOrigin)
//	                  └── nobody, me, or the peer is slow or gone ──────────────────► bucket
//
// The writer of an object, while it lives, has the object in its cache: it is asked first, and such a read costs no request
// to the bucket at all. Else rendezvous hashing gives every aligned region of an object one owner in the zone. What a peer
// answers is trusted like what the cache holds: checksums are verified where records are.
//
// All of this is advice for cost. The package must never let a read fail, or wait for long, because of a peer; never take a
// peer's word that an object is gone; and never let a read on behalf of a peer ask another peer, since agents may
// disagree about who owns what.
package chunks

import (
	"context"
	"errors"
	"io"

	"github.com/leat-stream/leat/cache"
)

// Owners knows who in this agent's zone should have which bytes. Agents without a zone are a zone of their own. It answers
// at once, from what is known now; it may be wrong. peer is the address for Peer, self says that it is this agent, and
// !ok that there is nobody to ask.
type Owners interface {
	// Writer answers the live agent that has the session.
	Writer(session [16]byte) (peer string, self, ok bool)
	// ChunkOwner answers the owner of a region of an object, counted in Config.RegionBytes from 0.
	ChunkOwner(key string, region int64) (peer string, self, ok bool)
}

// Peer asks the Server of another agent.
type Peer interface {
	// Chunk opens the n bytes from off on of an object of size bytes. It fails, as its reader does, soon after ctx ends. The
	// caller closes the reader. Nothing is repeated. An error should match ErrBusy or objectstore.ErrNotFound where the
	// peer's did: any other counts against the peer.
	Chunk(ctx context.Context, address, key string, size, off, n int64, class cache.Class) (io.ReadCloser, error)
}

// The errors between agents. No reader ever sees them: it gets its bytes from the bucket then.
var (
	// ErrBusy: the peer serves as many reads as it may.
	ErrBusy = errors.New("too many reads for peers")
	// ErrRefused: the peer was asked for what it never serves: something other than a data object, or too much at once.
	ErrRefused = errors.New("not served to peers")
	// ErrLength: the peer answered fewer or more bytes than were asked for.
	ErrLength = errors.New("peer answered another number of bytes")
)
