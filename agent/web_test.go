package agent

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/agent/wire/proxy"
)

// Headers of the PROXY protocol, version 2: of a balancer's own connection, and of a client's.
const (
	ownHeader    = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
	clientHeader = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x07\xc0\x00\x02\x01\x30\x39\x23\x84"
)

// request sends bytes to an address and answers the response to them.
func request(t *testing.T, address, sent string) *http.Response {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, sent); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%q: %v", sent, err)
	}
	_ = r.Body.Close()
	return r
}

// TestHealthChecksOfABalancerThatSendsHeadersAreAnswered, and requests without one; what is no good header is answered 400, and no more.
func TestHealthChecksOfABalancerThatSendsHeadersAreAnswered(t *testing.T) {
	const check = "GET /healthz HTTP/1.1\r\nHost: agent\r\n\r\n"
	for _, c := range []struct {
		setting string
		taken   bool
	}{{"127.0.0.1:0?proxy=v2", true}, {"127.0.0.1:0", false}} {
		w, err := listenWeb(c.setting, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.close)
		if r := request(t, w.addr(), check); r.StatusCode != http.StatusOK {
			t.Errorf("%s: without a header: %s", c.setting, r.Status)
		}
		for _, header := range []string{ownHeader, clientHeader} {
			if r := request(t, w.addr(), header+check); (r.StatusCode == http.StatusOK) != c.taken || !c.taken && r.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: %q: %s", c.setting, header, r.Status)
			}
		}
		for _, header := range []string{
			"\r\n\r\n" + ownHeader[8:],                           // no signature
			"\r\n\r\n\x00\r\nQUIT\n\x31\x00\x00\x00",             // version 3
			"\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff",             // longer than any
			"PROXY TCP4 203.0.113.7 192.0.2.1 12345 9092\r\n",    // version 1
			clientHeader[:14] + "\x00\x04" + clientHeader[16:20], // addresses cut short
		} {
			if r := request(t, w.addr(), header); r.StatusCode != http.StatusBadRequest || !r.Close {
				t.Errorf("%s: %q: %s, and the connection stays: %v", c.setting, header, r.Status, !r.Close)
			}
		}
	}
}

// TestHeaderThatDoesNotComeHoldsAConnectionForATimeOnly, whatever of it has come.
func TestHeaderThatDoesNotComeHoldsAConnectionForATimeOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &web{starting: beginLoading(slog.New(slog.DiscardHandler))}
		w.starting.end()
		accepts := make(accepts)
		server := w.pages(prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		ended := make(chan error, 1)
		go func() { ended <- server.Serve(proxy.Optional(accepts)) }()
		for _, sent := range []string{"", "\r", ownHeader[:12], ownHeader[:15], clientHeader[:20], clientHeader} {
			near, far := net.Pipe()
			accepts <- near
			begin := time.Now()
			if _, err := io.WriteString(far, sent); err != nil {
				t.Fatal(err)
			}
			if answer, err := io.ReadAll(far); len(answer) > 0 || err != nil {
				t.Errorf("%q: %q, %v", sent, answer, err)
			}
			if waited := time.Since(begin); waited != headerPatience {
				t.Errorf("%q: held for %v", sent, waited)
			}
		}
		_ = server.Close()
		<-ended
	})
}

// accepts is a listener to which connections are given.
type accepts chan net.Conn

func (a accepts) Accept() (net.Conn, error) {
	if c, ok := <-a; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (a accepts) Close() error   { close(a); return nil }
func (a accepts) Addr() net.Addr { return &net.TCPAddr{} }

func TestHTTPAddressIsReadWithWhatStandsBehindIt(t *testing.T) {
	for setting, want := range map[string]struct {
		address string
		proxied bool
	}{
		"127.0.0.1:9644":      {"127.0.0.1:9644", false},
		":9644?proxy=v2":      {":9644", true},
		"[::1]:9644?proxy=v2": {"[::1]:9644", true},
		"auto":                {"auto", false},
		"auto?proxy=v2":       {"auto", true},
	} {
		if address, proxied, err := HTTPAddress(setting); address != want.address || proxied != want.proxied || err != nil {
			t.Errorf("%s: %q, %v, %v", setting, address, proxied, err)
		}
	}
	for _, setting := range []string{"9644", "?proxy=v2", ":1?", ":1?proxy=v1", ":1?proxy=v2&proxy=v2", ":1?zone=a", ":1?proxy=v2?"} {
		if _, _, err := HTTPAddress(setting); err == nil || !strings.Contains(err.Error(), setting) {
			t.Errorf("%s: %v", setting, err)
		}
		if _, err := listenWeb(setting, prometheus.NewRegistry(), slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s is listened on", setting)
		}
		if cfg := (Config{HTTP: setting}); !strings.Contains(cfg.Validate().Error(), setting) {
			t.Errorf("%s is valid", setting)
		}
	}
}
