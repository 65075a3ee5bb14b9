package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// handlerFunc begins and finishes in one.
type handlerFunc func(ctx context.Context, r Request, body kmsg.Request) func() Response

func (f handlerFunc) Begin(ctx context.Context, r Request, body kmsg.Request) func() Response {
	return f(ctx, r, body)
}

// served is a small version table: Produce is announced from 0, but served from 3.
func served(key int16) (int16, int16, bool) {
	switch kmsg.Key(key) {
	case kmsg.Produce:
		return 3, 11, true
	case kmsg.Fetch:
		return 4, 13, true
	case kmsg.Metadata:
		return 0, 12, true
	case kmsg.ApiVersions:
		return 0, 4, true
	case kmsg.JoinGroup:
		return 0, 9, true
	}
	return 0, 0, false
}

// empty answers every request with an empty response.
func empty(_ context.Context, _ Request, body kmsg.Request) func() Response {
	return func() Response { return Response{Message: body.ResponseKind()} }
}

// server is a Server on loopback that is stopped at the end of the test.
type server struct {
	*Server
	t    *testing.T
	reg  *prometheus.Registry
	stop func() error // drains, and answers what Serve returned
}

func config(edit ...func(*Config)) Config {
	cfg := Default()
	cfg.Listeners = []Listener{{Name: "main", Address: "127.0.0.1:0"}}
	cfg.MaxFrame, cfg.Memory = 4<<20, 8<<20
	for _, e := range edit {
		e(&cfg)
	}
	return cfg
}

func start(t *testing.T, h handlerFunc, edit ...func(*Config)) *server {
	t.Helper()
	reg := prometheus.NewRegistry()
	s, err := New(config(edit...), served, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, h) }()
	stop := sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return &server{Server: s, t: t, reg: reg, stop: stop}
}

// metric adds up the samples of a counter or gauge that carry the label values.
func (s *server) metric(name string, labels ...string) (sum float64) {
	s.t.Helper()
	families, err := s.reg.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && carries(m, labels) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

func carries(m *dto.Metric, labels []string) bool {
	have := map[string]bool{}
	for _, l := range m.GetLabel() {
		have[l.GetValue()] = true
	}
	for _, l := range labels {
		if !have[l] {
			return false
		}
	}
	return true
}

// eventually waits for a condition that another goroutine brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(2 * time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("never came: " + what)
		}
	}
}

// client is one raw connection.
type client struct {
	net.Conn
	t *testing.T
}

func (s *server) dial() *client {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.Addr("main").String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		s.t.Fatal(err)
	}
	return &client{nc, s.t}
}

func frameOf(req kmsg.Request, version int16, correlation int32) []byte {
	req.SetVersion(version)
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("app,zone=z7")).AppendRequest(nil, req, correlation)
}

func (c *client) send(b []byte) {
	c.t.Helper()
	if _, err := c.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// receive reads one answer: correlation id and the rest.
func (c *client) receive() (int32, []byte) {
	c.t.Helper()
	var head [4]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		c.t.Fatal(err)
	}
	b := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(c, b); err != nil {
		c.t.Fatal(err)
	}
	return int32(binary.BigEndian.Uint32(b)), b[4:]
}

// closed waits for the server to close, without an answer.
func (c *client) closed() {
	c.t.Helper()
	n, err := c.Read(make([]byte, 100))
	var timeout net.Error
	if n > 0 || err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		c.t.Fatalf("not closed: %d bytes, %v", n, err)
	}
}

func apiVersions(version int16) []byte {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "test-client", "1.2.3"
	return frameOf(req, version, 42)
}

func TestRequestTellsWhoAsks(t *testing.T) {
	got := make(chan Request, 2)
	s := start(t, func(ctx context.Context, r Request, body kmsg.Request) func() Response {
		got <- r
		return empty(ctx, r, body)
	})
	c := s.dial()
	c.send(apiVersions(3))
	c.receive()
	c.send(frameOf(kmsg.NewPtrMetadataRequest(), 9, -5))
	c.receive()
	want := Request{Header: Header{18, 3, 42}, Principal: Anonymous, ClientID: "app,zone=z7", Host: "127.0.0.1", Listener: "main",
		Zone: "z7", ClientSoftware: Software{"test-client", "1.2.3"}, Conn: 1}
	first := <-got
	if want.Memory = first.Memory; first != want || first.Memory == nil {
		t.Errorf("%+v", first)
	}
	want.Header = Header{3, 9, -5}
	if r := <-got; r != want {
		t.Errorf("%+v", r)
	}
}

func TestResponseHeaderFollowsTheVersion(t *testing.T) {
	s := start(t, empty)
	c := s.dial()
	for _, v := range []int16{0, 8, 9, 12} { // flexible from 9 on: an empty tag section before the body
		c.send(frameOf(kmsg.NewPtrMetadataRequest(), v, int32(v)))
		id, body := c.receive()
		if v >= 9 {
			if body[0] != 0 {
				t.Fatalf("version %d: no tags: %x", v, body)
			}
			body = body[1:]
		}
		resp := kmsg.NewPtrMetadataResponse()
		resp.SetVersion(v)
		if err := resp.ReadFrom(body); err != nil || id != int32(v) || !bytes.Equal(resp.AppendTo(nil), body) {
			t.Fatalf("version %d: %d %x %v", v, id, body, err)
		}
	}
	for _, v := range []int16{0, 3, 4} { // never for ApiVersions
		c.send(apiVersions(v))
		_, body := c.receive()
		resp := kmsg.NewPtrApiVersionsResponse()
		resp.SetVersion(v)
		if err := resp.ReadFrom(body); err != nil || !bytes.Equal(resp.AppendTo(nil), body) {
			t.Fatalf("version %d: %x %v", v, body, err)
		}
	}
}

func TestApiVersionsInAnUnknownVersionIsAnsweredInVersionZero(t *testing.T) {
	s := start(t, func(context.Context, Request, kmsg.Request) func() Response {
		t.Error("the handler was asked")
		return nil
	})
	c := s.dial()
	for _, version := range []uint16{5, 99, 0xffff} {
		b := apiVersions(4)
		binary.BigEndian.PutUint16(b[6:], version)
		c.send(b)
		id, body := c.receive()
		resp := kmsg.NewPtrApiVersionsResponse()
		if err := resp.ReadFrom(body); err != nil || id != 42 {
			t.Fatal(id, err)
		}
		if resp.ErrorCode != 35 || len(resp.ApiKeys) != 1 || resp.ApiKeys[0].ApiKey != 18 || resp.ApiKeys[0].MaxVersion != 4 {
			t.Errorf("%+v", resp)
		}
	}
}

func TestThrottleAnswersFirstAndThenMutes(t *testing.T) {
	const throttle = 150 * time.Millisecond
	begun := make(chan time.Time, 2)
	s := start(t, func(_ context.Context, _ Request, body kmsg.Request) func() Response {
		begun <- time.Now()
		return func() Response { return Response{Message: body.ResponseKind(), Throttle: throttle} }
	})
	c := s.dial()
	c.send(append(frameOf(kmsg.NewPtrMetadataRequest(), 8, 1), frameOf(kmsg.NewPtrMetadataRequest(), 8, 2)...))
	_, body := c.receive()
	resp := kmsg.NewPtrMetadataResponse()
	resp.SetVersion(8)
	if err := resp.ReadFrom(body); err != nil || resp.ThrottleMillis != 150 {
		t.Errorf("%d ms, %v", resp.ThrottleMillis, err)
	}
	c.receive()
	if first, second := <-begun, <-begun; second.Sub(first) < throttle {
		t.Errorf("muted for %v", second.Sub(first))
	}
}

func TestBodyIsWrittenAsItIs(t *testing.T) {
	big := bytes.Repeat([]byte{9}, 3<<20)
	s := start(t, func(context.Context, Request, kmsg.Request) func() Response {
		return func() Response { return Response{Body: net.Buffers{[]byte("ab"), nil, big, []byte("c")}} }
	})
	c := s.dial()
	for range 2 {
		c.send(frameOf(kmsg.NewPtrFetchRequest(), 11, 1))
		_, body := c.receive()
		if !bytes.Equal(body, append(append([]byte("ab"), big...), 'c')) {
			t.Fatalf("%d bytes", len(body))
		}
	}
}

func TestListenBindsAllOrNone(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	cfg := config(func(c *Config) {
		c.Listeners = append(c.Listeners, Listener{Name: "second", Address: busy.Addr().String()})
	})
	s, err := New(cfg, served, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err == nil || !bytes.Contains([]byte(err.Error()), []byte(`listener "second"`)) {
		t.Fatalf("%v", err)
	}
	if s.Addr("main") != nil {
		t.Error("the first listener is still bound")
	}
}

func TestListenersAreTold(t *testing.T) {
	got := make(chan Request, 2)
	s := start(t, func(ctx context.Context, r Request, body kmsg.Request) func() Response {
		got <- r
		return empty(ctx, r, body)
	}, func(c *Config) {
		c.Zone = "agent-zone"
		c.Listeners = append(c.Listeners, Listener{Name: "vpc", Address: "127.0.0.1:0", Advertised: "leat.example:9092", Zone: "vpc-zone"})
	})
	for name, zone := range map[string]string{"main": "agent-zone", "vpc": "vpc-zone"} {
		nc, err := net.Dial("tcp", s.Addr(name).String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		c := &client{nc, t}
		req := kmsg.NewPtrApiVersionsRequest()
		c.send(kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)) // null client id
		c.receive()
		if r := <-got; r.Listener != name || r.Zone != zone || r.ClientID != "" {
			t.Errorf("%+v", r)
		}
	}
	if a := s.Advertised("vpc"); a != "leat.example:9092" {
		t.Error(a)
	}
	if s.Advertised("main") != s.Addr("main").String() || s.Advertised("other") != "" || s.Addr("other") != nil {
		t.Error("bound address")
	}
}
