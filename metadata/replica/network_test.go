package replica_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/replica"
)

// network connects the replicas of a cluster by name. A node is there, gone (connections are refused) or frozen (nothing is ever
// answered, and its own calls get nowhere), or it starts and answers nobody anything else; two nodes may be cut off from each other.
type network struct {
	mu       sync.Mutex
	nodes    map[string]*replica.Server
	frozen   map[string]chan struct{} // closed when it thaws
	cut      map[[2]string]bool
	starting map[string]bool
	pushed   map[[2]string]int                 // entries from one node to another
	calls    map[string]int                    // by "method from to"
	feeds    map[[2]string]*stream             // the newest from one node to another
	tamper   func(to string, e *journal.Entry) // nil: entries arrive as they were sent
}

func newNetwork() *network {
	return &network{
		nodes: map[string]*replica.Server{}, frozen: map[string]chan struct{}{}, cut: map[[2]string]bool{}, starting: map[string]bool{},
		pushed: map[[2]string]int{}, calls: map[string]int{}, feeds: map[[2]string]*stream{},
	}
}

var errBroken = errors.New("connection broken")

// wires is the network as one node sees it. It implements replica.Peers.
type wires struct {
	net  *network
	self string
}

func (w wires) dial(ctx context.Context, method, address string) (*replica.Server, error) {
	for {
		w.net.mu.Lock()
		w.net.calls[method+" "+w.self+" "+address]++
		s, ice, starting := w.net.nodes[address], w.net.frozen[address], w.net.starting[address]
		if ice == nil {
			ice = w.net.frozen[w.self]
		}
		lost := w.net.cut[[2]string{w.self, address}] || w.net.cut[[2]string{address, w.self}]
		w.net.mu.Unlock()
		switch {
		case lost:
			<-ctx.Done()
			return nil, context.Cause(ctx)
		case ice != nil:
			select {
			case <-ice:
				continue
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		case s == nil && starting:
			return nil, metadata.ErrUnavailable
		case s == nil:
			return nil, replica.ErrRefused
		}
		return s, nil
	}
}

// gone ends when the connection to address would break: it died, or it is cut off.
func (w wires) broken(address string) bool {
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	return w.net.nodes[address] == nil || w.net.nodes[w.self] == nil
}

func (w wires) Status(ctx context.Context, address string) (replica.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	s, err := w.dial(ctx, "status", address)
	if err != nil {
		return replica.Status{}, err
	}
	return s.Status(), nil
}

func (w wires) Propose(ctx context.Context, address string, p replica.Proposal) (replica.Proposed, error) {
	s, err := w.dial(ctx, "propose", address)
	if err != nil {
		return replica.Proposed{}, err
	}
	done, err := s.Propose(w.until(ctx, address), p)
	if err == nil || errors.Is(err, replica.ErrNotLeader) {
		if _, broken := w.dial(ctx, "answer", address); broken != nil {
			return replica.Proposed{}, errBroken
		}
	}
	return done, err
}

// until ends with ctx or with the peer.
func (w wires) until(ctx context.Context, address string) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-tick.C:
				if w.broken(address) {
					cancel(errBroken)
				}
			}
		}
	}()
	return ctx
}

func (w wires) Tip(ctx context.Context, address string, hops int) (uint64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := w.dial(ctx, "tip", address)
	if err != nil {
		return 0, err
	}
	return s.Tip(w.until(ctx, address), hops)
}

func (w wires) TakeOver(ctx context.Context, address string, term uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := w.dial(ctx, "takeover", address)
	if err != nil {
		return err
	}
	return s.TakeOver(w.until(ctx, address), term)
}

// stream is a Follow stream.
type stream struct {
	w       wires
	address string
	ctx     context.Context
	cancel  context.CancelFunc
	pushes  chan replica.Push
	beats   chan replica.Beat
}

func (w wires) Follow(ctx context.Context, address string, f replica.Follow) (replica.Feed, error) {
	s, err := w.dial(ctx, "follow", address)
	if err != nil {
		return nil, err
	}
	st := &stream{w: w, address: address, pushes: make(chan replica.Push, 16), beats: make(chan replica.Beat, 16)}
	ctx, stop := context.WithCancel(ctx)
	st.ctx, st.cancel = w.until(ctx, address), stop
	w.net.mu.Lock()
	w.net.feeds[[2]string{address, w.self}] = st
	w.net.mu.Unlock()
	go func() {
		defer stop()
		_ = s.Follow(st.ctx, f, func() (replica.Beat, error) {
			select {
			case b := <-st.beats:
				return b, nil
			case <-st.ctx.Done():
				return replica.Beat{}, st.ctx.Err()
			}
		}, func(p replica.Push) error {
			if _, err := w.dial(st.ctx, "push", address); err != nil {
				return err
			}
			if p.Entry != nil {
				w.net.mu.Lock()
				w.net.pushed[[2]string{address, w.self}]++
				if w.net.tamper != nil {
					e := *p.Entry
					w.net.tamper(w.self, &e)
					p.Entry = &e
				}
				w.net.mu.Unlock()
			}
			select {
			case st.pushes <- p:
				return nil
			case <-st.ctx.Done():
				return st.ctx.Err()
			}
		})
	}()
	return st, nil
}

func (s *stream) Send(b replica.Beat) error {
	if _, err := s.w.dial(s.ctx, "beat", s.address); err != nil {
		return err
	}
	select {
	case s.beats <- b:
		return nil
	case <-s.ctx.Done():
		return errBroken
	}
}

func (s *stream) Recv() (replica.Push, error) {
	select {
	case p := <-s.pushes:
		return p, nil
	case <-s.ctx.Done():
		return replica.Push{}, errBroken
	}
}

func (s *stream) Close() { s.cancel() }

// asked counts the calls of a method, by anybody of anybody.
func (n *network) asked(method string) (count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for call, times := range n.calls {
		if strings.HasPrefix(call, method+" ") {
			count += times
		}
	}
	return count
}
