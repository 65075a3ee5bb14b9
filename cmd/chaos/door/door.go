// Package door is a way to an agent's peer port on which a network's troubles can be put, by the agent that connects. It is for
// the chaos run, and must never say more to either side than a network would.
package door

import (
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Stranger stands for whoever connects and is none of the agents.
const Stranger = -1

// The directions of a connection, as seen by the agent that opened it.
const (
	There = iota
	Back
)

// Trouble is what connections from one agent to another suffer. Several faults add up.
type Trouble struct {
	Resets int           // faults that end them, and every new one
	Holds  [2]int        // faults that let nothing through, by direction; what is held comes late, not never
	Delay  time.Duration // of what goes either way: at least this, at most 2.5 times as much
}

// Lost is what connections suffer through which nothing comes.
var Lost = Trouble{Holds: [2]int{There: 1, Back: 1}}

// plus answers what is suffered when more comes on top times times; -1 takes it away again.
func (t Trouble) plus(more Trouble, times int) Trouble {
	t.Resets += times * more.Resets
	t.Holds[There] += times * more.Holds[There]
	t.Holds[Back] += times * more.Holds[Back]
	t.Delay += time.Duration(times) * more.Delay
	return t
}

// Door stands before the peer port of one agent: other agents ─► door ─► agent. It asks who connects, so that each agent's
// way to each other one can be troubled by itself. It does what a network does: what is held is delivered when the hold ends, the end
// of a connection included, so that nobody learns of anything earlier. It is open while the agent listens, and refuses
// connections otherwise, as the agent's own port would. It is safe for concurrent use.
type Door struct {
	address string // which other agents are told
	target  string // where the agent listens
	caller  func(net.Conn) int
	running sync.WaitGroup

	connections, strangers atomic.Int64 // counted

	mu       sync.Mutex
	listener net.Listener    // nil while closed
	life     int             // of the agent: grows with each process
	alive    bool            // the agent listens
	closures int             // faults that keep the door closed
	troubles map[int]Trouble // by who connects
	changed  chan struct{}   // closed when troubles change
	passages map[*passage]struct{}
}

// passage is one connection through a door.
type passage struct {
	from  int
	once  sync.Once
	ended chan struct{} // closed when both sides are to be reset
}

func (p *passage) end() { p.once.Do(func() { close(p.ended) }) }

// New makes a closed door at address before target; caller answers the number of the agent at the other end of a connection, or Stranger.
func New(address, target string, caller func(net.Conn) int) *Door {
	return &Door{
		address: address, target: target, caller: caller,
		troubles: map[int]Trouble{}, changed: make(chan struct{}), passages: map[*passage]struct{}{},
	}
}

// Address is where other agents find the door, host:port.
func (d *Door) Address() string { return d.address }

// Counts answers how many connections there were, and how many of them were a stranger's.
func (d *Door) Counts() (connections, strangers int) {
	return int(d.connections.Load()), int(d.strangers.Load())
}

// Suffered answers what connections suffer now, by the agent that they are from.
func (d *Door) Suffered() map[int]Trouble {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.troubles)
}

// Attend opens the door as soon as a process listens behind it, and closes it when that has exited.
func (d *Door) Attend(exited <-chan struct{}) error {
	d.mu.Lock()
	d.life++
	life := d.life
	d.mu.Unlock()
	err := d.await(exited, life)
	<-exited
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.life == life { // else another process is behind it already
		d.alive = false
		_ = d.adjust() // which only closes
	}
	return err
}

func (d *Door) await(exited <-chan struct{}, life int) error {
	for {
		if connection, err := net.Dial("tcp", d.target); err == nil {
			_ = connection.Close()
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.life != life {
				return nil
			}
			d.alive = true
			return d.adjust()
		}
		select {
		case <-exited:
			return nil
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// adjust opens or closes the door, as is right. mu is held.
func (d *Door) adjust() error {
	open := d.alive && d.closures == 0
	switch {
	case open && d.listener == nil:
		l, err := net.Listen("tcp", d.address)
		if err != nil {
			return err
		}
		d.listener = l
		d.running.Go(func() { d.admit(l) })
	case !open && d.listener != nil:
		_ = d.listener.Close()
		d.listener = nil
	}
	return nil
}

// Shut keeps the door closed and resets what goes through it, or takes that back.
func (d *Door) Shut(on bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !on {
		d.closures--
		return d.adjust()
	}
	d.closures++
	for p := range d.passages {
		p.end()
	}
	return d.adjust()
}

// Suffer puts trouble on what comes from one agent, times times; -1 takes it away again.
func (d *Door) Suffer(from int, t Trouble, times int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.troubles[from].plus(t, times)
	d.troubles[from] = now
	for p := range d.passages {
		if p.from == from && now.Resets > 0 {
			p.end()
		}
	}
	close(d.changed)
	d.changed = make(chan struct{})
}

// Close ends everything; the agent has exited before.
func (d *Door) Close() {
	d.mu.Lock()
	for p := range d.passages {
		p.end()
	}
	d.mu.Unlock()
	d.running.Wait()
}

func (d *Door) admit(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil { // closed
			return
		}
		d.running.Go(func() { d.carry(c.(*net.TCPConn)) })
	}
}

// enter answers the passage of a new connection, or nil if there is no way through.
func (d *Door) enter(from int) *passage {
	p := &passage{from: from, ended: make(chan struct{})}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listener == nil || d.troubles[from].Resets > 0 {
		return nil
	}
	d.passages[p] = struct{}{}
	return p
}

// carry moves bytes between whoever connected and the agent until either is done with it.
func (d *Door) carry(c *net.TCPConn) {
	defer reset(c)
	from := d.caller(c)
	d.connections.Add(1)
	if from == Stranger {
		d.strangers.Add(1)
	}
	p := d.enter(from)
	if p == nil {
		return
	}
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.passages, p)
	}()
	if !d.pass(p, There, time.Now()) {
		return
	}
	dialled, err := net.Dial("tcp", d.target)
	if err != nil { // the agent has just gone
		return
	}
	agent := dialled.(*net.TCPConn)
	defer reset(agent)
	var pumps sync.WaitGroup
	for direction, ends := range [2][2]*net.TCPConn{There: {c, agent}, Back: {agent, c}} {
		queue := make(chan piece, maxPieces)
		pumps.Go(func() { d.read(p, ends[0], queue) })
		pumps.Go(func() { d.write(p, direction, queue, ends[1]) })
	}
	done := make(chan struct{})
	go func() { // owned by this call, which waits for it
		pumps.Wait()
		close(done)
	}()
	select {
	case <-done:
		_ = c.Close()
		_ = agent.Close()
	case <-p.ended:
		reset(c)
		reset(agent)
		<-done
	}
}

// reset closes a connection so that the other end gets an RST. It does nothing to one that is closed.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// A connection Holds at most maxPieces of maxPiece bytes in either direction; then it is not read, as if the network were full.
const (
	maxPieces = 64
	maxPiece  = 64 << 10
)

// piece is bytes on their way, or the end of what one side sends.
type piece struct {
	bytes []byte
	err   error // io.EOF: that side is done; any other: its connection is gone
	due   time.Time
}

// read queues what comes from one side.
func (d *Door) read(p *passage, from io.Reader, queue chan<- piece) {
	defer close(queue)
	buffer := make([]byte, maxPiece)
	for {
		n, err := from.Read(buffer)
		next := piece{bytes: append([]byte(nil), buffer[:n]...), err: err, due: time.Now()}
		d.mu.Lock()
		if delay := d.troubles[p.from].Delay; delay > 0 {
			next.due = next.due.Add(delay + rand.N(delay*3/2))
		}
		d.mu.Unlock()
		select {
		case queue <- next:
		case <-p.ended:
			return
		}
		if err != nil {
			return
		}
	}
}

// write delivers what was queued for one side.
func (d *Door) write(p *passage, direction int, queue <-chan piece, to *net.TCPConn) {
	for next := range queue {
		if !d.pass(p, direction, next.due) {
			return
		}
		_, err := to.Write(next.bytes)
		if err == nil && errors.Is(next.err, io.EOF) {
			err = to.CloseWrite()
		}
		switch {
		case err != nil: // that side is gone, which the other one learns as soon as anything gets there
			if d.pass(p, 1-direction, time.Now()) {
				p.end()
			}
			return
		case next.err != nil && !errors.Is(next.err, io.EOF):
			p.end()
			return
		}
	}
}

// pass waits until something that is due goes through in a direction; false: the passage has ended.
func (d *Door) pass(p *passage, direction int, due time.Time) bool {
	for {
		d.mu.Lock()
		held, changed := d.troubles[p.from].Holds[direction] > 0, d.changed
		d.mu.Unlock()
		var late <-chan time.Time
		if !held {
			rest := time.Until(due)
			if rest <= 0 {
				return true
			}
			late = time.After(rest)
		}
		select {
		case <-late:
		case <-changed:
		case <-p.ended:
			return false
		}
	}
}
