package object

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/leat-stream/leat/metadata/journal"
)

// How far a Read goes ahead. It holds at most two runs, each ended by the entry with which it reaches one of its bounds; of the slots
// behind them as many as are asked for at once, with at most aheadBytes each; and one entry of any size: 88 MiB if all are as
// large as an entry can be, and a few if they are as usual.
//
// With 20 ms for a GET that is 3,000 entries a second (BenchmarkRead); AWS S3 promises 5,500 GETs a second below a prefix. The first
// runs are short, 16 entries, 32, 64: where each GET takes seconds, and whoever reads has ten of them, it gets on all the same.
const (
	maxPrefetch = 64        // slots that are asked for at once; a store that allows fewer GETs at once could stand still
	aheadBytes  = 512 << 10 // of a slot that are read before all slots below it were
	firstRun    = 16        // entries that are validated by the first GET of head; twice as many by each next one
	runEntries  = 128       // at most
	runBytes    = 4 << 20   // likewise
)

// Read implements journal.Journal.
//
// It works like this, time going to the right: slots are asked for ahead of what was taken, and while head is on its way for
// one run, and while that is handed out, the next is gathered. What is validated waits for nothing that comes after it.
//
//	GET slots   ├─ run 1 ─┤├─ run 2 ─┤├─ run 3: ends with a 404
//	GET head              ├───┤      ├───┤   ├───┤
//	hand out                  run 1      run 2   run 3
//
// What was asked for behind the 404 is thrown away: it proves nothing, and whoever reads on asks again.
func (j *Journal) Read(ctx context.Context, from uint64) iter.Seq2[journal.Entry, error] {
	return func(yield func(journal.Entry, error) bool) {
		ctx, stop := context.WithCancel(ctx)
		r := reader{journal: j, next: from, limit: min(firstRun, j.run)}
		defer r.under.Wait()
		defer stop()
		fail := func(index uint64, err error) {
			yield(journal.Entry{}, fmt.Errorf("read journal at %d: %w", index, err))
		}
		if from == 0 { // there is no entry 0
			fail(0, journal.ErrTrimmed)
			return
		}
		for now := r.begin(ctx, nil); now != nil; {
			<-now.gathered
			if now.failed != nil {
				fail(now.end(), now.failed)
				return
			}
			var next *run
			if !now.last {
				next = r.begin(ctx, now)
			}
			<-now.checked
			if now.invalid != nil {
				fail(now.first, now.invalid)
				return
			}
			for _, e := range now.entries {
				if !yield(e, nil) {
					return
				}
			}
			if now.damage != nil {
				fail(now.end(), now.damage)
			}
			now = next
		}
	}
}

// reader belongs to one Read. next, limit, ahead and window belong to the goroutine that gathers a run, of which there is one at a time.
type reader struct {
	journal *Journal
	next    uint64         // the first slot that was not taken
	limit   int            // entries of the next run
	ahead   []*slot        // next, next+1, …: asked for, and not taken
	window  int            // how many to ask for at once
	under   sync.WaitGroup // all that is under way
}

// run is consecutive entries, and what one GET of head says about them.
type run struct {
	first    uint64        // slot
	gathered chan struct{} // closed once what follows is set
	entries  []journal.Entry
	last     bool  // the journal ends behind them, or damage does
	damage   error // what was found behind them
	failed   error // of the store, or ctx ended: the run counts for nothing

	checked chan struct{} // closed once invalid is set; never, if it failed
	invalid error         // nil: they are what is committed
}

// end is the slot behind the run.
func (g *run) end() uint64 { return g.first + uint64(len(g.entries)) }

// begin gathers the run behind before, which is gathered; nil: the first. Then it is checked, once before is.
func (r *reader) begin(ctx context.Context, before *run) *run {
	g := &run{first: r.next, gathered: make(chan struct{}), checked: make(chan struct{})}
	r.under.Go(func() {
		g.failed = r.gather(ctx, g)
		close(g.gathered)
		if before != nil {
			<-before.checked
		}
		if g.failed == nil {
			g.invalid = r.journal.check(ctx, g)
			close(g.checked)
		}
	})
	return g
}

// gather takes the slots of a run. The order of slots decides alone what belongs to it: a 404 ends it even if a later slot was found
// filled, since slots are filled in order, so that one came later. Damage ends it too. An error is of the store, or ctx ended.
func (r *reader) gather(ctx context.Context, g *run) error {
	for size := 0; !g.last && len(g.entries) < r.limit && size < runBytes; {
		s := r.take(ctx)
		if s.err == nil && !s.found {
			g.last = true
			break
		}
		var e journal.Entry
		err := s.err
		if err == nil {
			e, err = journal.DecodeEntry(s.bytes, r.journal.cluster, r.next)
		}
		switch {
		case errors.Is(err, journal.ErrCorrupt), errors.Is(err, journal.ErrFormat):
			g.last, g.damage = true, err
		case err != nil:
			return err
		default:
			g.entries, size, r.next = append(g.entries, e), size+len(s.bytes), r.next+1
		}
	}
	r.limit = min(2*r.limit, r.journal.run)
	return nil
}

// check asks for the head that validates a run (J2). The run must be gathered: all its GETs were answered, so this one begins
// afterwards, and nothing else will do. nil means: from the first slot of the run on nothing was trimmed before all was read, so
// each slot showed the first thing that it ever held, and the 404, if there is one, was the end.
func (j *Journal) check(ctx context.Context, g *run) error {
	h, _, err := j.readHead(ctx)
	if err == nil && h.Boundary > g.first {
		err = journal.ErrTrimmed
	}
	return err
}

// slot is a GET of a slot that is under way, or its answer. bytes, found and err may be read once done is closed.
type slot struct {
	bytes []byte
	found bool
	err   error
	done  chan struct{}
	turn  chan struct{} // closed once all slots below are taken
}

// take answers the next slot. What is asked for depends only on what was taken, never on which answer comes first: 1 slot, then
// 2, 4, … and at last always as many as are allowed. So a reader at the end pays for little that is not there.
func (r *reader) take(ctx context.Context) *slot {
	if len(r.ahead) == 0 {
		r.window = min(max(1, 2*r.window), r.journal.prefetch)
	}
	if len(r.ahead) == 0 || r.window == r.journal.prefetch {
		for len(r.ahead) < r.window {
			r.ahead = append(r.ahead, r.ask(ctx, r.next+uint64(len(r.ahead))))
		}
	}
	s := r.ahead[0]
	r.ahead[0], r.ahead = nil, r.ahead[1:]
	close(s.turn)
	<-s.done
	return s
}

func (r *reader) ask(ctx context.Context, index uint64) *slot {
	s := &slot{done: make(chan struct{}), turn: make(chan struct{})}
	r.under.Go(func() {
		defer close(s.done)
		s.bytes, s.found, s.err = r.journal.getInTurn(ctx, index, s.turn)
	})
	return s
}
