package peer

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/leat-stream/leat/agent/peer/peerpb"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/replica"
)

// lines is a log that tests may read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), "\n")
}

// clientTLS is what an agent with secret would use.
func clientTLS(t *testing.T, secret Secret) *tls.Config {
	t.Helper()
	id, err := newIdentity(secret)
	if err != nil {
		t.Fatal(err)
	}
	return id.tls()
}

// otherKey is a certificate with the cluster's names and dates, but another key.
func otherKey(t *testing.T) tls.Certificate {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(nil, &template, &template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}

// strangers are all who must not be answered, by how they come.
func strangers(t *testing.T) map[string]func(raw net.Conn) io.ReadWriter {
	over := func(change func(c *tls.Config)) func(net.Conn) io.ReadWriter {
		return func(raw net.Conn) io.ReadWriter {
			cfg := clientTLS(t, testSecret)
			cfg.VerifyConnection = nil // they would talk to anybody
			change(cfg)
			return tls.Client(raw, cfg)
		}
	}
	ours := clientTLS(t, testSecret).Certificates[0]
	return map[string]func(net.Conn) io.ReadWriter{
		"plain":          func(raw net.Conn) io.ReadWriter { return raw },
		"no certificate": over(func(c *tls.Config) { c.Certificates = nil }),
		"another key":    over(func(c *tls.Config) { c.Certificates = []tls.Certificate{otherKey(t)} }),
		"another secret": over(func(c *tls.Config) {
			c.Certificates = clientTLS(t, Secret{cluster: testCluster, bytes: [32]byte{6}}).Certificates
		}),
		"another cluster": over(func(c *tls.Config) {
			c.Certificates = clientTLS(t, Secret{cluster: [16]byte{9}, bytes: testSecret.bytes}).Certificates
		}),
		"our certificate without its key": over(func(c *tls.Config) {
			c.Certificates = []tls.Certificate{{Certificate: ours.Certificate, PrivateKey: otherKey(t).PrivateKey}}
		}),
		"a chain with ours behind": over(func(c *tls.Config) {
			other := otherKey(t)
			c.Certificates = []tls.Certificate{{Certificate: [][]byte{other.Certificate[0], ours.Certificate[0]}, PrivateKey: other.PrivateKey}}
		}),
		"TLS 1.2":          over(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }),
		"without HTTP/2":   over(func(c *tls.Config) { c.NextProtos = nil }),
		"another protocol": over(func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }),
	}
}

func TestStrangersAreNotAnswered(t *testing.T) {
	var log lines
	reg := prometheus.NewRegistry()
	s, err := NewServer(quick(), testSecret, slog.New(slog.NewTextHandler(&log, nil)), reg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	serve(t, s, Handlers{Replica: &fakeReplica{status: func() replica.Status { return replica.Status{} }}})
	junk := make([]byte, 10_000)
	_, _ = rand.Read(junk)
	junk[0] = 0
	preface := append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 0, 0, 0, 4, 0, 0, 0, 0, 0)
	for name, come := range strangers(t) {
		for _, say := range [][]byte{junk, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), preface} {
			raw, err := net.Dial("tcp", s.Addr())
			if err != nil {
				t.Fatal(err)
			}
			_ = raw.SetDeadline(time.Now().Add(time.Minute))
			conn := come(raw)
			_, _ = conn.Write(say)
			answer, err := io.ReadAll(conn)
			alert := name == "plain" && len(answer) == 7 && answer[0] == 21 // TLS tells in a record of 7 bytes that it won't
			if len(answer) > 0 && !alert {
				t.Errorf("%s: answered with %d bytes: %.100q", name, len(answer), answer)
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: the connection stays open", name)
			}
			raw.Close()
		}
	}
	eventually(t, "all are counted", func() bool { return gather(t, reg, "leat_peer_connections_rejected_total{handshake,server}") >= 30 })
	if n := log.count(); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
	if _, err := newTestClient(t, quick()).Status(t.Context(), s.Addr()); err != nil {
		t.Errorf("an agent: %v", err)
	}
}

func TestAgentsOfDifferentClustersDoNotTalk(t *testing.T) {
	address := start(t, answering())
	for _, secret := range []Secret{{cluster: testCluster, bytes: [32]byte{6}}, {cluster: [16]byte{9}, bytes: testSecret.bytes}, {}} {
		c, err := NewClient(quick(), secret, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Propose(t.Context(), address, replica.Proposal{})
		if !errors.Is(err, ErrStranger) || !errors.Is(err, metadata.ErrNotApplied) || errors.Is(err, replica.ErrRefused) {
			t.Error(err)
		}
		c.Close()
	}
}

func TestAMessageThatIsTooLongIsRefusedByItsLength(t *testing.T) {
	address := start(t, Handlers{Replica: &fakeReplica{}}) // which would panic if it were called
	p := rawClient(t, address)
	_, err := p.Propose(t.Context(), &peerpb.ProposeRequest{Commands: make([]byte, maxMessage)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Error(err)
	}
	raw, err := tls.Dial("tcp", address, clientTLS(t, testSecret)) // an agent that claims 4 GiB, and sends 5 bytes
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(time.Minute))
	frame := func(kind, flags byte, stream uint32, payload []byte) []byte {
		head := []byte{0, byte(len(payload) >> 8), byte(len(payload)), kind, flags}
		return append(binary.BigEndian.AppendUint32(head, stream), payload...)
	}
	headers := []byte{0x83, 0x87} // :method POST, :scheme https
	for _, h := range [][2]string{{":path", peerpb.Peer_Propose_FullMethodName}, {":authority", "x"}, {"content-type", "application/grpc"}, {"te", "trailers"}} {
		headers = append(append(append(headers, 0, byte(len(h[0]))), h[0]...), byte(len(h[1])))
		headers = append(headers, h[1]...)
	}
	var said []byte
	said = append(said, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"...)
	said = append(said, frame(4, 0, 0, nil)...)
	said = append(said, frame(1, 4, 1, headers)...)
	said = append(said, frame(0, 0, 1, []byte{0, 0xff, 0xff, 0xff, 0xff})...)
	if _, err := raw.Write(said); err != nil {
		t.Fatal(err)
	}
	answer, at := make([]byte, 64<<10), 0
	for !bytes.Contains(answer[:at], []byte{byte('0' + codes.ResourceExhausted)}) {
		n, err := raw.Read(answer[at:])
		if err != nil {
			t.Fatalf("%d bytes, %v", at, err)
		}
		at += n
	}
	if _, err := newTestClient(t, quick()).Tip(t.Context(), address, 0); err == nil { // panics, is served
		t.Error("no error")
	}
}

func TestStrangersCannotTakeAllConnections(t *testing.T) {
	cfg := quick()
	cfg.MaxHandshakes, cfg.MaxConnections, cfg.ConnectTimeout = 2, 3, time.Hour
	reg := prometheus.NewRegistry()
	s := listen(t, cfg, "127.0.0.1:0", reg)
	stop := serve(t, s, answering())
	rejected := func() float64 { return gather(t, reg, "leat_peer_connections_rejected_total{limit,server}") }
	var silent []net.Conn
	for range cfg.MaxHandshakes {
		raw, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		silent = append(silent, raw)
	}
	c := newTestClient(t, quick())
	if _, err := c.Status(t.Context(), s.Addr()); err == nil || errors.Is(err, replica.ErrRefused) || rejected() == 0 {
		t.Errorf("beyond the handshakes allowed: %v, %v rejected", err, rejected())
	}
	silent[0].Close()
	eventually(t, "there is room", func() bool { _, err := c.Status(t.Context(), s.Addr()); return err == nil })
	before := rejected()
	second, third := newTestClient(t, quick()), newTestClient(t, quick())
	silent[1].Close()
	eventually(t, "there is room", func() bool { _, err := second.Status(t.Context(), s.Addr()); return err == nil })
	raw, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	eventually(t, "the connection is there", func() bool { return gather(t, reg, "leat_peer_connections_open{server}") == 3 })
	if _, err := third.Status(t.Context(), s.Addr()); err == nil || rejected() <= before {
		t.Errorf("beyond the connections allowed: %v, %v rejected", err, rejected())
	}
	began := time.Now()
	stop() // does not wait for those who say nothing
	if d := time.Since(began); d > time.Minute {
		t.Errorf("stopping took %v", d)
	}
}

// TestWhoGoesAwayAtOnceIsNotWorthALine: that is what an agent does whose call to this one took too long.
func TestWhoGoesAwayAtOnceIsNotWorthALine(t *testing.T) {
	var log lines
	reg := prometheus.NewRegistry()
	s, err := NewServer(quick(), testSecret, slog.New(slog.NewTextHandler(&log, nil)), reg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	serve(t, s, Handlers{})
	for range 5 {
		raw, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		raw.Close()
	}
	eventually(t, "all are counted", func() bool { return gather(t, reg, "leat_peer_connections_rejected_total{handshake,server}") == 5 })
	if n := log.count(); n != 0 {
		t.Errorf("%d lines in the log", n)
	}
}

func TestRefusedConnectionsAreToldNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l limiter
		told, held := 0, 0
		for range 61 { // one each second
			if n, ok := l.allow(time.Now()); ok {
				told, held = told+1, held+n
			}
			time.Sleep(time.Second)
		}
		if told != 3 || held != 58 {
			t.Errorf("%d told, %d held back", told, held)
		}
	})
}

func TestTheKeyNeverChanges(t *testing.T) {
	id, err := newIdentity(Secret{cluster: [16]byte{0: 1, 15: 2}, bytes: [32]byte{0: 3, 31: 4}})
	if err != nil {
		t.Fatal(err)
	}
	// Of this version of leat and of all that come: agents of two versions must know each other.
	const want = "6cd61cb4a3ed21f13c0b1227fde2a64faad3da17a675b410b52b08dddcf7fb05"
	if got := hex.EncodeToString(id.public); got != want {
		t.Errorf("the key is %s", got)
	}
}
