package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestConnectionThatHasJustComeIsNotShedBeforeItsFirstRequest: kgo sends its first request once ApiVersions is answered, and fails its
// records if the connection ends in between.
func TestConnectionThatHasJustComeIsNotShedBeforeItsFirstRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, clients, stop := pipes(t, 1)
		defer stop()
		c := clients[0]
		shed := make(chan struct{})
		go func() {
			defer close(shed)
			s.Shed(context.Background(), 10*time.Second)
		}()
		c.send(apiVersions(3))
		c.receive()
		time.Sleep(9 * time.Second) // later than any moment that is drawn
		c.send(metadata(1))
		c.receive()
		from := time.Now()
		c.closed()
		if took := time.Since(from); took > retireGap {
			t.Errorf("stayed for %v after its first answer", took)
		}
		<-shed
	})
}

// TestOnlyConnectionsThatWereServedEndInGoodOrder: the others are reset, at a drain, at the end of a shedding, and at a limit.
func TestOnlyConnectionsThatWereServedEndInGoodOrder(t *testing.T) {
	s := start(t, empty, func(c *Config) { c.MaxConnections = 3 })
	silent, greeted, served := s.dial(), s.dial(), s.dial()
	greeted.send(apiVersions(3))
	greeted.receive()
	served.send(metadata(1))
	served.receive()
	eventually(t, "all are open", func() bool { return s.metric("leat_wire_connections_open") == 3 })
	end := func(c *client) error {
		t.Helper()
		_, err := c.Read(make([]byte, 1))
		return err
	}
	s.refuses()
	s.Shed(t.Context(), time.Millisecond)
	for name, c := range map[string]*client{"silent": silent, "greeted": greeted} {
		if err := end(c); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: ended with %v", name, err)
		}
	}
	if err := end(served); err != io.EOF {
		t.Errorf("served: ended with %v", err)
	}
}

// refuses wants the next connection to be reset, which its client may see before it is told that it is connected.
func (s *server) refuses() {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.Addr("main").String())
	if err == nil {
		defer nc.Close()
		_ = nc.SetReadDeadline(time.Now().Add(2 * time.Minute))
		_, err = nc.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		s.t.Errorf("one connection too many: %v", err)
	}
}
