package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
)

// header is one with that command and family byte, addresses and TLVs.
func header(command, family byte, addresses []byte, tlvs ...[]byte) []byte {
	b := append(bytes.Clone(signature), 0x20|command, family, 0, 0)
	b = append(b, addresses...)
	for _, tlv := range tlvs {
		b = append(b, tlv...)
	}
	binary.BigEndian.PutUint16(b[14:], uint16(len(b)-prefixBytes))
	return b
}

func tlv(kind byte, value ...byte) []byte {
	return append([]byte{kind, byte(len(value) >> 8), byte(len(value))}, value...)
}

// addresses are a source's, a destination's 192.0.2.1, and ports.
func addresses(source string) []byte {
	a := netip.MustParseAddr(source)
	to := netip.MustParseAddr("192.0.2.1")
	if a.Is6() {
		to = netip.MustParseAddr("2001:db8::1")
	}
	b := append(a.AsSlice(), to.AsSlice()...)
	return append(b, 0x30, 0x39, 0x23, 0x84)
}

// summed puts the checksum into a header whose last TLV is one with zeros.
func summed(b []byte) []byte {
	binary.BigEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func TestHeaderSaysWhoTheClientIs(t *testing.T) {
	v4, v6 := addresses("203.0.113.7"), addresses("2001:db8::7")
	for name, c := range map[string]struct {
		header []byte
		client string
	}{
		"IPv4":                              {header(1, 0x11, v4), "203.0.113.7"},
		"IPv6":                              {header(1, 0x21, v6), "2001:db8::7"},
		"IPv4 as IPv6":                      {header(1, 0x21, append(netip.MustParseAddr("::ffff:203.0.113.9").AsSlice(), v6[16:]...)), "203.0.113.9"},
		"with TLVs":                         {header(1, 0x11, v4, tlv(0x04), tlv(0xEA, 1, 'v', 'p', 'c', 'e')), "203.0.113.7"},
		"with a checksum":                   {summed(header(1, 0x11, v4, tlv(0x04, 0, 0), tlv(typeChecksum, 0, 0, 0, 0))), "203.0.113.7"},
		"a health check":                    {header(0, 0, nil), ""},
		"a health check, anything in it":    {header(0, 0x11, v4, []byte{1, 2}), ""},
		"no known address":                  {header(1, 0x00, nil), ""},
		"no known address, anything behind": {header(1, 0x00, []byte("12345")), ""},
		"a Unix socket":                     {header(1, 0x31, make([]byte, 216)), ""},
	} {
		for _, slow := range []bool{false, true} {
			rest := strings.NewReader(string(c.header) + "what follows")
			r := io.Reader(rest)
			if slow {
				r = iotest.OneByteReader(rest)
			}
			got, err := Read(r)
			if want, _ := netip.ParseAddr(c.client); err != nil || got != want {
				t.Errorf("%s: %v, %v", name, got, err)
			}
			if left, _ := io.ReadAll(rest); string(left) != "what follows" {
				t.Errorf("%s: left %q", name, left)
			}
		}
	}
}

func TestWhatIsNoGoodHeaderIsRefusedAsSoonAsThatIsClear(t *testing.T) {
	v4 := addresses("203.0.113.7")
	wrongSum := summed(header(1, 0x11, v4, tlv(typeChecksum, 0, 0, 0, 0)))
	wrongSum[16]++
	version3 := header(1, 0x11, v4)
	version3[12] = 0x31
	long := header(1, 0x11, append(v4, make([]byte, maxBlock)...))
	for name, c := range map[string]struct {
		sent []byte
		says string
	}{
		"no header":              {[]byte{0, 0, 0, 20}, "begins with"},
		"version 1":              {[]byte("PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\n"), "version 1"},
		"version 1, unknown":     {[]byte("PROXY UNKNOWN\r\n"), "version 1"},
		"version 3":              {version3, "version 3"},
		"unknown command":        {header(2, 0x11, v4), "command 2"},
		"unknown family":         {header(1, 0x41, v4), "family"},
		"unknown protocol":       {header(1, 0x13, v4), "family"},
		"addresses cut short":    {header(1, 0x21, v4), "12 bytes for addresses"},
		"too long":               {long[:prefixBytes], "at most"},
		"TLV cut short":          {header(1, 0x11, v4, []byte{4, 0}), "cut short"},
		"TLV longer than it can": {header(1, 0x11, v4, []byte{4, 0, 9, 1}), "TLV of 9 bytes"},
		"wrong checksum":         {wrongSum, "checksum"},
		"checksum of 3 bytes":    {header(1, 0x11, v4, tlv(typeChecksum, 0, 0, 0)), "checksum of 3"},
	} {
		for _, r := range []io.Reader{bytes.NewReader(c.sent), iotest.OneByteReader(bytes.NewReader(c.sent))} {
			if client, err := Read(r); !errors.Is(err, ErrHeader) || !strings.Contains(err.Error(), c.says) || client.IsValid() {
				t.Errorf("%s: %v, %v", name, client, err)
			}
		}
	}
}

func TestHeaderThatIsCutShortIsTheReadersError(t *testing.T) {
	whole := header(1, 0x11, addresses("203.0.113.7"), tlv(4, 1))
	for n := range whole {
		want := io.ErrUnexpectedEOF
		if n <= prefixBytes {
			want = io.EOF
		}
		if _, err := Read(bytes.NewReader(whole[:n])); err != want {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	v4 := addresses("203.0.113.7")
	f.Add(header(1, 0x11, v4))
	f.Add(header(1, 0x21, addresses("2001:db8::7"), tlv(4, 1, 2), tlv(0xEA, 3)))
	f.Add(summed(header(1, 0x11, v4, tlv(typeChecksum, 0, 0, 0, 0))))
	f.Add(header(1, 0x31, make([]byte, 216)))
	f.Add(header(0, 0, []byte("anything")))
	f.Add([]byte("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		prefix := b[:min(len(b), prefixBytes)]
		head, whole, err := parsePrefix(prefix)
		for n := range prefix { // what is good as a whole is good in pieces
			if _, early, bad := parsePrefix(prefix[:n]); early || bad != nil && err == nil {
				t.Fatalf("%x: whole %v, %v", prefix[:n], early, bad)
			}
		}
		if err != nil || !whole {
			return
		}
		if head.length > maxBlock || len(prefix) < prefixBytes {
			t.Fatalf("%+v of %x", head, prefix)
		}
		if rest := b[prefixBytes:]; len(rest) >= head.length {
			client, err := parseBlock(head, prefix, rest[:head.length:head.length])
			if named := head.command == commandProxy && (head.family == familyIPv4 || head.family == familyIPv6); err == nil && client.IsValid() != named {
				t.Fatalf("%v of %+v", client, head)
			}
		}
	})
}
