package object

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/leat-stream/leat/metadata/journal"
)

// A world is a few processes and one bucket at one moment: plain data without pointers, so that it can be copied, compared and
// hashed as it is. Each step is chosen from outside: a process begins a call, one of its requests is carried out or spoiled, something
// that is under way lands, a process dies. Between two steps everybody stands still, for as long as anybody likes.
//
// A request does its work in the bucket at one moment, and the process goes on at that moment until its next request. That loses
// nothing: an answer that is a week late is a process that sends its next request a week late, since in between it does
// nothing that others could see.
type world struct {
	left   budget
	head   ref               // what the bucket holds as head; 0: it is lost
	slots  [maxSlots + 1]ref // and in each slot; 0: 404
	truth  [maxSlots + 1]ref // what each slot held first: what is committed
	images [maxProcs]uint16  // bit i: the image that this process made of entry i is readable

	committed uint8              // entries in truth
	bound     uint8              // the newest boundary that head held
	pushable  uint8              // entries that some leader knew to be committed
	flight    [maxFlight]request // PUTs and DELETEs that may still land, in any order, or never; sorted
	procs     [maxProcs]proc
}

const (
	maxSlots  = 14
	maxProcs  = 4
	maxFlight = 8
)

// budget bounds an execution: how many of each may still happen. The last four are for each process.
type budget struct {
	appends, trims                     uint8
	lost, late, crash, giveUp, getFail uint8 // answers lost; requests that land late or twice; crashes; contexts that end; GETs that fail
	headLoss                           uint8
	reads, leads, tips, pushes         uint8
}

// proc is one process. It has applied exactly truth[:applied+1], or the world is wrong: so every entry that anybody ever
// applied stays what it was, and nobody else ever finds another in its place.
type proc struct {
	call    uint32 // under way, in calls; 0: none
	applied uint8
	begun   uint8 // a read or tip: world.committed when it began
	fence   ref   // the newest term that it won
	last    uint8
	over    bool
	alive   bool  // it believes that it leads
	reload  bool  // it must load the snapshot before anything else
	sent    uint8 // commands composed, over all restarts
	led     uint8 // fences composed, over all restarts

	reads, leads, tips, pushes uint8 // left
}

// request is what a process waits with, or what is under way in flight.
type request struct {
	kind   kind
	slot   uint8  // 0 is head; DELETE: the lowest; images: their index
	always bool   // PUT: without a condition, which the driver never sends
	body   ref    // PUT; images: the name
	match  ref    // PUT of head: the version that must be there
	slots  uint16 // DELETE
}

type kind byte

const (
	reqNone kind = iota
	reqGet
	reqPut
	reqDelete
	reqPause    // between two attempts
	reqPutImage // by the replica, not by the driver
	reqGetImage
)

// choice is one step.
type choice struct {
	what act
	proc uint8
	arg  uint8 // which of the requests, or of those in flight
}

type act byte

const (
	reply   act = iota // the request is carried out and answered; a pause ends
	lose               // it is carried out, the answer is lost
	repeat             // it is carried out twice, and the second is answered
	delay              // it is reported failed, and lands later or never (a DELETE: each slot by itself)
	double             // it is carried out and answered, and a copy lands later or never
	fail               // a GET fails
	giveUp             // the context of the call ends
	crash              // the process dies; its request, if any, is never sent
	crashed            // the process dies; its request lands later or never
	land               // what is in flight lands
	dropHead
	doPush // the process applies an entry that a leader pushed
	doRead
	doLead
	doAppend
	doTip
	doTrim
	doReload
)

var actNames = [...]string{"answered", "carried out, but the answer is lost", "carried out twice, the second is answered",
	"fails, may land later", "answered, a copy may land later", "fails", "gives up", "crashes", "crashes, its request may land later", "lands",
	"head is lost", "applies a pushed entry", "reads", "leads", "appends", "asks for the tip", "trims", "reloads"}

func (a act) String() string { return actNames[a] }

// model is what all worlds of one exploration share.
type model struct {
	scenario
	*calls
	lenient bool   // look only at what processes are told, not at what is in the bucket
	wrong   string // the first promise that was broken
	seen    [events]int
	trace   []string
	tell    bool         // write the trace
	each    func(*world) // called with every world that a step leads to
}

// scenario is how many processes do how much. Process 0 leads when it begins.
type scenario struct {
	procs  int
	slots  uint8 // appends and fences are begun up to here; 0: maxSlots
	window int   // GETs that a Read has under way; 0: one
	run    int   // entries that it validates at once; 0: runEntries
	low    bool  // there are also trims that leave the boundary behind the snapshot
	budget budget
}

func newModel(s scenario, off string) *model {
	return &model{scenario: s, calls: newCalls(off, s.window, s.run)}
}

// first is the world in which process 0 leads with its fence in slot 1, and all have applied it.
func (m *model) first() world {
	w := world{left: m.budget, committed: 1, pushable: 1}
	w.head = m.calls.head(journal.Head{Format: journal.Level, Driver: journal.DriverObject, Cluster: modelCluster})
	w.slots[1] = m.calls.entry(journal.Entry{Index: 1, Kind: journal.KindFence, Term: journal.TermID{1, 1}})
	w.truth = w.slots
	for i := range m.procs {
		w.procs[i] = proc{applied: 1, reads: m.budget.reads, leads: m.budget.leads, tips: m.budget.tips, pushes: m.budget.pushes}
	}
	p := &w.procs[0]
	p.fence, p.last, p.alive, p.led = w.slots[1], 1, true, 1
	return w
}

func (m *model) fail(format string, args ...any) {
	if m.wrong == "" {
		m.wrong = fmt.Sprintf(format, args...)
	}
}

func (m *model) isFence(r ref) bool { return m.kinds[r].Kind == journal.KindFence }

// put carries out a PUT and says whether its condition held. What a slot holds first is committed.
func (m *model) put(w *world, r request) bool {
	if r.slot == 0 {
		if !r.always && (w.head == 0 || w.head != r.match) {
			return false
		}
		m.grow(w, r.body)
		return true
	}
	if w.slots[r.slot] != 0 && !r.always {
		return false
	}
	w.slots[r.slot] = r.body
	switch {
	case r.slot == w.committed+1:
		w.committed++
		w.truth[r.slot] = r.body
	case r.slot > w.committed+1:
		m.fail("slot %d was filled, and slot %d never was", r.slot, w.committed+1)
	case m.isFence(r.body):
		m.seen[junkFence]++
	default:
		m.seen[junkEntry]++
	}
	return true
}

// grow replaces head.
func (m *model) grow(w *world, body ref) {
	before, _ := journal.DecodeHead([]byte(m.bodies[w.head]))
	h, _ := journal.DecodeHead([]byte(m.bodies[body]))
	w.head, w.bound = body, max(w.bound, uint8(h.Boundary))
	m.seen[snapshotFirst]++
	if before.Snapshot > 0 {
		m.seen[snapshotNext]++
	}
	if m.lenient {
		return
	}
	if h.Boundary < before.Boundary || h.Snapshot < before.Snapshot || h.Boundary > h.Snapshot+1 {
		m.fail("head went from snapshot %d, boundary %d to snapshot %d, boundary %d", before.Snapshot, before.Boundary, h.Snapshot, h.Boundary)
	}
	if h.Snapshot > before.Snapshot && w.images[h.Manifest[14]-1]>>h.Snapshot&1 == 0 {
		m.fail("head names a snapshot of %d that is not there yet", h.Snapshot)
	}
}

// carryOut does in the bucket what r asks for, and says whether its condition held.
func (m *model) carryOut(w *world, r request) (held bool) {
	switch r.kind {
	case reqPut:
		held = m.put(w, r)
		if !held && r.slot == 0 {
			m.seen[swapRefused]++
		}
	case reqDelete:
		held = true
		for slot := uint8(1); slot <= maxSlots; slot++ {
			if r.slots>>slot&1 != 0 {
				if w.slots[slot] != 0 {
					m.seen[trimmed]++
				}
				w.slots[slot] = 0
			}
		}
	case reqPutImage:
		name := m.bodies[r.body]
		w.images[name[14]-1] |= 1 << r.slot
		return true
	default:
		return true
	}
	if m.lenient {
		return held
	}
	// What is committed is in its slot, or below a boundary that a readable snapshot covers. Fences are in their slots for ever.
	for slot := uint8(1); slot <= w.committed; slot++ {
		if t := w.truth[slot]; w.slots[slot] != t && (slot >= w.bound || m.isFence(t)) {
			m.fail("committed entry %d is lost: the boundary is %d", slot, w.bound)
		}
	}
	return held
}

// room tells that r could be launched: what does not fit is not chosen.
func (w *world) room(r request) bool {
	free := 0
	for _, f := range w.flight {
		if f.kind == reqNone {
			free++
		}
	}
	return free >= max(1, bits.OnesCount16(r.slots))
}

// launch puts r in flight: a DELETE of several slots in pieces, since no bucket deletes them all at once.
func (w *world) launch(r request) {
	for slot := uint8(0); slot <= maxSlots; slot++ {
		piece := r
		if r.kind == reqDelete {
			if r.slots>>slot&1 == 0 {
				continue
			}
			piece.slot, piece.slots = slot, 1<<slot
		} else if slot > 0 {
			break
		}
		w.flight[maxFlight-1] = piece
		w.sortFlight()
	}
}

func (w *world) sortFlight() {
	slices.SortFunc(w.flight[:], func(a, b request) int {
		return cmp.Or(cmp.Compare(min(1, b.kind), min(1, a.kind)), cmp.Compare(a.kind, b.kind), cmp.Compare(a.slot, b.slot),
			cmp.Compare(a.body, b.body), cmp.Compare(a.match, b.match))
	})
}

// choices appends the steps that are possible now, always in the same order.
func (m *model) choices(w *world, all []choice) []choice {
	for i := range m.procs {
		p, id := &w.procs[i], uint8(i)
		add := func(possible bool, what act, arg int) {
			if possible {
				all = append(all, choice{what, id, uint8(arg)})
			}
		}
		if p.call == 0 {
			ready, limit := !p.reload, cmp.Or(m.slots, maxSlots)
			add(p.reload, doReload, 0)
			add(ready && p.reads > 0, doRead, 0)
			add(ready && p.alive && w.left.appends > 0 && p.last < limit, doAppend, 0)
			add(ready && !p.alive && p.leads > 0 && p.applied < limit, doLead, 0)
			add(ready && p.tips > 0, doTip, 0)
			add(ready && w.left.trims > 0 && p.applied+1 > w.bound, doTrim, 0)
			add(ready && w.left.trims > 0 && p.applied > w.bound+1 && m.low, doTrim, 1)
			add(ready && p.pushes > 0 && p.applied < w.pushable, doPush, 0)
			add(w.left.crash > 0 && (p.applied > 0 || p.alive), crash, 0)
			continue
		}
		for j, r := range m.nodes[p.call].pending {
			put := r.kind == reqPut
			late := (put || r.kind == reqDelete) && w.left.late > 0 && w.room(r)
			add(true, reply, j)
			add(put && w.left.lost > 0, lose, j)
			add(put && w.left.lost > 0, repeat, j)
			add(late, delay, j)
			add(late, double, j)
			add(r.kind == reqGet && w.left.getFail > 0, fail, j)
			add(r.kind == reqPause && w.left.giveUp > 0, giveUp, j)
			add(late && w.left.crash > 0, crashed, j)
		}
		add(w.left.crash > 0, crash, 0)
	}
	for i, r := range w.flight {
		if r.kind != reqNone && (i == 0 || r != w.flight[i-1]) {
			all = append(all, choice{what: land, arg: uint8(i)})
		}
	}
	if w.left.headLoss > 0 && w.head != 0 {
		all = append(all, choice{what: dropHead})
	}
	return all
}

// step does what was chosen.
func (m *model) step(w *world, c choice) {
	p := &w.procs[c.proc]
	if m.tell {
		m.trace = append(m.trace, m.describe(w, c))
	}
	m.seen[events0+event(c.what)]++
	if c.what >= doRead {
		m.begin(w, c)
		return
	}
	var r request
	switch {
	case c.what == land:
		r = w.flight[c.arg]
	case p.call != 0 && c.what <= crashed:
		r = m.nodes[p.call].pending[c.arg]
	}
	m.note(w, c, r)
	switch c.what {
	case reply:
		m.answer(w, c.proc, r, m.carryOut(w, r), done)
	case lose:
		w.left.lost--
		m.answer(w, c.proc, r, m.carryOut(w, r), failed)
	case repeat:
		w.left.lost--
		m.carryOut(w, r)
		m.answer(w, c.proc, r, m.carryOut(w, r), done)
	case delay:
		w.left.late--
		w.launch(r)
		m.answer(w, c.proc, r, true, failed)
	case double:
		w.left.late--
		held := m.carryOut(w, r)
		w.launch(r)
		m.answer(w, c.proc, r, held, done)
	case fail:
		w.left.getFail--
		m.answer(w, c.proc, r, true, failed)
	case giveUp:
		w.left.giveUp--
		m.answer(w, c.proc, r, true, ended)
	case crash, crashed:
		w.left.crash--
		if c.what == crashed {
			w.left.late--
			w.launch(r)
		}
		*p = proc{reload: true, sent: p.sent, led: p.led, reads: p.reads, leads: p.leads, tips: p.tips, pushes: p.pushes}
	case land:
		w.flight[c.arg] = request{}
		w.sortFlight()
		m.carryOut(w, r)
	case dropHead:
		w.left.headLoss--
		w.head = 0
	case doPush:
		p.pushes--
		p.applied++
	}
}

// begin begins a call.
func (m *model) begin(w *world, c choice) {
	p := &w.procs[c.proc]
	s := start{
		proc: c.proc, what: c.what, applied: uint64(p.applied), fence: p.fence, last: uint64(p.last), over: p.over, alive: p.alive,
		led: p.led, sent: p.sent,
	}
	p.begun = 0
	switch c.what {
	case doRead:
		p.reads = max(p.reads, 1) - 1
		p.begun = w.committed
	case doTip:
		p.tips = max(p.tips, 1) - 1
		p.begun = w.committed
	case doLead:
		p.leads = max(p.leads, 1) - 1
		p.led++
	case doAppend:
		w.left.appends = max(w.left.appends, 1) - 1
		p.sent++
	case doTrim:
		w.left.trims--
		s.low = c.arg > 0
		for slot := uint8(1); slot <= p.applied; slot++ {
			if m.isFence(w.truth[slot]) {
				s.fences |= 1 << slot
			}
		}
	}
	p.call = m.calls.begin(s)
	m.progress(w, c.proc, 0)
}

// answer lets a process go on. held says whether the condition of r held.
func (m *model) answer(w *world, id uint8, r request, held bool, how result) {
	a := answer{to: r, result: how}
	if how == done {
		switch {
		case !held:
			a.result = refused
		case r.kind == reqGet && r.slot == 0:
			a.body = w.head
		case r.kind == reqGet:
			a.body = w.slots[r.slot]
		case r.kind == reqGetImage && w.images[m.bodies[r.body][14]-1]>>r.slot&1 != 0:
			a.body = r.body
		}
	}
	p := &w.procs[id]
	before := len(m.nodes[p.call].yielded)
	p.call = m.calls.proceed(p.call, a)
	m.progress(w, id, before)
}

// progress takes what a call has brought since its last answer, and judges it if it has returned.
func (m *model) progress(w *world, id uint8, before int) {
	p := &w.procs[id]
	n := &m.nodes[p.call]
	for _, e := range n.yielded[before:] {
		m.apply(w, id, e)
	}
	if len(n.pending) > 0 {
		return
	}
	o := &n.outcome
	p.fence, p.last, p.over, p.alive = o.fence, uint8(o.last), o.over, o.alive
	if m.tell {
		said := "done"
		if n.err != nil {
			said = n.err.Error()
		}
		m.trace = append(m.trace, fmt.Sprintf("        p%d %s: %s", id, n.what, said))
	}
	m.judge(w, id, n)
	p.call, p.begun = 0, 0
}

// apply checks that every replica applies what is committed, in order.
func (m *model) apply(w *world, id uint8, e ref) {
	p, entry := &w.procs[id], m.kinds[e]
	if entry.Index != uint64(p.applied)+1 || p.applied+1 > w.committed || w.truth[p.applied+1] != e {
		m.fail("p%d applied %s as entry %d, which is not what is committed there", id, m.name(e), entry.Index)
		return
	}
	p.applied++
	if p.alive {
		w.pushable = max(w.pushable, p.applied)
	}
}

// judge holds what a call answered against what is true.
func (m *model) judge(w *world, id uint8, n *node) {
	p := &w.procs[id]
	next := n.applied + 1
	if n.what == doRead {
		next = uint64(p.applied) + 1
	}
	lastSlot := n.start.last + 1 // of an append
	is := func(e error) bool { return errors.Is(n.err, e) }
	switch {
	case n.again:
		m.fail("p%d goes on appending after %v", id, n.err)
	case is(journal.ErrNoHead):
		if w.head != 0 {
			m.fail("p%d was told that head is missing, and it never was", id)
		}
	case is(journal.ErrTrimmed):
		p.reload = true
		if uint64(w.bound) <= next {
			m.fail("p%d was told that entry %d is trimmed, and the boundary is %d", id, next, w.bound)
		}
	case is(journal.ErrBehind):
		if w.committed <= p.applied {
			m.fail("p%d was told that it is behind, and nothing was committed after %d", id, p.applied)
		}
	case is(journal.ErrFenced):
		mine := m.calls.entry(journal.Entry{Index: lastSlot, Kind: journal.KindCommands, Term: m.kinds[n.start.fence].Term, Body: n.body()})
		if lastSlot > uint64(w.committed) || w.truth[lastSlot] == mine {
			m.fail("p%d was told ErrFenced for %s, which is committed or may still be", id, m.name(mine))
		}
	case is(journal.ErrUnknown) && n.what == doAppend:
		if !n.given && uint64(w.bound) <= lastSlot {
			m.fail("p%d was told that the outcome of append %d is unknown, without a reason", id, lastSlot)
		}
	case is(errNoImage):
		m.fail("p%d: %v", id, n.err)
	case n.err != nil:
		if !n.given && n.what != doTrim {
			m.fail("p%d %s: %v", id, n.what, n.err)
		}
	case n.what == doRead && p.applied < p.begun:
		m.fail("p%d read to the end, %d, when %d entries were committed before it began", id, p.applied, p.begun)
	case n.what == doTip && p.begun > p.applied:
		m.fail("p%d was told that %d is the newest, when %d entries were committed before it asked", id, p.applied, p.begun)
	case n.what == doLead, n.what == doAppend:
		m.apply(w, id, n.entry)
	case n.what == doReload:
		p.reload = false
		p.applied = max(p.applied, uint8(n.image)) // the image is a copy of a replica, and those were judged
	}
	m.noteEnd(w, p, n)
}

// name tells a body in words.
func (m *model) name(r ref) string {
	switch e := m.kinds[r]; {
	case len(m.bodies[r]) == journal.HeadSize:
		h, _ := journal.DecodeHead([]byte(m.bodies[r]))
		return fmt.Sprintf("{snapshot %d, boundary %d}", h.Snapshot, h.Boundary)
	case e.Kind == journal.KindFence:
		return fmt.Sprintf("fence %d of p%d", e.Term[1], e.Term[0]-1)
	case e.Kind == journal.KindCommands:
		return fmt.Sprintf("%q", e.Body)
	}
	return "nothing"
}

// request tells a request in words.
func (m *model) request(r request) string {
	place := fmt.Sprint("slot ", r.slot)
	if r.slot == 0 {
		place = "head"
	}
	switch r.kind {
	case reqGet:
		return "GET " + place
	case reqPut:
		return "PUT " + place + ", " + m.name(r.body)
	case reqDelete:
		text := "DELETE slots"
		for slot := range maxSlots + 1 {
			if r.slots>>slot&1 != 0 {
				text += fmt.Sprint(" ", slot)
			}
		}
		return text
	case reqPause:
		return "pause"
	case reqPutImage:
		return fmt.Sprint("PUT image of ", r.slot)
	case reqGetImage:
		return fmt.Sprint("GET image of ", r.slot)
	}
	return ""
}

// describe tells a step in words.
func (m *model) describe(w *world, c choice) string {
	p := &w.procs[c.proc]
	switch {
	case c.what == land:
		return m.request(w.flight[c.arg]) + ": lands"
	case c.what == dropHead:
		return "head is lost"
	case p.call == 0:
		return fmt.Sprintf("p%d %s, has applied %d", c.proc, c.what, p.applied)
	case c.what == crash:
		return fmt.Sprintf("p%d crashes while it %s", c.proc, m.nodes[p.call].what)
	}
	r := m.nodes[p.call].pending[c.arg]
	found := ""
	if r.kind == reqPut && c.what != delay && c.what != crashed && (r.slot > 0 && w.slots[r.slot] != 0 || r.slot == 0 && w.head != r.match) {
		found = ", refused"
	}
	if r.kind == reqGet && c.what == reply {
		found = " " + m.name(w.slots[r.slot])
		if r.slot == 0 {
			found = " " + m.name(w.head)
		}
	}
	return fmt.Sprintf("    p%d %s: %s%s", c.proc, m.request(r), c.what, found)
}
