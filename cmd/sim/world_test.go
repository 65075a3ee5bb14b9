package sim

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/journal/object"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/storetest/fake"
)

// world is one run: a bucket, agents, clients, faults, and what came of it.
//
// What is not said to be shared belongs to the goroutine that runs the scheduler, and to the steps that it runs.
type world struct {
	seed    uint64
	cfg     profile
	mutant  mutant
	s       *scheduler
	keys    objectstore.Keys
	store   *fake.Store // shared
	hosts   map[string]*host
	names   []string // of hosts, in order
	lives   []*life
	cuts    map[cable]time.Time // until when
	severed map[string]severed  // by host
	faulty  bool                // faults happen
	stopped bool                // no process begins any more
	counts  map[string]int

	draws   sync.Mutex // guards the generators of all lives
	clients sync.WaitGroup
	gone    atomic.Bool // no agent will ever answer again: clients give up
	history *history

	mu         sync.Mutex // guards what is below
	healed     bool       // clients are to come to an end
	violations []string
	verbose    io.Writer
}

// profile is what a seed draws for a whole run.
type profile struct {
	agents        int
	zones         int
	shared        bool // clients know one address only
	beat          time.Duration
	flush         time.Duration
	snapshotAfter int64
	storeBase     time.Duration // a request to the store takes about so long
	netBase       time.Duration
	storeFaults   float64       // of requests
	netFaults     float64       // of messages
	slow          float64       // of either
	nemesis       time.Duration // between two faults of agents and cables, on average
	chaos         time.Duration // so long faults happen
	pauseFor      time.Duration // at most
}

func drawProfile(r *rand.Rand, chaos time.Duration) profile {
	p := profile{
		agents: 3 + r.IntN(3), zones: 1 + r.IntN(2), shared: chance(r, 0.3), beat: 500 * time.Millisecond, flush: 50 * time.Millisecond << r.IntN(3),
		snapshotAfter: 10 << r.IntN(4), storeBase: 5 * time.Millisecond << r.IntN(4), netBase: 300 * time.Microsecond << r.IntN(4),
		nemesis: time.Duration(2+r.IntN(10)) * time.Second, chaos: chaos, pauseFor: 30 * time.Second,
	}
	if chance(r, 0.8) {
		p.storeFaults = 0.08 * r.Float64()
	}
	if chance(r, 0.7) {
		p.netFaults = 0.01 * r.Float64()
	}
	if chance(r, 0.7) {
		p.slow = 0.02 * r.Float64()
	}
	if chance(r, 0.1) { // an hour passes while an agent sleeps: beats are rarer, since each costs real time
		p.beat, p.pauseFor = 5*time.Second, time.Hour
	}
	return p
}

func (p profile) storeDelay(r *rand.Rand) time.Duration {
	return p.storeBase/4 + time.Duration(r.Int64N(int64(p.storeBase)))
}

func (p profile) netDelay(r *rand.Rand) time.Duration {
	return p.netBase/4 + time.Duration(r.Int64N(int64(p.netBase)))
}

// newWorld makes a world whose agents are about to start.
func newWorld(seed uint64, chaos time.Duration, m mutant) *world {
	w := &world{
		seed: seed, mutant: m, s: newScheduler(seed), hosts: map[string]*host{}, cuts: map[cable]time.Time{}, severed: map[string]severed{}, counts: map[string]int{},
		history: newHistory(),
	}
	w.cfg = drawProfile(w.s.rng, chaos)
	w.keys, _ = objectstore.NewKeys("sim")
	w.store = fake.New(w.keys)
	if err := object.Create(context.Background(), w.store, w.keys); err != nil { // as the first agent ever did
		panic(err)
	}
	for i := range w.cfg.agents {
		h := &host{w: w, name: fmt.Sprintf("a%d", i+1), index: i + 1}
		w.hosts[h.name], w.names = h, append(w.names, h.name)
		w.restart(h, time.Duration(w.s.rng.Int64N(int64(time.Second))))
	}
	return w
}

func (w *world) zone(h *host) string { return fmt.Sprintf("z%d", h.index%w.cfg.zones) }

func (w *world) count(what string) { w.counts[what]++ }

// violate notes that a promise was broken. Anybody may call it.
func (w *world) violate(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.violations) < 20 {
		at := "judged afterwards"
		if w.history.recovery == 0 { // the run goes on
			at = fmt.Sprintf("%.3fs", time.Since(w.s.begin).Seconds())
		}
		w.violations = append(w.violations, at+": "+fmt.Sprintf(format, args...))
	}
}

func (w *world) broken() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.violations) > 0
}

// over tells clients to come to an end.
func (w *world) over() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.healed
}

// logger has the parts' complaints of themselves count as violations, and shows everything when asked to.
func (w *world) logger(name string) *slog.Logger {
	return slog.New(&logs{w: w, name: name})
}

type logs struct {
	slog.Handler
	w    *world
	name string
}

// Enabled implements slog.Handler.
func (l *logs) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelError || l.w.verbose != nil
}

// Handle implements slog.Handler.
func (l *logs) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	if r.Level >= slog.LevelError && !l.excused(line) {
		l.w.violate("%s complains: %s", l.name, line)
	}
	if l.w.verbose != nil {
		l.w.mu.Lock()
		defer l.w.mu.Unlock()
		_, _ = fmt.Fprintf(l.w.verbose, "%12.6f %-14s   log: %s\n", time.Since(l.w.s.begin).Seconds(), l.name, line)
	}
	return nil
}

// excused tells of complaints about the store, which is meant to fail.
func (l *logs) excused(line string) bool {
	if strings.HasPrefix(line, "object given up") {
		return true
	}
	return slices.ContainsFunc([]error{errStoreTimeout, errStoreReset, errCrashed, objectstore.ErrThrottled, context.Canceled, context.DeadlineExceeded},
		func(err error) bool { return strings.Contains(line, err.Error()) })
}

// WithAttrs implements slog.Handler.
func (l *logs) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup implements slog.Handler.
func (l *logs) WithGroup(string) slog.Handler { return l }

// patience is how much virtual time clients have to come to an end once all faults have stopped.
const patience = 10 * time.Minute

// run is a whole run: chaos, then peace, in which everything must come to an end; then the checks.
func (w *world) run() {
	w.faulty = true
	begin := time.Now()
	w.startNemesis()
	w.startClients()
	var finished bool
	var ended sync.WaitGroup
	healedAt := time.Time{}
	w.s.submit(&step{who: "world", what: "peace", decide: func(*rand.Rand) time.Duration { return w.cfg.chaos }, run: func() time.Duration {
		w.heal()
		healedAt = time.Now()
		ended.Go(func() {
			w.clients.Wait()
			w.s.submit(&step{who: "world", what: "clients ended", decide: func(*rand.Rand) time.Duration { return 0 }, run: func() time.Duration { finished = true; return 0 }})
		})
		w.s.submit(&step{who: "world", what: "patience", decide: func(*rand.Rand) time.Duration { return patience }, run: func() time.Duration {
			if !finished {
				w.violate("no progress: %v after all faults stopped, clients still wait: %s", patience, w.history.open())
			}
			finished = true
			return 0
		}})
		return 0
	}})
	w.s.run(func() bool {
		if w.s.happend%1024 == 0 {
			w.store.ResetRequests()
		}
		return finished || w.broken()
	})
	if !w.broken() {
		auditor := w.client("auditor", 999)
		w.await(auditor.audit)
		w.converge()
	}
	w.history.virtual = time.Since(begin)
	if !healedAt.IsZero() {
		w.history.recovery = time.Since(healedAt)
	}
	w.mu.Lock()
	w.healed = true
	w.mu.Unlock()
	for _, v := range w.store.Violations() {
		w.violate("forbidden request to the bucket: %v", v)
	}
	w.stop()
	ended.Wait()
}

// heal ends all faults.
func (w *world) heal() {
	w.faulty = false
	clear(w.cuts)
	clear(w.severed)
	w.mu.Lock()
	w.healed = true
	w.mu.Unlock()
	for _, name := range w.names {
		h := w.hosts[name]
		h.paused = time.Time{}
		if h.life == nil {
			w.restart(h, time.Second)
		}
	}
	w.s.release()
}

// converge has all agents catch up, and compares their states.
func (w *world) converge() {
	type answer struct {
		index, hash uint64
		aside       int // so many agents say that they do not reach the bucket
		err         error
	}
	answers := make([]answer, len(w.names))
	var asked sync.WaitGroup
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i, name := range w.names {
		asked.Go(func() {
			for {
				l := w.living(name)
				err := errBroken
				if l != nil {
					err = l.replica.Ask(ctx, metadata.Fresh(), func(state.Reader) {})
				}
				if err == nil || ctx.Err() != nil {
					answers[i].err = err
					return
				}
				wait(ctx, time.Second)
			}
		})
	}
	w.await(asked.Wait)
	wait := func(f func(i int, l *life)) {
		for i, name := range w.names {
			if l := w.living(name); l != nil {
				f(i, l)
			} else {
				answers[i].err = errBroken
			}
		}
	}
	for range 50 { // claims, and what else agents do by themselves, may still move them
		w.sleep(2 * time.Second)
		wait(func(i int, l *life) {
			answers[i].err = l.replica.Ask(context.Background(), metadata.Local(), func(r state.Reader) {
				answers[i].index, answers[i].hash, answers[i].aside = r.Index(), state.HashOf(r), 0
				for s := range r.Sessions() {
					if s.Aside && !s.Closed {
						answers[i].aside++
					}
				}
			})
		})
		if !slices.ContainsFunc(answers, func(a answer) bool { return a != answers[0] || a.err != nil || a.aside > 0 }) {
			return
		}
	}
	w.violate("the replicas do not reach the same state: %+v", answers)
}

// living is the process at a host that serves; nil if none does. For the scheduler's goroutine, and for others while it waits for them.
func (w *world) living(name string) *life {
	l := w.hosts[name].life
	if l == nil || !l.clientsUp.Load() || l.dead.Load() {
		return nil
	}
	return l
}

// await runs the scheduler until f, which runs elsewhere, is done.
func (w *world) await(f func()) {
	done := false
	go func() {
		f()
		w.s.submit(&step{who: "world", what: "goes on", decide: func(*rand.Rand) time.Duration { return 0 }, run: func() time.Duration { done = true; return 0 }})
	}()
	w.s.run(func() bool { return done })
}

// sleep runs the scheduler for some time.
func (w *world) sleep(d time.Duration) { w.await(func() { wait(context.Background(), d) }) }

// stop ends all processes, and waits until nothing of them runs.
func (w *world) stop() {
	w.stopped = true
	w.gone.Store(true)
	for _, l := range w.lives {
		l.dead.Store(true)
		l.kill()
	}
	w.await(func() {
		for _, l := range w.lives {
			l.parts.Wait()
		}
		w.clients.Wait()
	})
}

// wait passes virtual time.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
