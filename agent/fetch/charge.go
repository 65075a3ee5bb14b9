package fetch

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// memoryPatience is how much longer than MaxWait a fetch waits for memory for its answer.
	memoryPatience = 5 * time.Second
	// firstBatch is taken for a batch that is answered whatever the limits say, bytes: the largest one by default (max.message.bytes).
	firstBatch = 1 << 20
	// pinFactor times what was taken for an answer is what it may hold, as long as memory is not scarce.
	pinFactor = 4
	// usualChunk is the size of a cached chunk by default, bytes.
	usualChunk = 1 << 20
)

// charge takes memory for what would be answered, and answers the request cut down to what there was, and what the answer may hold;
// not ok if there was nothing. What has nothing to read needs none.
func (f *Fetcher) charge(ctx context.Context, req Request, plans []plan, began time.Time) (cut Request, held *pins, ok bool) {
	var bytes, first int64
	for i := range plans {
		most := plans[i].most(req.Partitions[i])
		if plans[i].err != nil || most == 0 {
			continue
		}
		if first == 0 {
			first = min(most, firstBatch)
		}
		bytes += min(most, req.Partitions[i].MaxBytes)
	}
	bytes = max(min(bytes, req.MaxBytes), first)
	if req.Memory == nil || bytes == 0 {
		return req, f.pins(bytes, pinFactor), true
	}
	took, scarce := req.Memory.Take(ctx, bytes, time.Until(began.Add(min(req.MaxWait, f.cfg.MaxWait)+memoryPatience)))
	if took == 0 {
		return req, nil, false
	}
	req.MaxBytes = min(req.MaxBytes, took)
	if scarce {
		return req, f.pins(took, 1), true
	}
	return req, f.pins(took, pinFactor), true
}

// withoutRecords answers what is known of the partitions.
func withoutRecords(plans []plan) []Got {
	got := make([]Got, len(plans))
	for i := range plans {
		got[i] = plans[i].got()
	}
	return got
}

// pins are the chunks that an answer refers to. Each stays in memory as a whole until the answer is sent, also if the cache lets go of it,
// so there may be only so many; what else is answered is copied. Of an object that this agent has just written, what stays is what its
// producers sent, in about the same amount.
type pins struct {
	chunk  int64 // bytes of one
	copied atomic.Int64

	mu    sync.Mutex // guards room and known
	room  int64      // for so many more
	known map[pin]struct{}
}

// pin names a chunk.
type pin struct {
	key   string
	index int64
}

// pins makes room for as many chunks as fit into factor times so many bytes.
func (f *Fetcher) pins(bytes, factor int64) *pins {
	return &pins{chunk: f.chunk, room: bytes * factor / f.chunk}
}

// hold tells whether a chunk may be referred to.
func (p *pins) hold(key string, index int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := pin{key, index}
	if _, ok := p.known[id]; ok {
		return true
	}
	if p.room == 0 {
		return false
	}
	if p.known == nil {
		p.known = map[pin]struct{}{}
	}
	p.room--
	p.known[id] = struct{}{}
	return true
}

// bytes is what the answer holds, once it is read.
func (p *pins) bytes() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.copied.Load() + int64(len(p.known))*p.chunk
}
