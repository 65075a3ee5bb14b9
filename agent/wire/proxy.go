package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"os"
	"sync"
	"time"
)

// A balancer that passes TCP on hides who connects. One that speaks the PROXY protocol, version 2 (HAProxy's
// proxy-protocol.txt, section 2.2; `send-proxy-v2` there, "proxy protocol v2" of an AWS target group), says it before the first byte of
// the client, numbers big endian:
//
//	0                       12      13      14       16
//	┌───────────────────────┬───────┬───────┬────────┬───────────────────────────────────────────────┬──────────────┐
//	│ \r\n\r\n\0\r\nQUIT\n   │ 2 │cmd│fam│prt│ length │ addresses of that family: source, destination │ TLVs: type,  │
//	│ signature             │ 1 byte│ 1 byte│ uint16 │ and both ports; for family 0 nothing          │ uint16, value│
//	└───────────────────────┴───────┴───────┴────────┴───────────────────────────────────────────────┴──────────────┘
//	                                                  └──────────────── length bytes: the block ──────────────────┘
//
// Command 0 (LOCAL) is the balancer's own connection, a health check: the block means nothing. Command 1 (PROXY) is a client's.
// Of the TLVs only the checksum is looked at.
//
// A listener that asks for the header takes nothing else, as the specification demands: guessing would let a client say who
// it is. But whoever reaches that listener may send a header and name any address. So only the balancer must reach it, by
// security group or firewall; the address is good for limits and logs, and proves nothing.
const (
	proxyPrefix   = 16
	maxProxyBlock = 4 << 10 // senders stay within one packet; a client's certificate as TLV fits too
	proxyTimeout  = 10 * time.Second

	proxyLocal, proxyProxy                     = 0, 1
	proxyUnspec, proxyIPv4, proxyIPv6, proxyUX = 0, 1, 2, 3 // AF_UNSPEC, AF_INET, AF_INET6, AF_UNIX
	proxyChecksum                              = 0x03       // PP2_TYPE_CRC32C
)

var proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")

// errProxy is what a connection dies of that does not begin with a good header.
var errProxy = errors.New("no PROXY protocol version 2 header")

// proxyHead is the fixed part of a header.
type proxyHead struct {
	command, family byte
	length          int // of the block
}

// parseProxyPrefix reads the fixed part, proxyPrefix bytes, or refuses what has come of it so far: whole is false while it is good
// but not all there.
func parseProxyPrefix(b []byte) (h proxyHead, whole bool, err error) {
	n := min(len(b), len(proxySignature))
	if !bytes.Equal(b[:n], proxySignature[:n]) {
		if text := []byte("PROXY "); bytes.HasPrefix(text, b[:min(n, len(text))]) || bytes.HasPrefix(b, text) {
			return h, false, fmt.Errorf("%w: it looks like version 1; let the balancer send version 2", errProxy)
		}
		return h, false, fmt.Errorf("%w: begins with %q", errProxy, b[:n])
	}
	if len(b) > 12 {
		if b[12]>>4 != 2 {
			return h, false, fmt.Errorf("%w: version %d", errProxy, b[12]>>4)
		}
		if h.command = b[12] & 0xf; h.command > proxyProxy {
			return h, false, fmt.Errorf("%w: command %d", errProxy, h.command)
		}
	}
	if len(b) < proxyPrefix {
		return h, false, nil
	}
	family, protocol := b[13]>>4, b[13]&0xf
	if h.command == proxyProxy && (family > proxyUX || protocol > 2) {
		return h, false, fmt.Errorf("%w: address family and protocol %#02x", errProxy, b[13])
	}
	h.family, h.length = family, int(binary.BigEndian.Uint16(b[14:]))
	if h.length > maxProxyBlock {
		return h, false, fmt.Errorf("%w: %d bytes of addresses and more, at most %d are taken", errProxy, h.length, maxProxyBlock)
	}
	return h, true, nil
}

// parseProxyBlock answers the client's address, the zero one where the real address stands: for LOCAL, and for families
// that have no IP address. prefix and block are the whole header.
func parseProxyBlock(h proxyHead, prefix, block []byte) (client netip.Addr, err error) {
	if h.command == proxyLocal {
		return netip.Addr{}, nil
	}
	size := [...]int{proxyUnspec: 0, proxyIPv4: 2*4 + 2*2, proxyIPv6: 2*16 + 2*2, proxyUX: 2 * 108}[h.family]
	if len(block) < size {
		return netip.Addr{}, fmt.Errorf("%w: %d bytes for addresses of family %d", errProxy, len(block), h.family)
	}
	switch h.family {
	case proxyIPv4:
		client = netip.AddrFrom4([4]byte(block))
	case proxyIPv6:
		client = netip.AddrFrom16([16]byte(block)).Unmap()
	case proxyUnspec: // addresses, if any, are of no known form: TLVs cannot be told from them
		return netip.Addr{}, nil
	}
	return client, checkProxyTLVs(prefix, block, size)
}

// checkProxyTLVs walks what follows the addresses and verifies the checksum, which is that of the whole header with
// zeros in its own place.
func checkProxyTLVs(prefix, block []byte, at int) error {
	for at < len(block) {
		if len(block)-at < 3 {
			return fmt.Errorf("%w: a TLV is cut short", errProxy)
		}
		kind, n := block[at], int(binary.BigEndian.Uint16(block[at+1:]))
		at += 3
		if n > len(block)-at {
			return fmt.Errorf("%w: a TLV of %d bytes where %d are left", errProxy, n, len(block)-at)
		}
		if kind == proxyChecksum {
			if n != 4 {
				return fmt.Errorf("%w: a checksum of %d bytes", errProxy, n)
			}
			sum := crc32.Update(0, castagnoli, prefix)
			sum = crc32.Update(sum, castagnoli, block[:at])
			sum = crc32.Update(sum, castagnoli, make([]byte, 4))
			sum = crc32.Update(sum, castagnoli, block[at+4:])
			if got := binary.BigEndian.Uint32(block[at:]); got != sum {
				return fmt.Errorf("%w: checksum %08x, not %08x", errProxy, got, sum)
			}
		}
		at += n
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// greet learns who the client is before its first frame: on a listener that asks for it, from the PROXY header. It never reads
// beyond the header. Then the connection counts for its client's address, and errManyFromIP refuses one too many.
func (c *conn) greet() error {
	if !c.listener.Proxy {
		return nil // counted when it was accepted
	}
	client, err := c.readProxyHeader()
	if err != nil {
		return err
	}
	if client.IsValid() {
		c.host = client.String()
	}
	return c.s.countHost(c)
}

// readProxyHeader reads the header within proxyTimeout. A balancer that only looks whether the port is open sends nothing and
// leaves: io.EOF.
func (c *conn) readProxyHeader() (netip.Addr, error) {
	if err := c.setReadDeadline(time.Now().Add(min(proxyTimeout, c.s.cfg.FrameTimeout))); err != nil {
		return netip.Addr{}, err
	}
	var prefix [proxyPrefix]byte
	var head proxyHead
	for got, whole := 0, false; !whole; {
		n, err := c.nc.Read(prefix[got:])
		got += n
		if n > 0 {
			var bad error
			if head, whole, bad = parseProxyPrefix(prefix[:got]); bad != nil {
				return netip.Addr{}, bad
			}
		}
		if err != nil && !whole {
			return netip.Addr{}, c.proxyReadError(err)
		}
	}
	block := make([]byte, head.length)
	for got := 0; got < len(block); {
		n, err := c.nc.Read(block[got:])
		if got += n; err != nil && got < len(block) {
			return netip.Addr{}, c.proxyReadError(err)
		}
	}
	return parseProxyBlock(head, prefix[:], block)
}

func (c *conn) proxyReadError(err error) error {
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case c.isDraining():
		return errDrain
	}
	return fmt.Errorf("%w: it did not come in time", errProxy)
}

// errManyFromIP: the client's address has all the connections it may have.
var errManyFromIP = errors.New("too many connections from one address")

// proxyQuiet is how often at most a listener tells of connections without a good header: a wrong setting of the balancer makes
// every connection one.
const proxyQuiet = time.Minute

// complaints keeps one kind of warning from filling the log.
type complaints struct {
	mu      sync.Mutex
	last    time.Time
	skipped int
}

// due tells whether to complain now, and of how many that were passed over since the last time.
func (q *complaints) due(now time.Time) (skipped int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.last.IsZero() && now.Sub(q.last) < proxyQuiet {
		q.skipped++
		return 0, false
	}
	skipped, q.last, q.skipped = q.skipped, now, 0
	return skipped, true
}

// complain tells of a connection that did not begin as its listener demands.
func (c *conn) complain(err error) {
	if skipped, ok := c.s.complaints.due(time.Now()); ok {
		c.s.log.Warn("connection closed: the listener takes only connections that begin with a PROXY protocol version 2 header",
			"listener", c.listener.Name, "from", hostOf(c.nc.RemoteAddr()), "error", err, "more_before", skipped)
	}
}
