// Package proxy reads the header by which a balancer says who connects: the PROXY protocol, version 2.
//
// It must never lose a byte behind the header, and never make room on the word of a length without a bound.
package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/netip"
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
	prefixBytes = 16
	maxBlock    = 4 << 10 // senders stay within one packet; a client's certificate as TLV fits too

	commandLocal, commandProxy                     = 0, 1
	familyNone, familyIPv4, familyIPv6, familyUnix = 0, 1, 2, 3 // AF_UNSPEC, AF_INET, AF_INET6, AF_UNIX
	typeChecksum                                   = 0x03       // PP2_TYPE_CRC32C
)

var signature = []byte("\r\n\r\n\x00\r\nQUIT\n")

// ErrHeader: what came is not a good header.
var ErrHeader = errors.New("no PROXY protocol version 2 header")

// head is the fixed part of a header.
type head struct {
	command, family byte
	length          int // of the block
}

// parsePrefix reads the fixed part, prefixBytes bytes, or refuses what has come of it so far: whole is false while it is good
// but not all there.
func parsePrefix(b []byte) (h head, whole bool, err error) {
	n := min(len(b), len(signature))
	if !bytes.Equal(b[:n], signature[:n]) {
		if text := []byte("PROXY "); bytes.HasPrefix(text, b[:min(n, len(text))]) || bytes.HasPrefix(b, text) {
			return h, false, fmt.Errorf("%w: it looks like version 1; let the balancer send version 2", ErrHeader)
		}
		return h, false, fmt.Errorf("%w: begins with %q", ErrHeader, b[:n])
	}
	if len(b) > 12 {
		if b[12]>>4 != 2 {
			return h, false, fmt.Errorf("%w: version %d", ErrHeader, b[12]>>4)
		}
		if h.command = b[12] & 0xf; h.command > commandProxy {
			return h, false, fmt.Errorf("%w: command %d", ErrHeader, h.command)
		}
	}
	if len(b) < prefixBytes {
		return h, false, nil
	}
	family, protocol := b[13]>>4, b[13]&0xf
	if h.command == commandProxy && (family > familyUnix || protocol > 2) {
		return h, false, fmt.Errorf("%w: address family and protocol %#02x", ErrHeader, b[13])
	}
	h.family, h.length = family, int(binary.BigEndian.Uint16(b[14:]))
	if h.length > maxBlock {
		return h, false, fmt.Errorf("%w: %d bytes of addresses and more, at most %d are taken", ErrHeader, h.length, maxBlock)
	}
	return h, true, nil
}

// parseBlock answers the client's address, the zero one where the real address stands: for LOCAL, and for families
// that have no IP address. prefix and block are the whole header.
func parseBlock(h head, prefix, block []byte) (client netip.Addr, err error) {
	if h.command == commandLocal {
		return netip.Addr{}, nil
	}
	size := [...]int{familyNone: 0, familyIPv4: 2*4 + 2*2, familyIPv6: 2*16 + 2*2, familyUnix: 2 * 108}[h.family]
	if len(block) < size {
		return netip.Addr{}, fmt.Errorf("%w: %d bytes for addresses of family %d", ErrHeader, len(block), h.family)
	}
	switch h.family {
	case familyIPv4:
		client = netip.AddrFrom4([4]byte(block))
	case familyIPv6:
		client = netip.AddrFrom16([16]byte(block)).Unmap()
	case familyNone: // addresses, if any, are of no known form: TLVs cannot be told from them
		return netip.Addr{}, nil
	}
	if err := checkTLVs(prefix, block, size); err != nil {
		return netip.Addr{}, err
	}
	return client, nil
}

// checkTLVs walks what follows the addresses and verifies the checksum, which is that of the whole header with
// zeros in its own place.
func checkTLVs(prefix, block []byte, at int) error {
	for at < len(block) {
		if len(block)-at < 3 {
			return fmt.Errorf("%w: a TLV is cut short", ErrHeader)
		}
		kind, n := block[at], int(binary.BigEndian.Uint16(block[at+1:]))
		at += 3
		if n > len(block)-at {
			return fmt.Errorf("%w: a TLV of %d bytes where %d are left", ErrHeader, n, len(block)-at)
		}
		if kind == typeChecksum {
			if n != 4 {
				return fmt.Errorf("%w: a checksum of %d bytes", ErrHeader, n)
			}
			sum := crc32.Update(0, castagnoli, prefix)
			sum = crc32.Update(sum, castagnoli, block[:at])
			sum = crc32.Update(sum, castagnoli, make([]byte, 4))
			sum = crc32.Update(sum, castagnoli, block[at+4:])
			if got := binary.BigEndian.Uint32(block[at:]); got != sum {
				return fmt.Errorf("%w: checksum %08x, not %08x", ErrHeader, got, sum)
			}
		}
		at += n
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Read reads a header, and nothing behind it, and answers the client's address: the zero one where that of the connection itself stands.
// Errors: ErrHeader, as soon as what has come cannot become a good header, and those of r.
func Read(r io.Reader) (client netip.Addr, err error) {
	var prefix [prefixBytes]byte
	var h head
	for got, whole := 0, false; !whole; {
		n, err := r.Read(prefix[got:])
		got += n
		if n > 0 {
			var bad error
			if h, whole, bad = parsePrefix(prefix[:got]); bad != nil {
				return netip.Addr{}, bad
			}
		}
		if err != nil && !whole {
			return netip.Addr{}, err
		}
	}
	block := make([]byte, h.length)
	if _, err := io.ReadFull(r, block); err != nil {
		return netip.Addr{}, err
	}
	return parseBlock(h, prefix[:], block)
}
