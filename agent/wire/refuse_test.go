package wire

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TestAnAgentThatStartsForLongRefuses: connections are closed after the grace and before Serve, and nothing of that stays.
func TestAnAgentThatStartsForLongRefuses(t *testing.T) {
	ts := newUnserved(t)
	early := ts.dial(t)
	end := ts.Refuse(10 * time.Millisecond)
	for range 2 {
		if _, err := ts.dial(t).Read(make([]byte, 1)); !gone(err) {
			t.Fatalf("a connection of while it starts: %v", err)
		}
	}
	if _, err := early.Read(make([]byte, 1)); !gone(err) { // it waited from before
		t.Errorf("a connection of before: %v", err)
	}
	end()
	end()

	end = ts.Refuse(time.Hour)
	waits := ts.dial(t)
	end()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- ts.Serve(ctx, nil) }()
	_ = waits.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := waits.Read(make([]byte, 1)); gone(err) {
		t.Errorf("a connection of within the grace is not served: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}

	closed := newUnserved(t)
	end = closed.Refuse(0)
	closed.Close()
	end() // returns, although nobody can connect any more
}

// gone tells that the other side has closed a connection.
func gone(err error) bool {
	var timeout net.Error
	return errors.Is(err, io.EOF) || err != nil && !(errors.As(err, &timeout) && timeout.Timeout())
}

type unserved struct{ *Server }

func newUnserved(t *testing.T) unserved {
	t.Helper()
	s, err := New(config(), served, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return unserved{s}
}

func (u unserved) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", u.bound[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
