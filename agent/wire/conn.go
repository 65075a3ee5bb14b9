package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/wire/answers"
	"github.com/leat-stream/leat/agent/wire/proxy"
	"github.com/leat-stream/leat/agent/wire/shape"
)

// conn is one client's connection. Two goroutines serve it: the reader, for its whole life, reads frames and begins requests;
// the answerer (answer.go), only while requests are in flight, finishes them in order and writes. While the answerer works
// the reader reads on, at most one frame ahead of what may begin: so the death of a client that waits for a long poll is
// seen at once.
type conn struct {
	s        *Server
	nc       net.Conn
	listener Listener
	id       uint64
	host     string // of the client; written by greet, before anybody else looks
	counted  bool   // in peers.perIP, guarded by Server.mu

	// ctx is the handlers': it ends when the connection dies. kill ends it and closes the socket, once.
	ctx  context.Context
	end  context.CancelFunc
	wake chan struct{} // capacity 1: the answerer tells the reader that something changed

	r    reading          // owned by the reader
	held *answers.Account // owned by the answerer, while it works

	mu       sync.Mutex // guards flight
	flight   flight
	answerer sync.WaitGroup
}

// reading is the reader's own state.
type reading struct {
	prefix   [sizeBytes + minFrameBytes]byte
	software Software
	trusted  int // bytes that a frame gets at once, because this client has sent a frame as long before
	habits   habits
	mark     uint64 // of the last frame that was waited for, at first of the connection
}

// flight is what reader and answerer share.
type flight struct {
	queue     []*entry // begun and not answered, in request order; at most MaxInFlight
	answering bool
	muted     time.Time // no request begins before (KIP-219)
	active    time.Time // when the last answer was written or the connection was accepted
	why       reason    // why it was killed; the first one counts
	cause     error
	draining  bool
	retire    retirement // when and why it is to go between requests
	waits     bool       // it goes when its client next asks for Metadata, if that is before retire.by
	waiting   bool       // the reader waits for a frame to begin
	lingering bool       // nothing is read or written any more; the client is to end its direction
	served    bool       // it was answered something other than ApiVersions
}

// entry is one request in flight.
type entry struct {
	header Header
	finish func() Response
	charge *charge
	begun  time.Time
}

// firstStep is how much of a frame is made room for before anything of it has arrived, mostTrusted the most that it gets at
// once on a client's good name; nextDeadline is how many bytes get one FrameTimeout or WriteTimeout. The reserve for frames
// of up to smallFrame bytes is Memory / reserveShare, that for answers Memory / answersShare, both on top of Memory.
const (
	firstStep    = 16 << 10
	smallFrame   = firstStep
	reserveShare = 16
	answersShare = 2
	mostTrusted  = 16 << 20
	nextDeadline = 1 << 20
)

// Ways for the reader to end without anyone's fault.
var (
	errIdle  = errors.New("idle")
	errDrain = errors.New("draining")
)

// run serves the connection until it ends, and returns when nothing of it is left running.
func (c *conn) run() {
	err := c.s.greet(c)
	if err == nil {
		err = c.read()
	}
	switch {
	case errors.Is(err, errDrain), errors.Is(err, errAged), errors.Is(err, errShed):
		c.settle()
		c.linger()
		c.kill(reasonOf(err), nil)
	case errors.Is(err, proxy.ErrHeader), errors.Is(err, errSlowProxy):
		c.s.complain(c, err)
		c.kill(reasonProxy, err)
	case isProtocolError(err): // the answers to what came before still go out
		c.settle()
		c.kill(reasonOf(err), err)
	default:
		c.kill(reasonOf(err), err)
	}
	c.answerer.Wait()
	c.mu.Lock()
	why, cause := c.flight.why, c.flight.cause
	c.mu.Unlock()
	c.s.metrics.closed.WithLabelValues(string(why)).Inc()
	c.s.log.Debug("connection closed", "conn", c.id, "host", c.host, "listener", c.listener.Name, "reason", string(why), "error", cause)
}

// read reads and begins requests until an error.
func (c *conn) read() error {
	for {
		ch := c.s.budget.newCharge()
		e, produce, begin, err := c.next(ch)
		if err == nil {
			err = c.admit(produce)
		}
		if err == nil {
			begin, err = part(c, e.header, begin)
		}
		if err != nil {
			ch.release()
			return err
		}
		if err := c.begin(e, begin); err != nil {
			ch.release()
			return err
		}
	}
}

// next reads one frame and makes a request of it that is ready to begin.
func (c *conn) next(ch *charge) (e *entry, produce bool, begin func() func() Response, err error) {
	frame, err := c.readFrame(ch)
	if err != nil {
		return nil, false, nil, err
	}
	c.s.metrics.received.Add(float64(sizeBytes + len(frame)))
	p, err := parseHeader(frame, c.s.versions)
	if err != nil {
		return nil, false, nil, err
	}
	e = &entry{header: p.Header, charge: ch}
	if p.refused {
		e.header.Version = 0
		resp := Response{Message: unsupportedApiVersions(c.s.versions)}
		return e, false, func() func() Response { return func() Response { return resp } }, nil
	}
	memory, err := p.shape.Check(p.Version, p.body)
	if err != nil {
		return nil, false, nil, err
	}
	if total := memory + int64(len(frame)); total > c.s.cfg.Memory {
		return nil, false, nil, fmt.Errorf("%w: decoding takes %d bytes", errFrameTooLong, total)
	}
	if err := c.grow(ch, memory); err != nil {
		return nil, false, nil, err
	}
	body, err := c.decode(p)
	if err != nil {
		return nil, false, nil, err
	}
	r := c.request(p, body)
	return e, p.Key == int16(kmsg.Produce), func() func() Response { return c.s.handler.Begin(c.ctx, r, body) }, nil
}

// decode guards kmsg's decoder: nothing from outside may end the process, even should the shape check miss something.
func (c *conn) decode(p parsed) (body kmsg.Request, err error) {
	defer func() {
		if v := recover(); v != nil {
			c.panicked(p.Header, v)
			err = fmt.Errorf("%w: decoder panicked", shape.ErrMalformed)
		}
	}()
	return decodeBody(p)
}

// request is what the handler learns.
func (c *conn) request(p parsed, body kmsg.Request) Request {
	if v, ok := body.(*kmsg.ApiVersionsRequest); ok && p.Version >= 3 &&
		plainSoftware(v.ClientSoftwareName) && plainSoftware(v.ClientSoftwareVersion) {
		c.r.software = Software{Name: v.ClientSoftwareName, Version: v.ClientSoftwareVersion}
	}
	return Request{
		Header:         p.Header,
		Principal:      Anonymous,
		ClientID:       p.clientID,
		Host:           c.host,
		Listener:       c.listener.Name,
		Zone:           c.s.cfg.zone(p.clientID, c.listener),
		ClientSoftware: c.r.software,
		Conn:           c.id,
		Mark:           c.r.mark,
		Memory:         c.held,
	}
}

// plainSoftware tells whether Kafka would take s as a client's software name or version (KIP-511): letters, digits, and
// between them also dots and hyphens. ApiVersions with another is for its handler to refuse.
func plainSoftware(s string) bool {
	if s == "" || len(s) > 256 {
		return false
	}
	for i := range len(s) {
		alnum := s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'z' || s[i] >= 'A' && s[i] <= 'Z'
		if edge := i == 0 || i == len(s)-1; !alnum && (edge || s[i] != '.' && s[i] != '-') {
			return false
		}
	}
	return true
}

// admit waits until the next request may begin: a Produce when only Produce requests are before it and there is room, any
// other when nothing is before it; neither while the connection is muted.
func (c *conn) admit(produce bool) error {
	for {
		wait, err := c.mayBegin(produce)
		if err != nil || wait == 0 {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-c.wake:
		case <-timer.C:
		case <-c.s.stopping:
			c.drain()
		case <-c.ctx.Done():
		}
		timer.Stop()
	}
}

// forever is longer than any wait; what is waited for comes by a channel.
const forever = time.Hour

func (c *conn) mayBegin(produce bool) (time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &c.flight
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	if f.draining {
		return 0, errDrain
	}
	if muted := time.Until(f.muted); muted > 0 {
		return muted, nil
	}
	if n := len(f.queue); n > 0 && (!produce || n >= c.s.cfg.MaxInFlight || f.queue[n-1].header.Key != int16(kmsg.Produce)) {
		return forever, nil
	}
	return 0, nil
}

// begin starts the request and hands it to the answerer.
func (c *conn) begin(e *entry, begin func() func() Response) (err error) {
	e.begun = time.Now()
	defer func() {
		if v := recover(); v != nil {
			c.panicked(e.header, v)
			err = errPanic
		}
	}()
	if e.finish = begin(); e.finish == nil {
		return fmt.Errorf("%w: no way to finish %s", errPanic, shape.Name(e.header.Key))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flight.queue = append(c.flight.queue, e)
	if !c.flight.answering {
		c.flight.answering = true
		c.answerer.Go(c.answer)
	}
	return nil
}

// settle waits until all that has begun is answered or the connection is dead.
func (c *conn) settle() {
	for {
		c.mu.Lock()
		n := len(c.flight.queue)
		c.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-c.wake:
		case <-c.ctx.Done():
			return
		}
	}
}

// kill ends the connection: the handlers' context, the socket, and with it reader and answerer. The first call tells why.
func (c *conn) kill(why reason, cause error) {
	c.mu.Lock()
	if c.flight.why == "" {
		c.flight.why, c.flight.cause = why, cause
	}
	c.mu.Unlock()
	c.end()
	_ = c.nc.Close() // an error leaves nothing to do: the descriptor is gone either way
}

// drain makes the reader stop at the next frame boundary, at once if it waits for one.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flight.draining = true
	if c.flight.lingering {
		return
	}
	_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection, which is drained
}

func (c *conn) panicked(h Header, v any) {
	c.s.metrics.panics.Inc()
	c.s.log.Error("panic while serving a request", "api", shape.Name(h.Key), "version", h.Version, "conn", c.id,
		"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
}

var errPanic = errors.New("handler failed")

func isProtocolError(err error) bool {
	for _, e := range []error{errFrameTooLong, errBadSize, errBadHeader, errUnsupported, shape.ErrMalformed} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// reasonOf sorts the reader's errors.
func reasonOf(err error) reason {
	switch {
	case errors.Is(err, errIdle):
		return reasonIdle
	case errors.Is(err, errDrain):
		return reasonDrain
	case errors.Is(err, errAged):
		return reasonAge
	case errors.Is(err, errShed):
		return reasonShed
	case errors.Is(err, errFrameTooLong):
		return reasonTooLong
	case errors.Is(err, errUnsupported):
		return reasonUnsupported
	case isProtocolError(err):
		return reasonMalformed
	case errors.Is(err, errPanic):
		return reasonPanic
	case errors.Is(err, errNoMemory):
		return reasonMemory
	case errors.Is(err, errSlow):
		return reasonSlow
	case errors.Is(err, errManyFromIP):
		return reasonLimitIP
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return reasonClient
	}
	return reasonNetwork
}
