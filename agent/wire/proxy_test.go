package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// proxyHeader is a header with that command and family byte, addresses and TLVs.
func proxyHeader(command, family byte, addresses []byte, tlvs ...[]byte) []byte {
	b := append(bytes.Clone(proxySignature), 0x20|command, family, 0, 0)
	b = append(b, addresses...)
	for _, tlv := range tlvs {
		b = append(b, tlv...)
	}
	binary.BigEndian.PutUint16(b[14:], uint16(len(b)-proxyPrefix))
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
func summed(header []byte) []byte {
	binary.BigEndian.PutUint32(header[len(header)-4:], crc32.Checksum(header, crc32.MakeTable(crc32.Castagnoli)))
	return header
}

// behindProxy is a server whose one listener asks for the header, and what its handler learns of who asks.
func behindProxy(t *testing.T, edit ...func(*Config)) (*server, <-chan Request) {
	got := make(chan Request, 10)
	s := start(t, func(ctx context.Context, r Request, body kmsg.Request) func() Response {
		got <- r
		return empty(ctx, r, body)
	}, append(edit, func(c *Config) { c.Listeners[0].Proxy = true })...)
	return s, got
}

func TestProxyHeaderSaysWhoTheClientIs(t *testing.T) {
	s, got := behindProxy(t)
	v4, v6 := addresses("203.0.113.7"), addresses("2001:db8::7")
	for name, c := range map[string]struct {
		header []byte
		host   string
	}{
		"IPv4":                              {proxyHeader(1, 0x11, v4), "203.0.113.7"},
		"IPv6":                              {proxyHeader(1, 0x21, v6), "2001:db8::7"},
		"IPv4 as IPv6":                      {proxyHeader(1, 0x21, append(netip.MustParseAddr("::ffff:203.0.113.9").AsSlice(), v6[16:]...)), "203.0.113.9"},
		"with TLVs":                         {proxyHeader(1, 0x11, v4, tlv(0x04), tlv(0xEA, 1, 'v', 'p', 'c', 'e')), "203.0.113.7"},
		"with a checksum":                   {summed(proxyHeader(1, 0x11, v4, tlv(0x04, 0, 0), tlv(proxyChecksum, 0, 0, 0, 0))), "203.0.113.7"},
		"a health check":                    {proxyHeader(0, 0, nil), "127.0.0.1"},
		"a health check, anything in it":    {proxyHeader(0, 0x11, v4, []byte{1, 2}), "127.0.0.1"},
		"no known address":                  {proxyHeader(1, 0x00, nil), "127.0.0.1"},
		"no known address, anything behind": {proxyHeader(1, 0x00, []byte("12345")), "127.0.0.1"},
		"a Unix socket":                     {proxyHeader(1, 0x31, make([]byte, 216)), "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			whole, cut := s.dial(), s.dial()
			whole.send(append(bytes.Clone(c.header), metadata(7)...))
			whole.receive()
			if r := <-got; r.Host != c.host {
				t.Errorf("host %q, not %q", r.Host, c.host)
			}
			for _, b := range append(bytes.Clone(c.header), metadata(8)...) { // byte by byte
				cut.send([]byte{b})
			}
			if id, _ := cut.receive(); id != 8 {
				t.Errorf("answer %d", id)
			}
			if r := <-got; r.Host != c.host {
				t.Errorf("host %q, not %q, byte by byte", r.Host, c.host)
			}
		})
	}
}

// logged collects what is logged.
type logged struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(b)
}

func (l *logged) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.String()
}

func TestConnectionWithoutAGoodProxyHeaderIsClosedAndLogged(t *testing.T) {
	v4 := addresses("203.0.113.7")
	wrongSum := summed(proxyHeader(1, 0x11, v4, tlv(proxyChecksum, 0, 0, 0, 0)))
	wrongSum[16]++
	version3 := proxyHeader(1, 0x11, v4)
	version3[12] = 0x31
	long := proxyHeader(1, 0x11, append(v4, make([]byte, maxProxyBlock)...))
	for name, c := range map[string]struct {
		sent []byte
		says string
	}{
		"no header":              {metadata(1), "begins with"},
		"version 1":              {[]byte("PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\n"), "version 1"},
		"version 1, unknown":     {[]byte("PROXY UNKNOWN\r\n"), "version 1"},
		"version 3":              {version3, "version 3"},
		"unknown command":        {proxyHeader(2, 0x11, v4), "command 2"},
		"unknown family":         {proxyHeader(1, 0x41, v4), "family"},
		"unknown protocol":       {proxyHeader(1, 0x13, v4), "family"},
		"addresses cut short":    {proxyHeader(1, 0x21, v4), "12 bytes for addresses"},
		"too long":               {long[:proxyPrefix], "at most"},
		"TLV cut short":          {proxyHeader(1, 0x11, v4, []byte{4, 0}), "cut short"},
		"TLV longer than it can": {proxyHeader(1, 0x11, v4, []byte{4, 0, 9, 1}), "TLV of 9 bytes"},
		"wrong checksum":         {wrongSum, "checksum"},
		"checksum of 3 bytes":    {proxyHeader(1, 0x11, v4, tlv(proxyChecksum, 0, 0, 0)), "checksum of 3"},
	} {
		t.Run(name, func(t *testing.T) {
			s, got := behindProxy(t)
			var log logged
			s.log = slog.New(slog.NewTextHandler(&log, nil))
			for range 3 {
				c1 := s.dial()
				c1.send(c.sent)
				c1.closed()
			}
			if err := s.stop(); err != nil {
				t.Fatal(err)
			}
			if text := log.text(); !strings.Contains(text, c.says) || strings.Count(text, "PROXY protocol version 2 header") < 1 {
				t.Errorf("logged %q", text)
			} else if n := strings.Count(text, "level=WARN"); n != 1 {
				t.Errorf("%d warnings", n)
			}
			if n := s.metric("leat_wire_connections_closed_total", string(reasonProxy)); n != 3 {
				t.Errorf("%v counted", n)
			}
			if len(got) > 0 {
				t.Error("it was served")
			}
		})
	}
}

func TestComplaintsAreSpacedAndCountWhatTheyPassOver(t *testing.T) {
	var q complaints
	now := time.Unix(1000, 0)
	for i := range 5 {
		if skipped, ok := q.due(now.Add(time.Duration(i) * time.Second)); ok != (i == 0) || skipped != 0 {
			t.Errorf("%d: %d %v", i, skipped, ok)
		}
	}
	if skipped, ok := q.due(now.Add(proxyQuiet)); !ok || skipped != 4 {
		t.Error(skipped, ok)
	}
}

func TestProxyHeaderThatDoesNotComeIsGivenUp(t *testing.T) {
	header := proxyHeader(1, 0x11, addresses("203.0.113.7"))
	for _, sent := range []int{0, 1, 12, 15, 16, 20, len(header) - 1} {
		synctest.Test(t, func(t *testing.T) {
			_, clients, stop := pipes(t, 1, func(c *Config) { c.Listeners[0].Proxy = true })
			c, from := clients[0], time.Now()
			for _, b := range header[:sent] { // slowly
				time.Sleep(100 * time.Millisecond)
				c.send([]byte{b})
			}
			c.closed()
			if took := time.Since(from); took != proxyTimeout {
				t.Errorf("after %d bytes: closed after %v", sent, took)
			}
			stop()
		})
	}
}

func TestLimitPerAddressCountsTheClientBehindTheProxy(t *testing.T) {
	s, _ := behindProxy(t, func(c *Config) { c.MaxConnectionsPerIP = 2 })
	dial := func(source string) *client {
		c := s.dial()
		c.send(append(proxyHeader(1, 0x11, addresses(source)), metadata(1)...))
		return c
	}
	a1, a2 := dial("203.0.113.1"), dial("203.0.113.1")
	a1.receive()
	a2.receive()
	dial("203.0.113.1").closed()
	dial("203.0.113.2").receive()
	a1.Close()
	eventually(t, "room after one has left", func() bool {
		c := dial("203.0.113.1")
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, _ := c.Read(make([]byte, 4))
		return n == 4
	})
	if s.metric("leat_wire_connections_closed_total", string(reasonLimitIP)) == 0 {
		t.Error("not counted")
	}
}

func TestPortCheckThatSendsNothingIsNoError(t *testing.T) {
	s, _ := behindProxy(t)
	var log logged
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	s.dial().Close()
	eventually(t, "its end", func() bool { return s.metric("leat_wire_connections_closed_total", string(reasonClient)) == 1 })
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if log.text() != "" {
		t.Error(log.text())
	}
}

func FuzzProxyHeader(f *testing.F) {
	v4 := addresses("203.0.113.7")
	f.Add(proxyHeader(1, 0x11, v4))
	f.Add(proxyHeader(1, 0x21, addresses("2001:db8::7"), tlv(4, 1, 2), tlv(0xEA, 3)))
	f.Add(summed(proxyHeader(1, 0x11, v4, tlv(proxyChecksum, 0, 0, 0, 0))))
	f.Add(proxyHeader(1, 0x31, make([]byte, 216)))
	f.Add(proxyHeader(0, 0, []byte("anything")))
	f.Add([]byte("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		prefix := b[:min(len(b), proxyPrefix)]
		head, whole, err := parseProxyPrefix(prefix)
		for n := range prefix { // what is good as a whole is good in pieces
			if _, early, bad := parseProxyPrefix(prefix[:n]); early || bad != nil && err == nil {
				t.Fatalf("%x: whole %v, %v", prefix[:n], early, bad)
			}
		}
		if err != nil || !whole {
			return
		}
		if head.length > maxProxyBlock || len(prefix) < proxyPrefix {
			t.Fatalf("%+v of %x", head, prefix)
		}
		if rest := b[proxyPrefix:]; len(rest) >= head.length {
			client, err := parseProxyBlock(head, prefix, rest[:head.length:head.length])
			if named := head.command == proxyProxy && (head.family == proxyIPv4 || head.family == proxyIPv6); err == nil && client.IsValid() != named {
				t.Fatalf("%v of %+v", client, head)
			}
		}
	})
}
