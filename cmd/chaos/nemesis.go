package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/leat-stream/leat/cmd/chaos/door"
	"github.com/leat-stream/leat/cmd/chaos/history"
)

// kind is a kind of fault. run does it to the slots, and undoes it before it returns: it waits length in between.
type kind struct {
	name     string
	weight   int
	violent  bool // a client may see errors, where Kafka would let it see them too
	beside   bool // may happen while another fault lasts
	etcd     bool // needs one
	two      bool // needs two agents
	callers  bool // needs to know which agent opened a connection
	min, max time.Duration
	run      func(context.Context, *bed, fault) error
}

// fault is one that was drawn. Everything but the leader's place follows from the seed.
type fault struct {
	kind   *kind
	victim int           // number of a regular slot, or of a member of etcd
	other  int           // number of another regular slot, if there are two
	length time.Duration // of what lasts
	pause  time.Duration // before the next one
}

func (f fault) String() string {
	who := fmt.Sprint(f.victim)
	if f.kind.two {
		who += fmt.Sprintf(" (%d)", f.other)
	}
	return fmt.Sprintf("%s, agent %s, %.1f s", f.kind.name, who, f.length.Seconds())
}

var kinds = slices.Concat(agentKinds, bucketKinds, peerKinds, etcdKinds)

var agentKinds = []*kind{
	{name: "kill", weight: 3, violent: true, max: 5 * time.Second, run: one(kill)},
	{name: "kill the leader", weight: 3, violent: true, max: 5 * time.Second, run: leader(kill)},
	{name: "kill all", weight: 1, violent: true, max: 3 * time.Second, run: killAll},
	{name: "kill and wipe the cache", weight: 1, violent: true, max: 2 * time.Second, run: one(wipe)},
	{name: "pause", weight: 2, violent: true, min: time.Second, max: 30 * time.Second, run: one(pause)},
	{name: "pause the leader", weight: 2, violent: true, min: time.Second, max: 30 * time.Second, run: leader(pause)},
	{name: "drain and restart", weight: 3, max: 3 * time.Second, run: one(drain)},
	{name: "drain the leader and restart", weight: 2, max: 3 * time.Second, run: leader(drain)},
	{name: "rolling restart", weight: 1, max: time.Second, run: roll},
	{name: "scale out and in", weight: 2, min: 2 * time.Second, max: 10 * time.Second, run: scale},
}

var bucketKinds = []*kind{
	{name: "bucket away from one", weight: 2, violent: true, beside: true, min: time.Second, max: 20 * time.Second, run: one(cut)},
	{name: "bucket away from the leader", weight: 2, violent: true, min: time.Second, max: 20 * time.Second, run: leader(cut)},
	{name: "bucket away from all", weight: 1, violent: true, min: time.Second, max: 15 * time.Second, run: all(cut)},
	{name: "slow bucket", weight: 2, violent: true, beside: true, min: 2 * time.Second, max: 15 * time.Second,
		run: all(toxic("latency", "downstream", map[string]any{"latency": 800, "jitter": 700}))},
	{name: "narrow bucket", weight: 1, violent: true, beside: true, min: 2 * time.Second, max: 15 * time.Second,
		run: one(toxic("bandwidth", "upstream", map[string]any{"rate": 20}))},
	{name: "requests reset", weight: 1, violent: true, min: 2 * time.Second, max: 10 * time.Second,
		run: all(toxic("reset_peer", "downstream", map[string]any{"timeout": 100}))},
	{name: "requests swallowed", weight: 2, violent: true, min: 2 * time.Second, max: 15 * time.Second,
		run: leader(toxic("timeout", "upstream", map[string]any{"timeout": 0}))},
	{name: "answers lost", weight: 2, violent: true, min: 2 * time.Second, max: 15 * time.Second,
		run: leader(toxic("timeout", "downstream", map[string]any{"timeout": 3000}))},
	{name: "answers of all lost", weight: 1, violent: true, min: 2 * time.Second, max: 15 * time.Second,
		run: all(toxic("timeout", "downstream", map[string]any{"timeout": 3000}))},
	{name: "503 SlowDown", weight: 2, violent: true, beside: true, min: 2 * time.Second, max: 20 * time.Second,
		run: all(hurdles(func(h *hurdle, on int64) { h.refuse.Store(50 * on) }))},
	{name: "500 after success", weight: 2, violent: true, beside: true, min: 2 * time.Second, max: 20 * time.Second,
		run: all(hurdles(func(h *hurdle, on int64) { h.deny.Store(30 * on) }))},
	{name: "late PUTs", weight: 2, violent: true, beside: true, min: 2 * time.Second, max: 20 * time.Second,
		run: all(hurdles(func(h *hurdle, on int64) { h.late.Store(30 * on) }))},
}

var etcdKinds = []*kind{
	{name: "kill a member of etcd", weight: 4, violent: true, beside: true, etcd: true, max: 10 * time.Second, run: killMember},
	{name: "pause a member of etcd", weight: 2, violent: true, etcd: true, min: time.Second, max: 15 * time.Second, run: pauseMember},
}

// drawing draws faults from a seed. It belongs to one goroutine.
type drawing struct {
	rng    *rand.Rand
	agents int
	kinds  []*kind
	alone  bool
	quiet  time.Duration // longest pause
}

// newDrawing draws among the kinds that are possible, and whose names the plan lists, unless it lists none.
func newDrawing(p plan) (*drawing, error) {
	d := &drawing{rng: rand.New(rand.NewPCG(p.seed, 0)), agents: p.agents, alone: p.alone, quiet: p.quiet}
	for _, k := range kinds {
		possible := (p.journal == etcdJournal || !k.etcd) && (p.agents > 1 || !k.two) && (door.KnowsCallers || !k.callers)
		if possible && (len(p.only) == 0 || p.only[k.name]) {
			d.kinds = append(d.kinds, k)
		}
	}
	if len(d.kinds) == 0 || (len(p.only) > 0 && len(d.kinds) != len(p.only)) {
		return nil, errors.New("-only names a fault that is unknown or not possible")
	}
	return d, nil
}

// next draws what happens next: one fault, or now and then another one beside it.
func (d *drawing) next() []fault {
	first := d.draw(d.kinds)
	var beside []*kind
	for _, k := range d.kinds {
		if !d.alone && k.beside && k != first.kind && first.kind.violent && !(k.etcd && first.kind.etcd) {
			beside = append(beside, k)
		}
	}
	if d.rng.IntN(3) > 0 || len(beside) == 0 {
		return []fault{first}
	}
	return []fault{first, d.draw(beside)}
}

func (d *drawing) draw(among []*kind) fault {
	sum := 0
	for _, k := range among {
		sum += k.weight
	}
	at := d.rng.IntN(sum)
	f := fault{victim: d.rng.IntN(d.agents), pause: time.Duration(d.rng.Int64N(int64(d.quiet)))}
	f.other = (f.victim + 1 + d.rng.IntN(max(1, d.agents-1))) % d.agents
	for _, k := range among {
		if at -= k.weight; at < 0 {
			f.kind = k
			break
		}
	}
	// Short ones are the most frequent.
	x := d.rng.Float64()
	f.length = f.kind.min + time.Duration(x*x*float64(f.kind.max-f.kind.min))
	return f
}

// torment does what next draws, until ctx ends or there is nothing more to do. A fault that lasts is undone first.
func torment(ctx context.Context, b *bed, h *history.History, next func() []fault) {
	for ctx.Err() == nil {
		faults := next()
		if len(faults) == 0 {
			return
		}
		var lasting sync.WaitGroup
		for _, f := range faults {
			lasting.Go(func() {
				b.notes.begins(f)
				err := f.kind.run(ctx, b, f)
				b.notes.ends(f, err)
				if err != nil && ctx.Err() == nil {
					h.Accuse("%s: %v", f, err)
				}
			})
		}
		lasting.Wait()
		wait(ctx, faults[0].pause)
	}
}

// wait returns after a while, or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// deed is what is done to one agent.
type deed func(context.Context, *bed, *slot, fault) error

func one(do deed) func(context.Context, *bed, fault) error {
	return func(ctx context.Context, b *bed, f fault) error { return do(ctx, b, b.slots[f.victim], f) }
}

func leader(do deed) func(context.Context, *bed, fault) error {
	return func(ctx context.Context, b *bed, f fault) error {
		s := b.leader(ctx)
		b.notes.note("the leader is %s", s.name)
		return do(ctx, b, s, f)
	}
}

func all(do deed) func(context.Context, *bed, fault) error {
	return func(ctx context.Context, b *bed, f fault) error {
		errs := make([]error, len(b.regular()))
		var doing sync.WaitGroup
		for i, s := range b.regular() {
			doing.Go(func() { errs[i] = do(ctx, b, s, f) })
		}
		doing.Wait()
		return errors.Join(errs...)
	}
}

func kill(ctx context.Context, _ *bed, s *slot, f fault) error {
	s.kill()
	wait(ctx, f.length)
	return s.start()
}

func killAll(ctx context.Context, b *bed, f fault) error {
	for _, s := range b.regular() { // none may save anything between the first and the last
		s.signal(syscall.SIGSTOP)
	}
	return all(kill)(ctx, b, f)
}

func wipe(ctx context.Context, _ *bed, s *slot, f fault) error {
	s.kill()
	if err := os.RemoveAll(s.cache); err != nil {
		return err
	}
	wait(ctx, f.length)
	return s.start()
}

func pause(ctx context.Context, _ *bed, s *slot, f fault) error {
	s.signal(syscall.SIGSTOP)
	wait(ctx, f.length)
	s.signal(syscall.SIGCONT)
	return nil
}

// settling bounds how long agents take to be ready when nothing is in their way.
const settling = 2 * time.Minute

// settle waits until everybody serves: what is graceful begins and ends like that.
func settle(ctx context.Context, b *bed) error {
	ctx, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	return b.ready(ctx)
}

func drain(ctx context.Context, b *bed, s *slot, f fault) error {
	if err := settle(ctx, b); err != nil {
		return err
	}
	err := s.stop()
	wait(ctx, f.length)
	return errors.Join(err, s.start(), settle(ctx, b))
}

func roll(ctx context.Context, b *bed, f fault) error {
	for _, s := range b.regular() {
		if err := drain(ctx, b, s, f); err != nil {
			return err
		}
	}
	return nil
}

func scale(ctx context.Context, b *bed, f fault) error {
	err := b.spare().start()
	if err == nil {
		ready, cancel := context.WithTimeout(ctx, settling)
		err = b.spare().ready(ready)
		cancel()
	}
	wait(ctx, f.length)
	return errors.Join(err, settle(ctx, b), b.spare().stop())
}

func cut(ctx context.Context, _ *bed, s *slot, f fault) error {
	err := s.way.enable(ctx, false)
	wait(ctx, f.length)
	return errors.Join(err, s.way.enable(context.WithoutCancel(ctx), true))
}

func toxic(name, stream string, attributes map[string]any) deed {
	return func(ctx context.Context, _ *bed, s *slot, f fault) error {
		if err := s.way.poison(ctx, name, stream, attributes); err != nil {
			return err
		}
		wait(ctx, f.length)
		return s.way.cure(context.WithoutCancel(ctx), name, stream)
	}
}

func hurdles(set func(h *hurdle, on int64)) deed {
	return func(ctx context.Context, _ *bed, s *slot, f fault) error {
		set(s.way.hurdle, 1)
		wait(ctx, f.length)
		set(s.way.hurdle, 0)
		return nil
	}
}

func killMember(ctx context.Context, b *bed, f fault) error {
	m := b.etcd.Members[f.victim%len(b.etcd.Members)]
	m.Kill()
	wait(ctx, f.length)
	return m.Start(context.WithoutCancel(ctx))
}

func pauseMember(ctx context.Context, b *bed, f fault) error {
	m := b.etcd.Members[f.victim%len(b.etcd.Members)]
	m.Signal(syscall.SIGSTOP)
	wait(ctx, f.length)
	m.Signal(syscall.SIGCONT)
	return nil
}
