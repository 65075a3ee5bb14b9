package wire

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// proxied is the PROXY header of a client of an IPv4 address.
func proxied(source string) []byte {
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x21, 0x11, 0, 12)
	b = append(b, netip.MustParseAddr(source).AsSlice()...)
	return append(b, 192, 0, 2, 1, 0x30, 0x39, 0x23, 0x84)
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
	check := proxied("203.0.113.7")
	check[12] = 0x20 // LOCAL: the balancer's own
	for want, header := range map[string][]byte{"203.0.113.7": proxied("203.0.113.7"), "127.0.0.1": check} {
		c := s.dial()
		for _, b := range append(header, metadata(7)...) { // byte by byte
			c.send([]byte{b})
		}
		if id, _ := c.receive(); id != 7 {
			t.Errorf("answer %d", id)
		}
		if r := <-got; r.Host != want {
			t.Errorf("host %q, not %q", r.Host, want)
		}
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
	for name, c := range map[string]struct {
		sent []byte
		says string
	}{
		"no header": {metadata(1), "begins with"},
		"version 1": {[]byte("PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\n"), "version 1"},
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
	header := proxied("203.0.113.7")
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
		c.send(append(proxied(source), metadata(1)...))
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
