//go:build interop

package interop

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// relay makes an agent reachable as if it were far away: what is sent either way takes delay. Ends of a direction are passed on, too.
type relay struct {
	agent string
	delay time.Duration
	tasks sync.WaitGroup

	mu     sync.Mutex
	ended  bool
	opened []net.Conn
}

// distant starts a relay at an address, for as long as the test runs.
func distant(t *testing.T, at, agent string, delay time.Duration) {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{agent: agent, delay: delay}
	r.tasks.Go(func() {
		for client, err := l.Accept(); err == nil; client, err = l.Accept() {
			r.connect(client)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		r.mu.Lock()
		r.ended = true
		for _, c := range r.opened {
			_ = c.Close()
		}
		r.mu.Unlock()
		r.tasks.Wait()
	})
}

func (r *relay) connect(client net.Conn) {
	agent, err := net.Dial("tcp", r.agent)
	if err != nil {
		_ = client.Close()
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opened = append(r.opened, client, agent)
	if r.ended {
		_ = client.Close()
		_ = agent.Close()
	}
	r.tasks.Go(func() { r.pass(agent.(*net.TCPConn), client) })
	r.tasks.Go(func() { r.pass(client.(*net.TCPConn), agent) })
}

// pass copies from one connection to another, each piece after delay, and then ends that direction.
func (r *relay) pass(to *net.TCPConn, from io.Reader) {
	type piece struct {
		due  time.Time
		data []byte // nil: the end
	}
	pieces := make(chan piece, 256) // when it is full, the sender waits
	r.tasks.Go(func() {
		defer close(pieces)
		for {
			b := make([]byte, 32<<10)
			n, err := from.Read(b)
			if n > 0 {
				pieces <- piece{time.Now().Add(r.delay), b[:n]}
			}
			if err != nil {
				pieces <- piece{time.Now().Add(r.delay), nil}
				return
			}
		}
	})
	for p := range pieces {
		<-time.After(time.Until(p.due))
		if p.data == nil {
			_ = to.CloseWrite()
			continue
		}
		_, _ = to.Write(p.data) // a connection that is dead tells its reader
	}
}
