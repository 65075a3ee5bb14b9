package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// pipe is a listener with one connection.
type pipe struct {
	net.Listener
	end net.Conn
}

func (p pipe) Accept() (net.Conn, error) { return p.end, nil }

// accepted is a connection of an Optional listener on which sent comes, in pieces of that many bytes, and then perhaps its end.
func accepted(t *testing.T, sent []byte, piece int, thenClose bool) net.Conn {
	t.Helper()
	near, far := net.Pipe()
	nc, err := Optional(pipe{end: near}).Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.SetReadDeadline(time.Now().Add(time.Minute)) // a test that fails ends
	done := make(chan struct{})
	go func() {
		defer close(done)
		for len(sent) > 0 {
			n := min(piece, len(sent))
			if _, err := far.Write(sent[:n]); err != nil {
				return // the test has read what it wants
			}
			sent = sent[n:]
		}
		if thenClose {
			_ = far.Close()
		}
	}()
	t.Cleanup(func() {
		_ = near.Close()
		_ = far.Close()
		<-done
	})
	return nc
}

func TestHeaderIsOptional(t *testing.T) {
	const request = "GET /readyz HTTP/1.1\r\n\r\n"
	for name, before := range map[string][]byte{
		"none":                 nil,
		"of a balancer's own":  header(0, 0, nil),
		"the same, with more":  header(0, 0x11, addresses("203.0.113.7"), tlv(0xEA, 1)),
		"of a client":          header(1, 0x11, addresses("203.0.113.7")),
		"of a client, IPv6":    header(1, 0x21, addresses("2001:db8::7")),
		"longer than a buffer": header(1, 0x11, addresses("203.0.113.7"), tlv(4, make([]byte, maxBlock-15)...)),
	} {
		for _, piece := range []int{1, 7, 1 << 20} {
			nc := accepted(t, append(bytes.Clone(before), request...), piece, true)
			if got, err := io.ReadAll(nc); err != nil || string(got) != request {
				t.Errorf("%s, pieces of %d: %q, %v", name, piece, got, err)
			}
		}
	}
}

func TestOptionalHeaderThatIsBadIsTheErrorOfEachRead(t *testing.T) {
	for name, sent := range map[string][]byte{
		"no header":      []byte("\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
		"version 3":      append(append(bytes.Clone(signature), 0x31), "GET / HTTP/1.1\r\n\r\n"...),
		"wrong checksum": append(header(1, 0x11, addresses("203.0.113.7"), tlv(typeChecksum, 0, 0, 0, 0)), "GET / HTTP/1.1\r\n\r\n"...),
		"too long":       append(bytes.Clone(signature), 0x21, 0x11, 0xff, 0xff),
	} {
		nc := accepted(t, sent, 1<<20, false)
		for range 2 {
			if n, err := nc.Read(make([]byte, 100)); n != 0 || !errors.Is(err, ErrHeader) {
				t.Errorf("%s: %d bytes, %v", name, n, err)
			}
		}
	}
}

func TestOptionalHeaderThatIsCutShortIsNoRequest(t *testing.T) {
	whole := header(1, 0x11, addresses("203.0.113.7"), tlv(4, 1))
	for n := range whole {
		nc := accepted(t, whole[:n], 1<<20, true)
		if got, err := io.ReadAll(nc); len(got) > 0 || err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes: %q, %v", n, got, err)
		}
	}
}

// TestOptionalHeaderIsReadUnderTheReadersDeadline: before the first byte a deadline leaves things as they were, within a header it ends them.
func TestOptionalHeaderIsReadUnderTheReadersDeadline(t *testing.T) {
	past := time.Unix(1, 0)
	near, far := net.Pipe()
	nc, err := Optional(pipe{end: near}).Accept()
	if err != nil {
		t.Fatal(err)
	}
	read := func() (byte, error) {
		var b [1]byte
		_, err := nc.Read(b[:])
		return b[0], err
	}
	_ = nc.SetReadDeadline(past)
	if _, err := read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("nothing came: %v", err)
	}
	_ = nc.SetReadDeadline(time.Time{})

	done := make(chan error, 1)
	go func() {
		_, err := far.Write(signature) // returns when all of it has been read
		done <- errors.Join(err, nc.SetReadDeadline(past))
	}()
	if _, err := read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("half a header came: %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	_ = nc.SetReadDeadline(time.Time{})
	if _, err := read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after half a header: %v", err)
	}
	_, _ = near.Close(), far.Close()
}
