package object

import (
	"errors"

	"github.com/leat-stream/leat/metadata/journal"
)

// event is something that an exploration is supposed to meet. The first are the kinds of steps themselves.
type event int

const (
	events0    event = 0
	appendDone event = iota + event(doReload)
	appendFenced
	appendUnknown
	leadDone
	leadBehind
	leadTrimmed
	leadUnknown
	readNew
	readTrimmed
	reloadImage
	tipRests
	tipProven
	tipBehind
	tipTrimmed
	twoLead
	snapshotFirst
	snapshotNext
	swapRefused
	swapLost
	trimmed
	junkFence
	junkEntry
	lateCommit
	lateRefused
	lateSwap
	lateDelete
	lateDeleteJunk
	crashIdle
	crashLate
	ownCopyFirst
	getsSwapped
	noHead
	events
)

var eventNames = [events]string{
	reply: "request carried out and answered", lose: "PUT carried out, answer lost", repeat: "PUT carried out twice, second answered", delay: "PUT or DELETE reported failed, may land later",
	double: "PUT or DELETE answered, a copy may land later", fail: "GET fails", giveUp: "context ends", crash: "crash between any two steps",
	crashed: "crash with a PUT or DELETE under way", land: "what is under way lands", dropHead: "head is lost", doPush: "follower applies what was pushed",
	doRead: "Read begins", doLead: "Lead begins", doAppend: "Append begins", doTip: "Tip begins", doTrim: "snapshot and Trim begin",
	doReload:   "restart, or reload from head and snapshot",
	appendDone: "Append acknowledged", appendFenced: "Append: ErrFenced", appendUnknown: "Append: ErrUnknown", leadDone: "Lead wins",
	leadBehind: "Lead: ErrBehind", leadTrimmed: "Lead: ErrTrimmed", leadUnknown: "Lead: ErrUnknown", readNew: "Read yields entries", readTrimmed: "Read: ErrTrimmed",
	reloadImage: "snapshot of another process is loaded", tipRests: "Tip of a leader at rest: proven by one GET", tipProven: "Tip of another process: proven",
	tipBehind: "Tip: ErrBehind", tipTrimmed: "Tip: ErrTrimmed", twoLead: "two processes believe that they lead",
	snapshotFirst: "head is swapped", snapshotNext: "head is swapped again", swapRefused: "head swap refused: another was first",
	swapLost: "head swapped, answer lost", trimmed: "an entry is deleted", junkFence: "stalled or late fence lands in a trimmed slot",
	junkEntry: "stalled or late append lands in a trimmed slot", lateCommit: "late PUT is the first in its slot: committed after all",
	lateRefused: "late PUT finds its slot taken", lateSwap: "late swap of head", lateDelete: "late DELETE deletes an entry",
	lateDeleteJunk: "late DELETE deletes junk, or nothing any more", crashIdle: "crash between two calls", crashLate: "crash, then its PUT lands",
	ownCopyFirst: "412 because of an own earlier copy", getsSwapped: "GETs side by side answered in another order", noHead: "call refused: ErrNoHead",
}

// note counts what a step means, before it is done.
func (m *model) note(w *world, c choice, r request) {
	p := &w.procs[c.proc]
	count := func(is bool, e event) {
		if is {
			m.seen[e]++
		}
	}
	swap, put := r.kind == reqPut && r.slot == 0, r.kind == reqPut && r.slot > 0
	switch c.what {
	case lose:
		count(swap && w.head == r.match, swapLost)
	case repeat:
		count(put && w.slots[r.slot] == 0 || swap && w.head == r.match, ownCopyFirst)
	case reply:
		count(put && w.slots[r.slot] == r.body, ownCopyFirst)
		count(c.arg > 0, getsSwapped)
	case crash:
		count(p.call == 0, crashIdle)
	case land:
		count(put && r.slot == w.committed+1, lateCommit)
		count(put && w.slots[r.slot] != 0, lateRefused)
		count(swap, lateSwap)
		if r.kind == reqDelete {
			gone := w.slots[r.slot] != w.truth[r.slot]
			count(gone, lateDeleteJunk)
			count(!gone, lateDelete)
		}
		for id := range m.procs {
			e := m.kinds[r.body]
			q := &w.procs[id]
			count(put && int(e.Term[0]) == id+1 && q.reload && q.applied == 0, crashLate)
		}
	}
}

// noteEnd counts how a call ended.
func (m *model) noteEnd(w *world, p *proc, n *node) {
	count := func(is bool, e event) {
		if is {
			m.seen[e]++
		}
	}
	is := func(e error) bool { return errors.Is(n.err, e) }
	switch n.what {
	case doAppend:
		count(n.err == nil, appendDone)
		count(is(journal.ErrFenced), appendFenced)
		count(is(journal.ErrUnknown), appendUnknown)
	case doLead:
		count(n.err == nil, leadDone)
		count(is(journal.ErrBehind), leadBehind)
		count(is(journal.ErrTrimmed), leadTrimmed)
		count(is(journal.ErrUnknown), leadUnknown)
	case doRead:
		count(len(n.yielded) > 0, readNew)
		count(is(journal.ErrTrimmed), readTrimmed)
	case doTip:
		rests := p.alive && p.last == p.applied
		count(n.err == nil && rests, tipRests)
		count(n.err == nil && !rests, tipProven)
		count(is(journal.ErrBehind), tipBehind)
		count(is(journal.ErrTrimmed), tipTrimmed)
	case doReload:
		count(n.image > 0, reloadImage)
	}
	count(is(journal.ErrNoHead), noHead)
	leaders := 0
	for id := range m.procs {
		if w.procs[id].alive {
			leaders++
		}
	}
	count(leaders > 1, twoLead)
}
