package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/leat-stream/leat/objectstore"
)

// bucket is the store as one agent's process reaches it: each request is a step, and its answer another.
type bucket struct {
	w *world
	l *life
}

var _ objectstore.Store = (*bucket)(nil)

var (
	errStoreTimeout = errors.New("the store did not answer")
	errStoreReset   = errors.New("connection to the store was reset")
	errCrashed      = errors.New("this process is dead")
)

// reply is what somebody waits for. It is given once, by a step.
type reply[T any] struct {
	done  chan struct{}
	value T
	err   error
}

func newReply[T any]() *reply[T] { return &reply[T]{done: make(chan struct{})} }

func (r *reply[T]) given() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// give is for steps only.
func (r *reply[T]) give(v T, err error) {
	if !r.given() {
		r.value, r.err = v, err
		close(r.done)
	}
}

// wait prefers the answer if ctx has ended too, so that it never depends on which of them a select picks.
func (r *reply[T]) wait(ctx context.Context) (T, error) {
	select {
	case <-r.done:
		return r.value, r.err
	case <-ctx.Done():
		if r.given() {
			return r.value, r.err
		}
		var none T
		return none, context.Cause(ctx)
	}
}

// outcome is how a request to the store fares.
type outcome int

const (
	plain      outcome = iota
	refused            // 503: certainly not applied
	lost               // never arrives; the caller hears of a time-out
	unanswered         // applied, but the caller hears of a reset
	late               // the caller hears of a time-out first, and it is applied afterwards
)

var outcomeNames = []string{"", "503", "lost", "answer lost", "late"}

// storeFate draws how a request fares and how long its way there, and back, takes.
func (w *world) storeFate(r *rand.Rand, write bool) (o outcome, there, back time.Duration) {
	there, back = w.cfg.storeDelay(r), w.cfg.storeDelay(r)
	if !w.faulty {
		return plain, there, back
	}
	if chance(r, w.cfg.slow) {
		there += time.Duration(r.Int64N(int64(8 * time.Second)))
		w.count("store slow")
		if chance(r, 0.1) {
			there += time.Duration(r.Int64N(int64(2 * time.Minute)))
			w.count("store slow for minutes")
		}
	}
	if chance(r, w.cfg.storeFaults) {
		o = outcome(1 + r.IntN(int(late)))
		if !write && o != refused {
			o = lost
		}
		w.count("store " + outcomeNames[o])
	}
	return o, there, back
}

// request takes a request through its fate. apply is run at most once, by the scheduler.
func request[T any](ctx context.Context, b *bucket, name string, write bool, apply func() (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, fmt.Errorf("store: %s: %w: %w", name, objectstore.ErrNotApplied, context.Cause(ctx))
	}
	if b.l.dead.Load() {
		return none, errCrashed
	}
	w, r := b.w, newReply[T]()
	var o outcome
	var back time.Duration
	var orphan bool // lands even though the agent that sent it is dead
	answer := func(v T, err error) {
		w.s.submit(&step{who: b.l.name, what: "answered " + name, decide: func(*rand.Rand) time.Duration { return back }, run: func() time.Duration {
			if hold := b.l.host.held(); hold > 0 && !b.l.dead.Load() {
				return hold
			}
			if s, ok := w.severing(b.l); ok && s.silent {
				return time.Until(s.until)
			}
			r.give(v, err)
			return 0
		}})
	}
	land := func() {
		if b.l.dead.Load() && !(write && orphan) {
			w.s.trace(b.l.name, "vanishes "+name)
			return
		}
		if b.l.dead.Load() || r.given() || ctx.Err() != nil {
			w.count("store orphan landed")
		}
		v, err := apply()
		if o == late {
			return
		}
		if o == unanswered {
			v, err = none, fmt.Errorf("store: %s: %w", name, errStoreReset)
		}
		answer(v, err)
	}
	first := &step{who: b.l.name, what: name}
	first.decide = func(rng *rand.Rand) (after time.Duration) {
		o, after, back = w.storeFate(rng, write)
		orphan = chance(rng, 0.5)
		if o != plain {
			first.what += " [" + outcomeNames[o] + "]"
		}
		if o == lost || o == late {
			back += time.Duration(rng.Int64N(int64(5 * time.Second)))
		}
		if o == late {
			landing := after + time.Duration(rng.Int64N(int64(3*time.Minute)))
			w.s.submit(&step{
				who: b.l.name, what: "lands late: " + name, decide: func(*rand.Rand) time.Duration { return landing },
				run: func() time.Duration { land(); return 0 },
			})
		}
		return after
	}
	first.run = func() time.Duration {
		if hold := b.l.host.held(); hold > 0 && !b.l.dead.Load() {
			return hold
		}
		if s, ok := w.severing(b.l); ok {
			if s.silent {
				return time.Until(s.until)
			}
			answer(none, fmt.Errorf("store: %s: %w", name, errStoreReset))
			return 0
		}
		switch o {
		case refused:
			answer(none, fmt.Errorf("store: %s: %w: %w", name, objectstore.ErrThrottled, objectstore.ErrNotApplied))
		case lost, late:
			answer(none, fmt.Errorf("store: %s: %w", name, errStoreTimeout))
		default:
			land()
		}
		return 0
	}
	w.s.submit(first)
	v, err := r.wait(ctx)
	if err != nil && b.l.dead.Load() {
		err = fmt.Errorf("%w: %w", errCrashed, err)
	}
	return v, err
}

// canonical is a key without what is drawn by crypto/rand.
func (w *world) canonical(key string) string {
	key = strings.TrimPrefix(key, "sim/")
	if rest, ok := strings.CutPrefix(key, "snapshot/"); ok && len(rest) > 33 {
		return "snapshot/" + rest[:len(rest)-33]
	}
	if strings.HasPrefix(key, "probe/") {
		return "probe"
	}
	if rest, ok := strings.CutPrefix(key, "data/"); ok && len(rest) > 33 {
		return "data/" + rest[:6] + rest[32:]
	}
	return key
}

// Get implements objectstore.Store.
func (b *bucket) Get(ctx context.Context, key string, r objectstore.Range) (objectstore.Object, error) {
	return request(ctx, b, "GET "+b.w.canonical(key), false, func() (objectstore.Object, error) {
		o, err := b.w.store.Get(context.Background(), key, r)
		if err != nil {
			return o, err
		}
		data, err := io.ReadAll(o.Reader)
		if b.w.mutant == oldHead && key == b.w.keys.Head() {
			if b.l.head == nil {
				b.l.head = data
			}
			data = b.l.head
		}
		o.Reader = io.NopCloser(bytes.NewReader(data))
		return o, err
	})
}

// Put implements objectstore.Store.
func (b *bucket) Put(ctx context.Context, key string, body objectstore.Body, c objectstore.Condition) (objectstore.Version, error) {
	data := slices.Concat(body.Parts()...)
	return request(ctx, b, fmt.Sprintf("PUT %s (%d)", b.w.canonical(key), len(data)), true, func() (objectstore.Version, error) {
		return b.w.store.Put(context.Background(), key, objectstore.NewBody(data), c)
	})
}

// Delete implements objectstore.Store.
func (b *bucket) Delete(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	keys = slices.Clone(keys)
	first := keys[0]
	_, err := request(ctx, b, fmt.Sprintf("DELETE %s + %d", b.w.canonical(first), len(keys)-1), true, func() (struct{}, error) {
		return struct{}{}, b.w.store.Delete(context.Background(), keys...)
	})
	return err
}

// List implements objectstore.Store.
func (b *bucket) List(ctx context.Context, prefix, after string) iter.Seq2[objectstore.Info, error] {
	return func(yield func(objectstore.Info, error) bool) {
		found, err := request(ctx, b, "LIST "+b.w.canonical(prefix), false, func() (found []objectstore.Info, err error) {
			for info, err := range b.w.store.List(context.Background(), prefix, after) {
				if err != nil {
					return nil, err
				}
				found = append(found, info)
			}
			return found, nil
		})
		if err != nil {
			yield(objectstore.Info{}, err)
			return
		}
		for _, info := range found {
			if !yield(info, nil) {
				return
			}
		}
	}
}

func chance(r *rand.Rand, p float64) bool { return r.Float64() < p }
