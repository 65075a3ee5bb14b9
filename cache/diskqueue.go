package cache

import (
	"slices"
	"sync"
)

// diskOp is one thing for the writer to do: store chunk, or delete names and close dropped.
type diskOp struct {
	chunk   *chunk
	names   [][]byte
	dropped chan struct{}
}

// diskQueue is what waits for the disk's writer: at most limit bytes of chunks, further ones are refused; deletes are not
// refused, their callers wait for them.
//
// mu guards all fields; ready is signalled when ops or closed change.
type diskQueue struct {
	mu     sync.Mutex
	ready  sync.Cond
	limit  int64
	bytes  int64 // of the chunks in ops and of the batch being written
	taken  int64 // of the batch being written
	ops    []diskOp
	closed bool
}

func (q *diskQueue) init(limit int64) {
	q.limit = limit
	q.ready.L = &q.mu
}

// offer adds a chunk, unless the queue is full or closed.
func (q *diskQueue) offer(c *chunk) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.bytes+c.charge() > q.limit {
		return false
	}
	q.bytes += c.charge()
	q.ops = append(q.ops, diskOp{chunk: c})
	q.ready.Signal()
	return true
}

// drop adds a delete after everything that was offered, and answers what is closed when it is done; nil if the queue is closed.
func (q *diskQueue) drop(names [][]byte) <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil
	}
	done := make(chan struct{})
	q.ops = append(q.ops, diskOp{names: names, dropped: done})
	q.ready.Signal()
	return done
}

// take waits for ops and answers the first ones, at most bytes of chunks but at least one op. No more come after false.
// What was taken before counts as written.
func (q *diskQueue) take(bytes int64) ([]diskOp, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes -= q.taken
	q.taken = 0
	for len(q.ops) == 0 && !q.closed {
		q.ready.Wait()
	}
	n := 0
	for ; n < len(q.ops); n++ {
		if c := q.ops[n].chunk; c != nil {
			if n > 0 && q.taken+c.charge() > bytes {
				break
			}
			q.taken += c.charge()
		}
	}
	ops := slices.Clone(q.ops[:n])
	q.ops = slices.Delete(q.ops, 0, n)
	return ops, n > 0
}

// close refuses further ops; those that wait are still taken.
func (q *diskQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.ready.Broadcast()
}
