package fetch

import (
	"context"
	"iter"
	"sync"

	"github.com/leat-stream/leat/metadata/state"
)

// Waiters wakes long polls when one of their partitions changes. One goroutine, in Run, follows the metadata's changes for
// all of them.
//
// Bound: one registration for each partition of each fetch that waits; fetches are bounded by connections.
type Waiters struct {
	released chan struct{} // closed by Release
	once     sync.Once

	mu    sync.Mutex
	polls map[state.TopicPartition]map[*poll]struct{}
	all   map[*poll]struct{}
}

// poll is one fetch that sleeps. wake holds one signal: more would tell nothing more.
type poll struct{ wake chan struct{} }

func (p *poll) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// NewWaiters makes an empty register.
func NewWaiters() *Waiters {
	return &Waiters{released: make(chan struct{}), polls: map[state.TopicPartition]map[*poll]struct{}{}, all: map[*poll]struct{}{}}
}

// Release has every fetch that waits, now or later, answer what is there: the agent is about to stop, and its clients are to
// go elsewhere. It may be called again.
func (w *Waiters) Release() { w.once.Do(func() { close(w.released) }) }

// Watcher is the part of metadata.Service that tells of changes.
type Watcher interface {
	Watch(ctx context.Context, since uint64) iter.Seq2[state.Change, error]
}

// Run follows the changes after entry since until ctx ends or the metadata stops, which is the error.
func (w *Waiters) Run(ctx context.Context, m Watcher, since uint64) error {
	defer w.wakeAll()
	for change, err := range m.Watch(ctx, since) {
		if err != nil {
			return err
		}
		switch change.Kind {
		case state.ChangePartition:
			w.wake(state.TopicPartition{Topic: change.Topic, Partition: change.Partition})
		case state.ChangeTopic, state.ChangeAll: // rare, and may concern any partition
			w.wakeAll()
		}
	}
	return nil
}

func (w *Waiters) wake(tp state.TopicPartition) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range w.polls[tp] {
		p.signal()
	}
}

func (w *Waiters) wakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range w.all {
		p.signal()
	}
}

// count is how many fetches wait.
func (w *Waiters) count() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return float64(len(w.all))
}

// join registers a fetch; the caller looks at its partitions once more afterwards, and calls leave in the end.
func (w *Waiters) join(partitions []Want) (wake <-chan struct{}, leave func()) {
	p := &poll{wake: make(chan struct{}, 1)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all[p] = struct{}{}
	for _, want := range partitions {
		set := w.polls[want.TP]
		if set == nil {
			set = map[*poll]struct{}{}
			w.polls[want.TP] = set
		}
		set[p] = struct{}{}
	}
	return p.wake, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.all, p)
		for _, want := range partitions {
			set := w.polls[want.TP]
			delete(set, p)
			if len(set) == 0 {
				delete(w.polls, want.TP)
			}
		}
	}
}
