package agent

import (
	"errors"
	"log/slog"
	"net"
	"syscall"
	"testing"
	"time"
)

// TestClientsOfAnAgentThatStartsForLongAreTurnedAway: connections are reset after the grace and before they are served, and nothing of
// that stays.
func TestClientsOfAnAgentThatStartsForLongAreTurnedAway(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	dial := func(l net.Listener) net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		return c
	}
	door := listen()
	early := dial(door)
	end := turnAway([]net.Listener{door}, 10*time.Millisecond, quiet)
	for _, c := range []net.Conn{dial(door), dial(door), early} {
		if _, err := c.Read(make([]byte, 1)); !gone(err) {
			t.Fatalf("a connection of while it starts: %v", err)
		}
	}
	end()
	end()

	end = turnAway([]net.Listener{door}, time.Hour, quiet)
	waits := dial(door)
	end()
	served, err := door.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := served.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := waits.Read(make([]byte, 1)); err != nil {
		t.Errorf("a connection of within the grace is not served: %v", err)
	}
	_ = served.Close()

	closed := listen()
	end = turnAway([]net.Listener{closed}, 0, quiet)
	_ = closed.Close()
	end() // returns, although nobody can connect any more
}

// gone tells that the other side has reset a connection: an orderly end would make kgo fail records.
func gone(err error) bool { return errors.Is(err, syscall.ECONNRESET) }
