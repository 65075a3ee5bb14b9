package wire

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/leat-stream/leat/agent/wire/zone"
)

// Listener is one address that clients connect to. Several listeners reach one agent by different ways, inside and outside
// of a VPC or of Docker, and each tells its clients its own advertised address. What comes between accept and the first
// frame (PROXY protocol; TLS and SASL to come) is a setting here.
type Listener struct {
	Name       string // unique, e.g. "default"; Request.Listener
	Address    string // host:port to bind; port 0 picks a free one
	Advertised string // host:port that Metadata and FindCoordinator name; empty means the bound address
	Zone       string // of the clients that come in here and don't name one themselves; empty means the agent's

	// Shared: Advertised is a balancer before many agents. Its clients learn of that one address and of no agent, and no
	// answer sends them elsewhere.
	Shared bool
	// Proxy: every connection must begin with a PROXY protocol header of version 2, which says who connects. Only the
	// balancer may reach such a listener: who reaches it may name any address (see package proxy).
	Proxy bool
}

// Config is everything that can be set.
type Config struct {
	Listeners []Listener
	Zone      string // the agent's own zone, may be empty

	// MaxFrame is the largest request in bytes (Kafka's socket.request.max.bytes); a longer one closes the connection before
	// anything is allocated for it.
	MaxFrame int

	// Memory is the budget in bytes for requests in flight, over all connections; when it is used up, connections stop being
	// read until requests finish. One request at a time may overdraw it to complete a frame that is already half read. Frames of at most
	// 16 KiB that are no Produce have a reserve of a sixteenth of it, on top. Answers have half as much, on top: see package answers.
	Memory int64

	// Mark, if there is one, tells how far the world has got, by a number that grows; it must be quick. A request carries one that was taken
	// before its first byte reached this agent, or when that did (Request.Mark).
	Mark func() uint64

	MaxConnections      int // over all listeners; beyond it a new connection is closed at once
	MaxConnectionsPerIP int // 0 means no limit (behind a balancer all clients have one address)
	MaxInFlight         int // requests of one connection that have begun and are not answered

	// MaxAge is how long a connection may last, give or take a fifth: then it is closed between two requests, and its client
	// connects again, behind a balancer perhaps to another agent. Java clients have longer (part.go). 0 is without end.
	MaxAge       time.Duration
	Idle         time.Duration // connections.max.idle.ms: a connection with nothing in progress is closed after this
	FrameTimeout time.Duration // for each further MiB of a frame once it has begun, and for its wait for memory
	WriteTimeout time.Duration // for each MiB of an answer; a client that does not read is cut off. For all of it when others wait for memory
	Drain        time.Duration // after Serve's context ended, how long requests in progress may take
}

// Default is the configuration with one listener on 127.0.0.1:9092.
func Default() Config {
	return Config{
		Listeners:      []Listener{{Name: "default", Address: "127.0.0.1:9092"}},
		MaxFrame:       100 << 20,
		Memory:         512 << 20,
		MaxConnections: 32768,
		MaxInFlight:    64,
		Idle:           10 * time.Minute,
		FrameTimeout:   30 * time.Second,
		WriteTimeout:   30 * time.Second,
		Drain:          5 * time.Second,
	}
}

// SharedMaxAge is the MaxAge that suits listeners behind a balancer: often enough to spread clients over agents that joined,
// seldom enough that reconnecting costs nothing that counts.
const SharedMaxAge = 15 * time.Minute

// minFrame is the shortest frame limit that makes sense: a request header with a client id.
const minFrame = 1 << 10

// mark is Mark, 0 if there is none.
func (c *Config) mark() uint64 {
	if c.Mark == nil {
		return 0
	}
	return c.Mark()
}

// zone is the client's own word, else its listener's, else the agent's.
func (c Config) zone(clientID string, l Listener) string {
	if z := zone.Of(clientID); z != "" {
		return z
	}
	if l.Zone != "" {
		return l.Zone
	}
	return c.Zone
}

// Validate names the first setting that makes no sense.
func (c Config) Validate() error {
	if len(c.Listeners) == 0 {
		return errors.New("no listener")
	}
	seen := map[string]bool{}
	for _, l := range c.Listeners {
		if l.Name == "" || seen[l.Name] {
			return fmt.Errorf("listener %q: names must be given and unique", l.Name)
		}
		seen[l.Name] = true
		if _, _, err := net.SplitHostPort(l.Address); err != nil {
			return fmt.Errorf("listener %q: address %q: %w", l.Name, l.Address, err)
		}
		if err := validateAdvertised(l.Advertised); err != nil {
			return fmt.Errorf("listener %q: advertised address %q: %w", l.Name, l.Advertised, err)
		}
		if l.Shared && l.Advertised == "" {
			return fmt.Errorf("listener %q: shared, but by no address", l.Name)
		}
	}
	switch {
	case c.MaxFrame < minFrame || c.MaxFrame > 1<<31-1:
		return fmt.Errorf("max frame of %d bytes: must be %d to 2^31-1", c.MaxFrame, minFrame)
	case c.Memory < int64(c.MaxFrame):
		return fmt.Errorf("request memory of %d bytes is less than one frame of %d bytes", c.Memory, c.MaxFrame)
	case c.MaxConnections < 1:
		return fmt.Errorf("max connections %d: must be at least 1", c.MaxConnections)
	case c.MaxConnectionsPerIP < 0:
		return fmt.Errorf("max connections per address %d: must not be negative", c.MaxConnectionsPerIP)
	case c.MaxInFlight < 1:
		return fmt.Errorf("max requests in flight %d: must be at least 1", c.MaxInFlight)
	case c.Idle <= 0 || c.FrameTimeout <= 0 || c.WriteTimeout <= 0:
		return fmt.Errorf("idle %v, frame %v and write %v timeouts must be positive", c.Idle, c.FrameTimeout, c.WriteTimeout)
	case c.MaxAge < 0:
		return fmt.Errorf("connection age %v must not be negative", c.MaxAge)
	case c.Drain < 0:
		return fmt.Errorf("drain time %v must not be negative", c.Drain)
	}
	return nil
}

// validateAdvertised refuses what clients could not connect to: no host, no port, the unspecified address.
func validateAdvertised(addr string) error {
	if addr == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("port %q is not 1 to 65535", port)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("host %q is no address that a client can connect to", host)
	}
	return nil
}
