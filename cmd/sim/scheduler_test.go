package sim

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"
)

// step is something that happens outside of an agent: a request that arrives somewhere, an answer that comes back, a fault that
// begins. Whoever submits it waits elsewhere for what it brings about.
//
// who and what order the steps that were submitted at once, and are what the trace shows: they must not hold anything random.
type step struct {
	who, what string
	// decide draws when the step happens, and how it fares. It is called once, by the scheduler, when all goroutines are blocked.
	decide func(r *rand.Rand) (after time.Duration)
	// run has it happen; it must not block. again > 0: not yet, but after so long.
	run func() (again time.Duration)

	rng   *rand.Rand // its own
	due   time.Time
	order uint64
	held  bool // it was due, and did not happen
}

// scheduler lets steps happen one after the other. How a step fares is drawn by the seed, its name and how many of that name there
// were, so that it does not depend on what else happens.
type scheduler struct {
	seed  uint64
	rng   *rand.Rand // for the world as a whole
	named map[string]int
	begin time.Time
	wake  chan struct{} // holds one

	mu       sync.Mutex
	arrivals []*step // not decided yet

	waiting []*step // by due time, then order: owned by run
	order   uint64
	happend int
	limit   int // that no run comes near
	hash    uint64
	tail    []string // the newest of the trace
	full    func(line string)
}

const traceTail = 400

func newScheduler(seed uint64) *scheduler {
	return &scheduler{seed: seed, named: map[string]int{}, rng: rand.New(rand.NewPCG(seed, 0x1ea7)), begin: time.Now(), wake: make(chan struct{}, 1), limit: 5_000_000}
}

// submit hands a step to the scheduler. It never blocks.
func (s *scheduler) submit(st *step) {
	s.mu.Lock()
	s.arrivals = append(s.arrivals, st)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run lets steps happen until done says so.
func (s *scheduler) run(done func() bool) {
	timer := time.NewTimer(0)
	<-timer.C
	for {
		synctest.Wait()
		s.admit()
		if done() {
			return
		}
		if len(s.waiting) == 0 {
			<-s.wake
			continue
		}
		next := s.waiting[0]
		if left := time.Until(next.due); left > 0 {
			timer.Reset(left)
			select {
			case <-timer.C:
			case <-s.wake:
				timer.Stop()
			}
			continue
		}
		s.waiting = s.waiting[1:]
		if s.happend > s.limit {
			panic(fmt.Sprintf("%d steps, and no end: %s", s.happend, strings.Join(s.tail[len(s.tail)-50:], "\n")))
		}
		if again := next.run(); again > 0 {
			next.due, next.held = time.Now().Add(again), true
			s.queue(next)
			continue
		}
		s.happend++
		s.trace(next.who, next.what)
	}
}

// admit decides what has arrived, in an order that does not depend on which goroutine was quicker.
func (s *scheduler) admit() {
	s.mu.Lock()
	arrived := s.arrivals
	s.arrivals = nil
	select {
	case <-s.wake:
	default:
	}
	s.mu.Unlock()
	slices.SortStableFunc(arrived, func(a, b *step) int { return cmp.Or(cmp.Compare(a.who, b.who), cmp.Compare(a.what, b.what)) })
	for _, st := range arrived {
		name := st.who + " " + st.what
		s.named[name]++
		h := fnv.New64a()
		_, _ = fmt.Fprintf(h, "%s %d", name, s.named[name])
		st.rng = rand.New(rand.NewPCG(s.seed, h.Sum64()))
		st.due = time.Now().Add(st.decide(st.rng))
		s.queue(st)
	}
}

// release has all steps happen that were held: what held them is over. Called by steps.
func (s *scheduler) release() {
	all := s.waiting
	s.waiting = nil
	for _, st := range all {
		if st.held {
			st.due = time.Now()
		}
		s.queue(st)
	}
}

func (s *scheduler) queue(st *step) {
	s.order++
	st.order = s.order
	at, _ := slices.BinarySearchFunc(s.waiting, st, func(a, b *step) int {
		return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.order, b.order))
	})
	s.waiting = slices.Insert(s.waiting, at, st)
}

// trace notes what happened. Called by run, and by what it runs.
func (s *scheduler) trace(who, what string) {
	line := fmt.Sprintf("%12.6f %-14s %s", time.Since(s.begin).Seconds(), who, what)
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%x %d %s", s.hash, time.Since(s.begin), line)
	s.hash = h.Sum64()
	if len(s.tail) >= 2*traceTail {
		s.tail = append(s.tail[:0], s.tail[traceTail:]...)
	}
	s.tail = append(s.tail, line)
	if s.full != nil {
		s.full(line)
	}
}

// note is trace for those who are not run by the scheduler: it happens at once, but in its turn.
func (s *scheduler) note(who, format string, args ...any) {
	s.submit(&step{
		who: who, what: fmt.Sprintf(format, args...),
		decide: func(*rand.Rand) time.Duration { return 0 }, run: func() time.Duration { return 0 },
	})
}
