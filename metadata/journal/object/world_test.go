package object

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"iter"
	"slices"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/objectstore"
)

// A world is one execution of a few processes over one bucket, each step of which is chosen from outside. The processes run the
// real driver, as coroutines: a process goes on until it is about to send a request (or has nothing to do), and then waits
// for somebody to choose what becomes of it. So an execution is nothing but the list of choices, and can be played again.
type world struct {
	budget
	off   string // the rule that is switched off
	procs []*proc

	slots  [maxSlots + 1][]byte // what the bucket holds; nil: 404
	truth  [][]byte             // truth[i-1] is what slot i held first: what is committed
	head   []byte               // nil: lost
	bound  uint64               // the newest boundary that head held
	flight []request            // PUTs and DELETEs that were given up and may still land, in any order, or never
	denied [][]byte             // bodies of which ErrFenced was said
	trace  []string             // what was done, if wanted
	wrong  string               // the first invariant that does not hold
}

const maxSlots = 12

// budget bounds an execution: how many of each may happen. The last three are for each process.
type budget struct {
	appends, trims            int
	lost, late, crash, giveUp int // answers lost; requests that land late or twice; crashes; contexts that end
	headLoss                  int
	reads, leads, tips        int
}

// request is what a process waits with, or what is under way in flight.
type request struct {
	kind  kind
	slot  uint64   // 0 is head
	body  []byte   // PUT
	match string   // PUT of head: the version that must be there
	slots []uint64 // DELETE
}

type kind byte

const (
	reqIdle kind = iota
	reqGet
	reqPut
	reqDelete
	reqPause // between two attempts
)

// choice is one step.
type choice struct {
	what act
	proc int
	arg  int
}

type act byte

const (
	answer  act = iota // the request is carried out and answered; a pause ends
	lose               // it is carried out, the answer is lost
	delay              // it is reported failed, and lands later or never
	double             // it is carried out and answered, and a copy lands later or never
	crash              // the process dies; its request, if any, is never sent
	crashed            // the process dies; its request lands later or never
	giveUp             // its context ends
	land               // what is in flight lands
	dropHead
	doRead
	doLead
	doAppend
	doTip
	doTrim
	doReload
)

var errFault = errors.New("the answer is lost")

// proc is one process. What the driver does runs in next; everything is touched by one goroutine at a time.
type proc struct {
	w    *world
	id   int
	j    *Journal
	term journal.Term
	next func() (struct{}, bool)
	stop func()

	yield   func(struct{}) bool
	pending request
	command act   // for a process that was idle
	err     error // the answer to pending

	applied uint64 // it has applied exactly truth[:applied], or the world is wrong
	alive   bool   // term has not ended
	reload  bool
	left    budget // reads, leads, tips
	sent    int    // commands composed, over all restarts
	led     int    // fences composed, over all restarts
	call    act    // under way
	heard   []byte // all that the call under way began with and was answered
	begun   int    // len(truth) when it began
	known   []byte // with rule J4 off: the fence id that is used again
}

// newWorld answers a world in which process 0 leads with its fence in slot 1, and all have applied it.
func newWorld(n int, b budget, off string) *world {
	w := &world{budget: b, off: off}
	h := journal.Head{Format: journal.Level, Driver: journal.DriverObject, Cluster: [16]byte{1}}
	w.head = journal.EncodeHead(h)
	for id := range n {
		p := &proc{w: w, id: id, left: b}
		w.procs = append(w.procs, p)
		p.start()
	}
	p := w.procs[0]
	fence := journal.Entry{Index: 1, Kind: journal.KindFence, Term: p.termID()}
	first, _ := journal.EncodeEntry(h.Cluster, fence)
	w.place(1, first)
	for _, p := range w.procs {
		p.applied = 1
	}
	t := &term{journal: p.j, fence: fence, last: 1}
	p.term, p.alive, p.j.term = t, true, t
	return w
}

// start begins a process that knows nothing.
func (p *proc) start() {
	keys, _ := objectstore.NewKeys("c")
	p.j = &Journal{
		store: procStore{p}, keys: keys, cluster: [16]byte{1}, prefetch: 1, newTerm: p.termID, tips: make(map[uint64]*tipAt),
		pause: func(context.Context, int) error { return p.wait(request{kind: reqPause}) },
	}
	p.term, p.alive, p.applied, p.call = nil, false, 0, 0
	p.next, p.stop = iter.Pull(func(yield func(struct{}) bool) {
		defer func() {
			if r := recover(); r != nil && r != any(errFault) {
				panic(r)
			}
		}()
		p.yield = yield
		for {
			p.wait(request{kind: reqIdle})
			p.run()
		}
	})
	p.next()
}

// wait stops the process until somebody chooses what happens to r. A crash unwinds it.
func (p *proc) wait(r request) error {
	p.pending, p.err = r, nil
	if !p.yield(struct{}{}) {
		panic(errFault)
	}
	return p.err
}

func (p *proc) termID() journal.TermID {
	if p.w.off == "J4 fresh id" && p.known != nil {
		return journal.TermID(p.known)
	}
	p.led++
	id := journal.TermID{byte(p.id + 1), byte(p.led)}
	p.known = id[:]
	return id
}

// close ends the coroutines.
func (w *world) close() {
	for _, p := range w.procs {
		p.stop()
	}
}

func (w *world) fail(format string, args ...any) {
	if w.wrong == "" {
		w.wrong = fmt.Sprintf(format, args...)
	}
}

// place carries out a PUT of a slot. What a slot holds first is committed.
func (w *world) place(slot uint64, b []byte) bool {
	if w.slots[slot] != nil {
		return false
	}
	w.slots[slot] = b
	switch n := uint64(len(w.truth)); {
	case slot == n+1:
		w.truth = append(w.truth, b)
		for _, body := range w.denied {
			if bytes.Equal(body, b) {
				w.fail("entry %d was committed after ErrFenced was said of it", slot)
			}
		}
	case slot > n+1:
		w.fail("slot %d was filled, and slot %d never was", slot, n+1)
	}
	return true
}

// carryOut does in the bucket what r asks for.
func (w *world) carryOut(r request) error {
	switch {
	case r.kind == reqDelete:
		for _, slot := range r.slots {
			w.slots[slot] = nil
		}
	case r.kind == reqPut && r.slot > 0:
		if !w.place(r.slot, r.body) {
			return objectstore.ErrLost
		}
	case r.kind == reqPut:
		if w.head == nil || string(w.head) != r.match {
			return objectstore.ErrLost
		}
		w.head = r.body
		h, _ := journal.DecodeHead(w.head)
		w.bound = max(w.bound, h.Boundary)
	}
	// Whatever happened, what is committed is in its slot or below a boundary that a readable snapshot covers.
	for i, b := range w.truth {
		if slot := uint64(i + 1); slot >= w.bound && !bytes.Equal(w.slots[slot], b) {
			w.fail("committed entry %d is lost: the boundary is %d", slot, w.bound)
		}
	}
	return nil
}

// choices answers the steps that are possible now, always in the same order.
func (w *world) choices() (all []choice) {
	add := func(possible bool, what act, p, arg int) {
		if possible {
			all = append(all, choice{what, p, arg})
		}
	}
	for i, p := range w.procs {
		k := p.pending.kind
		if k == reqIdle {
			add(p.reload, doReload, i, 0)
			ready := !p.reload
			add(ready && p.left.reads > 0, doRead, i, 0)
			add(ready && p.alive && w.appends > 0, doAppend, i, 0)
			add(ready && !p.alive && p.left.leads > 0, doLead, i, 0)
			add(ready && p.left.tips > 0, doTip, i, 0)
			add(ready && w.trims > 0 && p.applied+1 > w.bound, doTrim, i, 0)
			add(w.crash > 0 && (p.applied > 0 || p.alive), crash, i, 0)
			continue
		}
		add(true, answer, i, 0)
		add(k == reqPut && w.lost > 0, lose, i, 0)
		add((k == reqPut || k == reqDelete) && w.late > 0, delay, i, 0)
		add(k == reqPut && w.late > 0, double, i, 0)
		add(k == reqPause && w.giveUp > 0, giveUp, i, 0)
		add(w.crash > 0, crash, i, 0)
		add((k == reqPut || k == reqDelete) && w.crash > 0 && w.late > 0, crashed, i, 0)
	}
	for i := range w.flight {
		add(true, land, 0, i)
	}
	add(w.headLoss > 0 && w.head != nil, dropHead, 0, 0)
	return all
}

// step does what was chosen.
func (w *world) step(c choice) {
	p := w.procs[c.proc]
	r := p.pending
	if w.trace != nil {
		w.trace = append(w.trace, w.describe(c))
	}
	switch c.what {
	case answer:
		p.resume(w.carryOut(r))
	case lose:
		w.lost--
		w.carryOut(r)
		p.resume(errFault)
	case delay:
		w.late--
		w.flight = append(w.flight, r)
		p.resume(errFault)
	case double:
		w.late--
		w.flight = append(w.flight, r)
		p.resume(w.carryOut(r))
	case giveUp:
		w.giveUp--
		p.resume(context.DeadlineExceeded)
	case crash, crashed:
		w.crash--
		if c.what == crashed {
			w.late--
			w.flight = append(w.flight, r)
		}
		p.stop()
		p.start()
		p.reload = true
	case land:
		r := w.flight[c.arg]
		w.flight = slices.Delete(slices.Clone(w.flight), c.arg, c.arg+1)
		w.carryOut(r)
	case dropHead:
		w.headLoss--
		w.head = nil
	default:
		p.command, p.call, p.begun = c.what, c.what, len(w.truth)
		p.heard = append(p.heard[:0], byte(c.what), byte(p.begun))
		p.resume(nil)
	}
}

// resume lets the process go on with an answer. What it hears is all that the driver can know.
func (p *proc) resume(err error) {
	switch {
	case err == errFault || err == context.DeadlineExceeded:
		p.heard = append(p.heard, 'f')
	case err != nil:
		p.heard = append(p.heard, 'l')
	default:
		p.heard = append(p.heard, 'o')
	}
	p.err = err
	p.next()
}

// describe tells a step in words.
func (w *world) describe(c choice) string {
	names := [...]string{"is answered", "lands, answer lost", "fails, may land later", "is answered, may land again", "crashes", "crashes, may land later",
		"gives up", "lands", "head is lost", "reads", "leads", "appends", "asks for the tip", "trims", "reloads"}
	r := w.procs[c.proc].pending
	if c.what == land {
		r = w.flight[c.arg]
	}
	text := map[kind]string{reqGet: "GET", reqPut: "PUT", reqDelete: "DELETE", reqPause: "pause"}[r.kind]
	if r.kind == reqGet || r.kind == reqPut {
		text += fmt.Sprint(" ", r.slot)
	} else if r.kind == reqDelete {
		text += fmt.Sprint(" ", r.slots)
	}
	if c.what == land || c.what == dropHead {
		return text + " " + names[c.what]
	}
	return fmt.Sprintf("p%d %s %s", c.proc, text, names[c.what])
}

// hash tells worlds apart whose futures may differ. A process in a call is where it began the call plus what it has heard since:
// the driver is deterministic. In no wrong world, what a process has applied is a prefix of truth.
func (w *world) hash(seed maphash.Seed) uint64 {
	var b []byte
	number := func(all ...int) {
		for _, n := range all {
			b = append(b, byte(n))
		}
	}
	piece := func(p []byte) {
		b = binary.AppendUvarint(b, uint64(len(p)))
		b = append(b, p...)
	}
	number(w.appends, w.trims, w.lost, w.late, w.crash, w.giveUp, w.headLoss, int(w.bound), len(w.truth), len(w.flight), len(w.denied))
	for i, t := range w.truth {
		piece(entryID(t))
		if s := w.slots[i+1]; bytes.Equal(s, t) {
			number(1)
		} else {
			piece(entryID(s))
		}
	}
	piece(w.head)
	flight := make([]string, len(w.flight))
	for i, r := range w.flight {
		flight[i] = fmt.Sprint(r.kind, r.slot, string(entryID(r.body)), r.match, r.slots)
	}
	slices.Sort(flight)
	for _, f := range flight {
		piece([]byte(f))
	}
	for _, d := range w.denied {
		piece(entryID(d))
	}
	for _, p := range w.procs {
		number(int(p.applied), p.sent, p.led, p.left.reads, p.left.leads, p.left.tips, int(p.pending.kind))
		for _, flag := range []bool{p.alive, p.reload} {
			number(map[bool]int{true: 1}[flag])
		}
		if p.pending.kind != reqIdle {
			piece(p.heard)
		}
	}
	return maphash.Bytes(seed, b)
}

// entryID is what distinguishes entries here: term and body.
func entryID(b []byte) []byte {
	if len(b) == journal.HeadSize || len(b) < journal.EntryOverhead {
		return b
	}
	return append(slices.Clone(b[16:18]), b[52:len(b)-4]...)
}

// procStore is the bucket as a process sees it: each request waits to be chosen.
type procStore struct{ p *proc }

func (s procStore) slot(key string) uint64 {
	if key == s.p.j.keys.Head() {
		return 0
	}
	slot, err := s.p.j.keys.ParseJournal(key)
	if err != nil || slot > maxSlots {
		panic(fmt.Sprint("unexpected key ", key))
	}
	return slot
}

func (s procStore) Get(_ context.Context, key string, _ objectstore.Range) (objectstore.Object, error) {
	slot := s.slot(key)
	if err := s.p.wait(request{kind: reqGet, slot: slot}); err != nil {
		return objectstore.Object{}, err
	}
	b := s.p.w.slots[slot]
	if slot == 0 {
		b = s.p.seenHead()
	}
	s.p.heard = append(append(s.p.heard, byte(len(b))), entryID(b)...)
	if b == nil {
		return objectstore.Object{}, objectstore.ErrNotFound
	}
	return objectstore.Object{Reader: io.NopCloser(bytes.NewReader(b)), Size: int64(len(b)), Version: objectstore.Version(b)}, nil
}

// seenHead is head, or what a process that breaks a rule takes for it.
func (p *proc) seenHead() []byte {
	unchecked := map[string]act{"J2": doRead, "J2 tip": doTip, "J2 append": doAppend, "J3": doLead}
	switch call, ok := unchecked[p.w.off]; {
	case p.w.head == nil && p.w.off == "J6", ok && call == p.call:
		return journal.EncodeHead(journal.Head{Driver: journal.DriverObject, Cluster: [16]byte{1}})
	}
	return p.w.head
}

func (s procStore) Put(_ context.Context, key string, body objectstore.Body, c objectstore.Condition) (objectstore.Version, error) {
	match, _ := c.Match()
	err := s.p.wait(request{kind: reqPut, slot: s.slot(key), body: body.Bytes(), match: string(match)})
	return objectstore.Version(body.Bytes()), err
}

func (s procStore) Delete(_ context.Context, keys ...string) error {
	var slots []uint64
	for _, key := range keys {
		slots = append(slots, s.slot(key))
	}
	return s.p.wait(request{kind: reqDelete, slots: slots})
}

func (s procStore) List(context.Context, string, string) iter.Seq2[objectstore.Info, error] {
	panic("the journal never lists")
}
