package produce

import (
	"context"
	"sync"
	"time"

	"github.com/leat-stream/leat/metadata/state"
)

// item is one accepted batch on its way. Its bytes belong to the request's frame, which lives as long as the item.
type item struct {
	tp         state.TopicPartition
	bytes      []byte
	batch      state.Batch
	appendTime int64  // ms since the epoch that the batch was stamped with, or -1
	accept     uint64 // journal index that was applied when it was accepted
	pending    *Pending
	slot       int // of its outcome in pending
	at         time.Time
}

// buffer is the agent's one open buffer. Batches leave it in the order in which they came.
//
// Bound: held counts the bytes between accept and commit; when limit is reached, add waits (which stops the reading of the
// connection that it serves) until commits release bytes. A single request may exceed what is left, so that the largest
// request always fits; held is thus bounded by limit plus one request per connection that waits.
type buffer struct {
	limit int64

	mu      sync.Mutex
	items   []item
	bytes   int64         // of items
	held    int64         // of items and of everything taken but not yet released
	room    chan struct{} // closed and replaced when held shrinks
	arrived chan struct{} // holds one signal when items were added or the buffer was closed
	closed  error
}

func newBuffer(limit int64) *buffer {
	return &buffer{limit: limit, room: make(chan struct{}), arrived: make(chan struct{}, 1)}
}

// add appends the items of one request, together and in order, or fails without adding any.
func (b *buffer) add(ctx context.Context, items []item) error {
	var size int64
	for i := range items {
		size += int64(len(items[i].bytes))
	}
	for {
		b.mu.Lock()
		if b.closed != nil {
			b.mu.Unlock()
			return b.closed
		}
		if b.held == 0 || b.held+size <= b.limit {
			now := time.Now()
			for i := range items {
				items[i].at = now
			}
			b.items = append(b.items, items...)
			b.bytes += size
			b.held += size
			b.mu.Unlock()
			b.signal()
			return nil
		}
		room := b.room
		b.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
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

// maxItems bounds the batches of one object, and with them the command that commits it.
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
func (b *buffer) release(size int64) {
	b.mu.Lock()
	b.held -= size
	room := b.room
	b.room = make(chan struct{})
	b.mu.Unlock()
	close(room)
}

// close refuses further items with err; what is inside still gets sealed.
func (b *buffer) close(err error) {
	b.mu.Lock()
	if b.closed == nil {
		b.closed = err
	}
	room := b.room
	b.room = make(chan struct{})
	b.mu.Unlock()
	close(room)
	b.signal()
}

// empty waits until nothing is held.
func (b *buffer) empty(ctx context.Context) error {
	for {
		b.mu.Lock()
		held, room := b.held, b.room
		b.mu.Unlock()
		if held == 0 {
			return nil
		}
		select {
		case <-room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
