package object

import "hash/maphash"

// promise looks, in every world that is visited, at what must come true once nothing is spoiled any more: each process, alone and
// from wherever it stands, gets to lead, appends and has it acknowledged, and can prove that it is up to date; after which
// a new process, from head, snapshot and journal alone, gets to the same history. So no world is a dead end, however
// many the faults that led there. Only a missing head is the end, and must be (J6).
//
// What a process alone comes to depends on the bucket and on itself: worlds that agree in both are looked at once.
type promise struct {
	*model
	seed maphash.Seed
	kept map[uint64]struct{}
}

func (m *model) promise() *promise {
	return &promise{model: m, seed: maphash.MakeSeed(), kept: make(map[uint64]struct{})}
}

func (p *promise) check(w *world) {
	if w.head == 0 || p.wrong != "" {
		return
	}
	seen := p.seen
	defer func() { p.seen = seen }()
	for id := range p.procs {
		alone := *w
		alone.left, alone.pushable, alone.flight, alone.procs = budget{}, 0, [maxFlight]request{}, [maxProcs]proc{}
		q := &alone.procs[id]
		*q = w.procs[id]
		q.reads, q.leads, q.tips, q.pushes = 0, 0, 0, 0
		h := maphash.Comparable(p.seed, alone)
		if _, again := p.kept[h]; !again {
			p.kept[h] = struct{}{}
			p.serves(&alone, uint8(id))
		}
	}
}

// serves lets process id go on alone.
func (p *promise) serves(w *world, id uint8) {
	q := &w.procs[id]
	for calls := 0; ; calls++ {
		p.finish(w, id)
		switch {
		case p.wrong != "":
			return
		case calls == 20:
			p.fail("p%d alone, with no more faults, does not get to append", id)
			return
		case q.reload:
			p.begin(w, choice{doReload, id, 0})
			continue
		case q.alive:
			before := q.applied
			p.begin(w, choice{doAppend, id, 0})
			p.finish(w, id)
			if q.applied == before {
				continue
			}
			p.begin(w, choice{doTip, id, 0})
			p.finish(w, id)
			p.joins(w, id)
			return
		case calls%2 == 0:
			p.begin(w, choice{doRead, id, 0})
		default:
			p.begin(w, choice{doLead, id, 0})
		}
	}
}

// joins lets a new process come up in the place of id.
func (p *promise) joins(w *world, id uint8) {
	q := &w.procs[id]
	*q = proc{reload: true}
	for _, call := range []act{doReload, doRead, doTip} {
		p.begin(w, choice{call, id, 0})
		p.finish(w, id)
	}
	if q.applied != w.committed || q.reload {
		p.fail("a new process got to entry %d, when %d were committed", q.applied, w.committed)
	}
}

// finish lets the call that is under way come to its end.
func (p *promise) finish(w *world, id uint8) {
	for steps := 0; w.procs[id].call != 0 && p.wrong == ""; steps++ {
		if steps == 100 {
			p.fail("p%d alone, with no more faults, never returns", id)
			return
		}
		r := p.nodes[w.procs[id].call].pending[0]
		p.model.answer(w, id, r, p.carryOut(w, r), done)
	}
}
