package produce

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// item is one accepted batch on its way. Its bytes belong to the request's frame, which lives as long as the item.
type item struct {
	tp         state.TopicPartition
	bytes      []byte
	batch      state.Batch
	appendTime int64  // ms since the epoch that the batch was stamped with, or -1
	accept     uint64 // journal index that was applied when it was accepted
	lacks      bool   // then its predecessor was not in the state; see lobby
	pending    *Pending
	slot       int // of its outcome in pending
	at         time.Time
}

// buffer is the agent's one open buffer. Batches leave it in the order in which they came.
//
// Bound: held counts the bytes between accept and commit; when limit is reached, add waits (which stops the reading of the
// connection that it serves) until commits release bytes. Those who wait get in in the order in which they came, so that
// small requests never keep a large one out. One request may be larger than limit: it gets in once nothing else is held.
// Early batches count as held, too, while they wait in the lobby.
type buffer struct {
	limit   int64
	lobby   lobby
	refused func() // called for each item that is refused before it was in an object

	mu      sync.Mutex
	items   []item
	bytes   int64     // of items
	held    int64     // of items and of everything taken but not yet released
	waiting []*ticket // for room, the first to come first
	idle    chan struct{}
	arrived chan struct{} // holds one signal when items were added or the buffer was closed
	closed  error
}

// ticket is one add that waits for room.
type ticket struct {
	size  int64
	items []item
	done  chan struct{} // closed when its items are in, or err is set
	err   error
}

func newBuffer(limit int64) *buffer {
	b := &buffer{
		limit: limit, lobby: newLobby(limit), refused: func() {}, idle: make(chan struct{}), arrived: make(chan struct{}, 1),
	}
	close(b.idle)
	return b
}

// add appends the items of one request, together and in order, or fails without adding any. Early ones go to the lobby.
func (b *buffer) add(ctx context.Context, items []item) error {
	t := &ticket{items: items}
	for i := range items {
		t.size += int64(len(items[i].bytes))
	}
	b.mu.Lock()
	if b.closed != nil {
		defer b.mu.Unlock()
		return b.closed
	}
	if len(b.waiting) == 0 && b.fits(t.size) {
		b.admit(t)
		b.mu.Unlock()
		return nil
	}
	t.done = make(chan struct{})
	b.waiting = append(b.waiting, t)
	b.mu.Unlock()
	select {
	case <-t.done:
		return t.err
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-t.done: // decided just before ctx ended
		return t.err
	default:
	}
	b.waiting = slices.DeleteFunc(b.waiting, func(other *ticket) bool { return other == t })
	b.admitWaiting() // those behind it may fit
	return context.Cause(ctx)
}

func (b *buffer) fits(size int64) bool { return b.held == 0 || b.held+size <= b.limit }

// admit puts a ticket's items in. The caller holds mu.
func (b *buffer) admit(t *ticket) {
	if b.held == 0 {
		b.idle = make(chan struct{})
	}
	b.held += t.size
	b.enter(t.items, time.Now())
	b.signal()
}

// admitWaiting lets in who fits, in order. The caller holds mu.
func (b *buffer) admitWaiting() {
	for len(b.waiting) > 0 && b.fits(b.waiting[0].size) {
		t := b.waiting[0]
		b.waiting = slices.Delete(b.waiting, 0, 1)
		b.admit(t)
		close(t.done)
	}
}

func (b *buffer) signal() {
	select {
	case b.arrived <- struct{}{}:
	default:
	}
}

// look tells how much is waiting, and since when.
func (b *buffer) look() (bytes int64, oldest time.Time, closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.items) > 0 {
		oldest = b.items[0].at
	}
	return b.bytes, oldest, b.closed != nil
}

// maxItems bounds the batches of one object, and with them the command that commits it: at the most that each can take, it fits a journal
// entry, however many bytes an object may have. What is left is the next object.
const maxItems = 50_000

// take removes items from the front, at least one if there is any, up to about max bytes.
func (b *buffer) take(max int64) []item {
	b.mu.Lock()
	defer b.mu.Unlock()
	var size int64
	n := 0
	for n < len(b.items) && n < maxItems && (n == 0 || size+int64(len(b.items[n].bytes)) <= max) {
		size += int64(len(b.items[n].bytes))
		n++
	}
	taken := b.items[:n:n]
	b.items = b.items[n:]
	if len(b.items) == 0 {
		b.items = nil
	}
	b.bytes -= size
	return taken
}

// release gives back the bytes of items that were taken and are now answered.
func (b *buffer) release(items []item) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var size int64
	for i := range items {
		size += int64(len(items[i].bytes))
		if items[i].idempotent() {
			b.lobby.left(&items[i])
		}
	}
	b.unhold(size)
	b.admitWaiting()
}

// unhold gives back bytes. The caller holds mu.
func (b *buffer) unhold(size int64) {
	b.held -= size
	if b.held == 0 && size > 0 {
		close(b.idle)
	}
}

// close refuses further items with err, also those that wait for room or for a predecessor; what is inside still gets sealed.
func (b *buffer) close(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed != nil {
		return
	}
	b.closed = err
	for _, t := range b.waiting {
		t.err = err
		close(t.done)
	}
	b.waiting = nil
	for _, e := range slices.Clone(b.lobby.line) {
		b.dismiss(e, refusal(fmt.Errorf("%w: %w", metadata.ErrNotApplied, err)))
	}
	b.signal()
}

// empty waits until nothing is held. It is for a closed buffer.
func (b *buffer) empty(ctx context.Context) error {
	b.mu.Lock()
	idle := b.idle
	b.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// heldBytes is for the metrics.
func (b *buffer) heldBytes() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return float64(b.held)
}
