package etcd

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/leat-stream/leat/metadata/journal"
)

// proxy stands between a journal and the shared etcd, and can keep what goes one way to itself until it cuts the connections.
type proxy struct {
	listener net.Listener
	target   string
	done     sync.WaitGroup

	mu        sync.Mutex // guards all below
	conns     []net.Conn
	swallow   way
	swallowed chan struct{} // closed when something was
}

type way int

const (
	nothing way = iota
	requests
	answers
)

func startProxy(t *testing.T, target string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: target}
	p.done.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.cut()
		p.done.Wait()
	})
	return p
}

func (p *proxy) accept() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.target)
		if err != nil {
			in.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, in, out)
		p.mu.Unlock()
		p.done.Go(func() { p.copy(out, in, requests) })
		p.done.Go(func() { p.copy(in, out, answers) })
	}
}

func (p *proxy) copy(to io.WriteCloser, from io.ReadCloser, w way) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if p.swallows(w) {
			continue
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) swallows(w way) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.swallow != w {
		return false
	}
	select {
	case <-p.swallowed:
	default:
		close(p.swallowed)
	}
	return true
}

// lose swallows from now on what goes that way.
func (p *proxy) lose(w way) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.swallow, p.swallowed = w, make(chan struct{})
	return p.swallowed
}

// cut ends all connections; new ones are whole.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.swallow = nothing
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

// tipMoves is closed when the journal's tip was written after the call.
func tipMoves(t *testing.T, direct *Journal) <-chan struct{} {
	ctx, cancel := context.WithCancel(testContext(t))
	changes := direct.client.Watch(ctx, direct.keys.tip(), clientv3.WithCreatedNotify())
	<-changes // it watches
	moved := make(chan struct{})
	go func() {
		defer cancel()
		<-changes
		close(moved)
	}()
	return moved
}

// TestConnectionCut: the connection breaks before the request arrived, and after etcd has done what it asks for.
func TestConnectionCut(t *testing.T) {
	for _, body := range []string{"small", large("cut")} {
		for _, lost := range []way{requests, answers} {
			c := config()
			direct := openTest(t, c)
			p := startProxy(t, c.Endpoints[0])
			c.Endpoints = []string{p.listener.Addr().String()}
			j := openTest(t, c)
			term, r := lead(t, j)
			appendTo(t, term, r, "2")

			moved := tipMoves(t, direct)
			arrived := p.lose(lost)
			done := make(chan error, 1)
			go func() {
				e, err := term.Append(testContext(t), []byte(body))
				*r = append(*r, e)
				done <- err
			}()
			if lost == answers && body == "small" {
				<-moved
			}
			<-arrived
			select {
			case err := <-done:
				t.Fatalf("append answered %v before its answer came", err)
			default:
			}
			p.cut()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			appendTo(t, term, r, "4")
			wantReplay(t, direct, *r)
		}
	}
}

// TestCutWhileNobodyWaits: ErrUnknown if the caller goes while the answer is lost, and the entry is there for the next leader.
func TestCutWhileNobodyWaits(t *testing.T) {
	c := config()
	direct := openTest(t, c)
	p := startProxy(t, c.Endpoints[0])
	c.Endpoints = []string{p.listener.Addr().String()}
	j := openTest(t, c)
	term, _ := lead(t, j)
	moved := tipMoves(t, direct)
	p.lose(answers)
	ctx, cancel := context.WithCancel(testContext(t))
	done := make(chan error, 1)
	go func() { _, err := term.Append(ctx, []byte("unknown")); done <- err }()
	<-moved
	cancel()
	if err := <-done; !errors.Is(err, journal.ErrUnknown) || !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	p.cut()
	if _, err := term.Append(testContext(t), []byte("another")); !errors.Is(err, journal.ErrFenced) {
		t.Fatal(err)
	}
	_, r := lead(t, j)
	if len(*r) != 3 || string((*r)[1].Body) != "unknown" {
		t.Fatalf("the next leader found %+v", *r)
	}
	wantReplay(t, direct, *r)
}
