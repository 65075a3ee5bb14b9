package peer

import (
	"errors"
	"fmt"
	"time"

	"github.com/leat-stream/leat/metadata/journal"
)

// The bounds of what travels. Messages are refused by length before anything is allocated for them.
const (
	// MaxForward bounds the body of a forwarded request and of its answer, in bytes.
	MaxForward = journal.MaxBody

	// maxMessage bounds a message: an entry, a proposal or a forwarded request with what goes with it.
	maxMessage = journal.MaxBody + 1<<20

	// maxPiece bounds the data in one piece of a chunk, in bytes. Larger ones save nothing (BenchmarkChunk) and hold more
	// memory on both sides.
	maxPiece = 256 << 10

	// maxText bounds what an answer says for people, in bytes.
	maxText = 1 << 10
)

// Config is everything that can be set, for both ends.
type Config struct {
	ConnectTimeout time.Duration // for the TCP connection and the handshakes over it
	StatusTimeout  time.Duration // for Client.Status, connecting included
	Idle           time.Duration // after which a client's unused connection is closed

	// Keepalive is after how long without a byte from the other end it is pinged, and KeepaliveTimeout how long it may take to
	// answer; then the connection is closed. gRPC makes at least 10 s of a client's Keepalive.
	Keepalive        time.Duration
	KeepaliveTimeout time.Duration

	// Window is how many bytes a sender may be ahead of a receiver in one stream: all that a receiver that does not read holds.
	Window int32

	MaxPeers       int // addresses that a client is connected to at once; beyond it unused ones are closed first, then calls fail
	MaxConnections int // of a server; beyond it new ones are closed at once
	MaxHandshakes  int // of them, whose other end has not proven itself yet

	// MaxStreams bounds the calls in progress over one connection. A forwarded JoinGroup may wait for minutes, so it must be
	// more than the members of a group that come in by one agent. At 3/4 of it a client refuses further Chunk and Forward calls,
	// so that replicas never wait behind them.
	MaxStreams int

	Drain time.Duration // how long calls in progress may take once a server stops; Follow streams end at once
}

// Default is what agents use.
func Default() Config {
	return Config{
		ConnectTimeout:   3 * time.Second,
		StatusTimeout:    500 * time.Millisecond,
		Idle:             time.Minute,
		Keepalive:        10 * time.Second,
		KeepaliveTimeout: 5 * time.Second,
		Window:           512 << 10,
		MaxPeers:         1024,
		MaxConnections:   1024,
		MaxHandshakes:    128,
		MaxStreams:       16384,
		Drain:            2 * time.Second,
	}
}

// Validate names the first setting that makes no sense.
func (c Config) Validate() error {
	switch {
	case c.ConnectTimeout <= 0 || c.StatusTimeout <= 0 || c.Idle <= 0:
		return fmt.Errorf("connect %v, status %v and idle %v timeouts must be positive", c.ConnectTimeout, c.StatusTimeout, c.Idle)
	case c.Keepalive < time.Second || c.KeepaliveTimeout <= 0:
		return fmt.Errorf("keepalive %v must be at least 1s, its timeout %v positive", c.Keepalive, c.KeepaliveTimeout)
	case c.Window < 64<<10:
		return fmt.Errorf("window of %d bytes: must be at least 64 KiB", c.Window)
	case c.MaxPeers < 1 || c.MaxConnections < 1 || c.MaxHandshakes < 1 || c.MaxStreams < 4:
		return errors.New("the bounds of peers, connections and handshakes must be at least 1, that of streams 4")
	case c.Drain < 0:
		return fmt.Errorf("drain time %v must not be negative", c.Drain)
	}
	return nil
}
