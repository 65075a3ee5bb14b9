package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/leat-stream/leat/agent/api"
	"github.com/leat-stream/leat/agent/chunks"
	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/cache"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/replica"
)

var (
	errBroken  = errors.New("connection broken")
	errRefused = fmt.Errorf("%w: %w", replica.ErrRefused, metadata.ErrNotApplied)
	// errLostRequest comes to whoever used a connection that broke: as for agent/peer, what became of the call is unknown.
	errLostRequest = fmt.Errorf("%w: %w", errBroken, metadata.ErrUnknown)
)

// end is where a message comes from or goes to: an agent's process, or a client, which never fails.
type end struct {
	name string
	host *host
	l    *life // nil: a client
}

func (l *life) end() end        { return end{l.name, l.host, l} }
func clientEnd(name string) end { return end{name: name} }
func (e end) held() (hold time.Duration) {
	if e.host == nil || e.l != nil && e.l.dead.Load() {
		return 0
	}
	return e.host.held()
}
func (e end) dead() bool { return e.l != nil && e.l.dead.Load() }

// cable is the way from one host to another.
type cable struct{ from, to string }

func (w *world) cable(from, to end) cable {
	c := cable{from: from.name, to: to.name}
	if from.host != nil {
		c.from = from.host.name
	}
	if to.host != nil {
		c.to = to.host.name
	}
	return c
}

// delivery is a message on its way.
type delivery struct {
	from, to  end
	what      string
	breakable bool            // it may get lost, and its sender notices
	deliver   func() bool     // false: not now
	fail      func(err error) // the connection broke
	lies      func()          // if not nil: it has come to a process that stands still, and waits to be read
}

// send submits a message. It is held while either end is paused, and while the cable is cut: until that mends, or the
// connection is given up.
func (w *world) send(d delivery) {
	lost := false
	st := &step{who: d.from.name, what: d.what + " to " + d.to.name}
	st.decide = func(r *rand.Rand) time.Duration {
		after := w.cfg.netDelay(r)
		if !w.faulty {
			return after
		}
		if d.breakable && chance(r, w.cfg.netFaults) {
			lost = true
			w.count("message lost")
			st.what += " [lost]"
			return after
		}
		if chance(r, w.cfg.slow) {
			after += time.Duration(r.Int64N(int64(6 * time.Second)))
			w.count("message slow")
		}
		return after
	}
	st.run = func() time.Duration {
		if d.from.dead() {
			d.fail(errLostRequest)
			return 0
		}
		if hold := max(d.from.held(), d.to.held()); hold > 0 {
			if d.lies != nil && d.to.held() > 0 {
				d.lies()
			}
			return hold
		}
		if until := w.cuts[w.cable(d.from, d.to)]; until.After(time.Now()) {
			if d.breakable && chance(st.rng, 0.2) {
				st.what += " [cut]"
				d.fail(errLostRequest)
				return 0
			}
			return min(time.Until(until), time.Second+time.Duration(st.rng.Int64N(int64(time.Second))))
		}
		if lost {
			d.fail(errLostRequest)
			return 0
		}
		if !d.deliver() {
			return 10 * time.Millisecond
		}
		return 0
	}
	w.s.submit(st)
}

// markKey is, in the context of a call that is served, what the process had applied when the call came, if it lay unread since; else 0.
type markKey struct{}

// commitsOffsets is a request that is not delivered any more once its sender has given it up: the connection ended with it. If it
// came all the same, nobody could tell that it is older than what the client committed elsewhere meanwhile, nor can Kafka. One that
// lies unread at a process that stands still is another matter.
const commitsOffsets = "OffsetCommit"

// call asks the process at address, and waits for its answer. ready tells whether that process answers such calls yet.
func call[T any](
	ctx context.Context, w *world, from end, address, what string, ready func(*life) bool, serve func(context.Context, *life) (T, error),
) (T, error) {
	var none T
	if from.dead() {
		return none, errCrashed
	}
	h := w.hosts[address]
	if h == nil {
		return none, errRefused
	}
	r := newReply[T]()
	fail := func(err error) { r.give(none, err) }
	var mark uint64
	var at *life // in whose socket it lies
	lies := func() {
		if l := h.life; at == nil && l != nil && l.clientsUp.Load() {
			at, mark = l, l.groups.Accepted()
		}
	}
	w.send(delivery{from: from, to: end{name: address, host: h}, what: what, breakable: true, fail: fail, lies: lies, deliver: func() bool {
		l := h.life
		switch {
		case at != nil && at != l:
			fail(errLostRequest)
			return true
		case at == nil && ctx.Err() != nil && what == commitsOffsets:
			return true
		}
		if l == nil || l.dead.Load() || !ready(l) {
			w.send(delivery{from: end{name: address, host: h}, to: from, what: "refuses " + what, fail: fail, deliver: func() bool {
				fail(errRefused)
				return true
			}})
			return true
		}
		serving, stop := context.WithCancel(context.WithValue(l.ctx, markKey{}, mark))
		caller := context.AfterFunc(ctx, func() { // the other end hears of it, a little later
			w.send(delivery{from: from, to: l.end(), what: "cancels " + what, fail: func(error) { stop() }, deliver: func() bool { stop(); return true }})
		})
		l.parts.Go(func() {
			v, err := serve(serving, l)
			caller()
			w.send(delivery{from: l.end(), to: from, what: "answers " + what, breakable: true, deliver: func() bool {
				r.give(v, err)
				stop()
				return true
			}, fail: func(err error) {
				fail(err)
				stop()
			}})
		})
		return true
	}})
	v, err := r.wait(ctx)
	if err != nil && from.dead() {
		err = fmt.Errorf("%w: %w", errCrashed, err)
	}
	return v, err
}

func answersPeers(l *life) bool   { return l.peersUp.Load() }
func answersClients(l *life) bool { return l.clientsUp.Load() }

// wires is the network between agents as one process sees it. It implements replica.Peers, chunks.Peer and api.Forwarder.
type wires struct {
	w *world
	l *life
}

var (
	_ replica.Peers = wires{}
	_ chunks.Peer   = wires{}
	_ api.Forwarder = wires{}
)

const statusPatience = 500*time.Millisecond + 1009*time.Nanosecond

// Status implements replica.Peers.
func (n wires) Status(ctx context.Context, address string) (replica.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	return call(ctx, n.w, n.l.end(), address, "Status", answersPeers, func(_ context.Context, l *life) (replica.Status, error) {
		return l.replica.Server().Status(), nil
	})
}

// Propose implements replica.Peers.
func (n wires) Propose(ctx context.Context, address string, p replica.Proposal) (replica.Proposed, error) {
	return call(ctx, n.w, n.l.end(), address, fmt.Sprintf("Propose(%d)", len(p.Commands)), answersPeers,
		func(ctx context.Context, l *life) (replica.Proposed, error) {
			return l.replica.Server().Propose(ctx, p)
		})
}

// Tip implements replica.Peers.
func (n wires) Tip(ctx context.Context, address string, hops int) (uint64, error) {
	return call(ctx, n.w, n.l.end(), address, "Tip", answersPeers, func(ctx context.Context, l *life) (uint64, error) {
		return l.replica.Server().Tip(ctx, hops)
	})
}

// TakeOver implements replica.Peers.
func (n wires) TakeOver(ctx context.Context, address string, term uint64) error {
	_, err := call(ctx, n.w, n.l.end(), address, "TakeOver", answersPeers, func(ctx context.Context, l *life) (struct{}, error) {
		return struct{}{}, l.replica.Server().TakeOver(ctx, term)
	})
	return err
}

// stream is a Follow stream. ctx is the follower's end of it, and ends first there.
type stream struct {
	n        wires
	from, to end // follower, upstream
	ctx      context.Context
	stop     context.CancelCauseFunc
	pushes   chan replica.Push
	beats    chan replica.Beat
}

const streamWindow = 64

// Follow implements replica.Peers.
func (n wires) Follow(ctx context.Context, address string, f replica.Follow) (replica.Feed, error) {
	st := &stream{n: n, from: n.l.end(), pushes: make(chan replica.Push, streamWindow), beats: make(chan replica.Beat, streamWindow)}
	st.ctx, st.stop = context.WithCancelCause(n.l.ctx)
	to, err := call(ctx, n.w, n.l.end(), address, fmt.Sprintf("Follow(%d)", f.From), answersPeers, func(_ context.Context, l *life) (end, error) {
		st.serve(l, f)
		return l.end(), nil
	})
	if err != nil {
		st.Close()
		return nil, err
	}
	st.to = to
	context.AfterFunc(ctx, st.Close)
	return st, nil
}

// serve runs the upstream's side until either end is gone.
func (st *stream) serve(l *life, f replica.Follow) {
	w, to := st.n.w, l.end()
	serving, stop := context.WithCancelCause(l.ctx)
	context.AfterFunc(st.ctx, func() { // the upstream hears of it a little later
		w.send(delivery{from: st.from, to: to, what: "ends stream", fail: func(err error) { stop(err) }, deliver: func() bool {
			stop(errBroken)
			return true
		}})
	})
	context.AfterFunc(serving, func() {
		w.send(delivery{from: to, to: st.from, what: "ends feed", fail: func(err error) { st.stop(err) }, deliver: func() bool {
			st.stop(errBroken)
			return true
		}})
	})
	beats := func() (replica.Beat, error) {
		select {
		case b := <-st.beats:
			if serving.Err() == nil {
				return b, nil
			}
		case <-serving.Done():
		}
		return replica.Beat{}, errBroken
	}
	push := func(p replica.Push) error {
		what := "beat"
		if p.Entry != nil {
			what = fmt.Sprintf("pushes %d", p.Entry.Index)
		}
		r := newReply[struct{}]()
		w.send(delivery{from: to, to: st.from, what: what, breakable: true, deliver: func() bool {
			if st.ctx.Err() != nil {
				r.give(struct{}{}, errBroken)
				return true
			}
			select {
			case st.pushes <- p:
				r.give(struct{}{}, nil)
				return true
			default:
				return false
			}
		}, fail: func(err error) {
			stop(err)
			st.stop(err)
			r.give(struct{}{}, err)
		}})
		_, err := r.wait(serving)
		return err
	}
	l.parts.Go(func() {
		err := l.replica.Server().Follow(serving, f, beats, push)
		stop(err)
	})
}

// Send implements replica.Feed.
func (st *stream) Send(b replica.Beat) error {
	r := newReply[struct{}]()
	st.n.w.send(delivery{from: st.from, to: st.to, what: "alive", breakable: true, deliver: func() bool {
		select {
		case st.beats <- b:
			r.give(struct{}{}, nil)
			return true
		default:
			return st.ctx.Err() != nil
		}
	}, fail: func(err error) {
		st.stop(err)
		r.give(struct{}{}, err)
	}})
	_, err := r.wait(st.ctx)
	return err
}

// Recv implements replica.Feed.
func (st *stream) Recv() (replica.Push, error) {
	select {
	case p := <-st.pushes:
		if st.ctx.Err() == nil {
			return p, nil
		}
	case <-st.ctx.Done():
	}
	return replica.Push{}, errBroken
}

// Close implements replica.Feed.
func (st *stream) Close() { st.stop(context.Canceled) }

// Chunk implements chunks.Peer.
func (n wires) Chunk(ctx context.Context, address, key string, size, off, length int64, class cache.Class) (io.ReadCloser, error) {
	data, err := call(ctx, n.w, n.l.end(), address, "Chunk "+n.w.canonical(key), answersPeers, func(ctx context.Context, l *life) ([]byte, error) {
		var data []byte
		err := l.chunks.Serve(ctx, key, size, off, length, class, func(parts [][]byte) error {
			data = bytes.Join(parts, nil)
			return nil
		})
		return data, err
	})
	return io.NopCloser(bytes.NewReader(data)), err
}

// Reach implements api.Forwarder. A member that waits for one that was cut off waits here until the cable is mended: all of them would be told
// at once, and the order in which they go on would not be the seed's.
func (n wires) Reach(context.Context, string) error { return nil }

// Forward implements api.Forwarder.
func (n wires) Forward(ctx context.Context, address string, r wire.Request, body []byte) ([]byte, error) {
	r.ForwardedBy = n.l.name
	return call(ctx, n.w, n.l.end(), address, fmt.Sprintf("Forward(%d)", r.Key), answersClients, func(ctx context.Context, l *life) ([]byte, error) {
		return l.api.ServeForwarded(ctx, r, body)
	})
}
