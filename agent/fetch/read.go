package fetch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/leat-stream/leat/cache"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
)

// Chunks reads byte ranges of immutable objects, through the cache. The slices are shared and must not be changed.
type Chunks interface {
	Read(ctx context.Context, key string, size, off, n int64, class cache.Class) ([][]byte, error)
}

// readAll reads what was planned. The budget is spent in request order, as if the partitions were read one after the
// other, but those whose share is certain are read side by side.
func (f *Fetcher) readAll(ctx context.Context, req Request, plans []plan, held *pins) []Got {
	got := make([]Got, len(plans))
	s := spending{rest: req.MaxBytes}
	slots := make(chan struct{}, f.cfg.Parallel)
	first := true // the first partition that has something answers a batch even if that is larger than every limit
	for i := range plans {
		p, want := &plans[i], req.Partitions[i]
		if got[i] = p.got(); p.err != nil {
			continue
		}
		most := p.most(want)
		if most == 0 {
			continue
		}
		budget := s.reserve(min(want.MaxBytes, most))
		if budget == 0 && !first {
			continue
		}
		share := share{request: req, want: want, budget: budget, atLeastOne: first, held: held}
		first = false
		if len(plans) == 1 {
			f.readInto(ctx, share, p, &got[i])
			return got
		}
		slots <- struct{}{}
		s.reading.Go(func() {
			f.readInto(ctx, share, p, &got[i])
			s.unused.Add(budget - got[i].Records.Size())
			<-slots
		})
	}
	s.reading.Wait()
	return got
}

// spending is the bytes of one answer. rest is owned by the goroutine that gives out shares.
type spending struct {
	rest    int64 // neither reserved nor spent
	unused  atomic.Int64
	reading sync.WaitGroup
}

// reserve answers a share of up to most bytes. If that much is not left for certain, it waits for the reads under way,
// which may turn out to need less than they reserved.
func (s *spending) reserve(most int64) int64 {
	if s.rest < most {
		s.reading.Wait()
		s.rest += s.unused.Swap(0)
	}
	n := max(0, min(most, s.rest))
	s.rest -= n
	return n
}

// share is what one partition of a request may answer.
type share struct {
	request    Request
	want       Want
	budget     int64 // bytes at most,
	atLeastOne bool  // but the first batch even if it is larger
	held       *pins
}

// got is the answer for a partition without records.
func (p *plan) got() Got {
	if p.err != nil {
		return failed(p.err)
	}
	return Got{LogStart: p.view.LogStart, Stable: p.view.Stable, Watermark: p.view.Watermark, Aborted: p.view.Aborted}
}

// failed is the answer for a partition with an error.
func failed(err error) Got { return Got{Err: err, LogStart: -1, Stable: -1, Watermark: -1} }

// readInto reads one partition. An object that is gone is looked for once more at a fresh index (R4): it may have been
// merged away since the plan was made.
func (f *Fetcher) readInto(ctx context.Context, s share, p *plan, got *Got) {
	records, count, err := f.read(ctx, p, s.want, s.budget, s.atLeastOne, s.held)
	if errors.Is(err, objectstore.ErrNotFound) && len(records) == 0 {
		var again plan
		if askErr := f.meta.Ask(ctx, metadata.Fresh(), func(r state.Reader) { again = locateOne(r, s.request, s.want) }); askErr != nil {
			again.err = askErr
		}
		if again.err != nil {
			*got = failed(again.err)
			return
		}
		*p = again
		got.LogStart, got.Stable, got.Watermark, got.Aborted = p.view.LogStart, p.view.Stable, p.view.Watermark, p.view.Aborted
		records, count, err = f.read(ctx, p, s.want, s.budget, s.atLeastOne, s.held)
	}
	got.Records, got.Count = records, count
	if err == nil || len(records) > 0 {
		return // what was read is good; the error comes back when the consumer asks for the rest
	}
	*got = failed(f.unreadable(ctx, s.want.TP, s.want.Offset, err))
}

// unreadable makes an ErrStorage of what the bucket did not give, and tells people, unless it is only ctx that ended.
func (f *Fetcher) unreadable(ctx context.Context, tp state.TopicPartition, offset int64, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	f.metrics.failures[causeOf(err)].Inc()
	f.log.Error("the bucket does not give what the metadata names",
		"topic", tp.Topic, "partition", tp.Partition, "offset", offset, "error", err)
	if errors.Is(err, ErrStorage) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrStorage, err)
}

// read answers whole batches from the wanted offset on, and how many records they hold.
func (f *Fetcher) read(ctx context.Context, p *plan, want Want, budget int64, atLeastOne bool, held *pins) (Records, int64, error) {
	class := cache.Backfill
	if n := len(p.view.Extents); n > 0 && p.view.Extents[n-1].Last+1 >= p.view.Watermark {
		class = cache.Tail // this fetch reaches the end of the log
	}
	a := assembly{from: want.Offset, end: p.end, budget: budget, atLeastOne: atLeastOne}
	defer func() { held.copied.Add(a.out.copied) }()
	for _, e := range p.view.Extents {
		if e.Last < want.Offset {
			continue
		}
		c := cursor{ctx: ctx, chunks: f.chunks, key: f.keys.Data(objectstore.Segment{
			Owner: e.Object.Owner, Number: e.Object.Number, Attempt: e.Object.Attempt,
		}), extent: e, class: class, pins: held, chunk: -1}
		full, err := a.add(&c)
		if err != nil {
			return a.out.records, a.count, fmt.Errorf("object %s, offsets %d to %d: %w", c.key, e.Base, e.Last, err)
		}
		if full {
			break
		}
	}
	return a.out.records, a.count, nil
}

// window is how much of an extent a cursor asks the cache for at once, bytes.
const window = 1 << 20

// cursor walks over the bytes of one extent, reading windows as they are needed.
type cursor struct {
	ctx    context.Context
	chunks Chunks
	key    string
	extent state.Extent
	class  cache.Class

	parts [][]byte // what was read and is not consumed yet
	held  int64    // bytes of parts

	pins  *pins
	chunk int64 // that was last asked for, -1: none
	refer bool  // to it
	read  int64 // bytes of the extent that were read
}

// left is how many bytes of the extent are not consumed yet.
func (c *cursor) left() int64 { return c.extent.Len - c.read + c.held }

// ensure reads until n bytes are held; the caller has checked that so many are left.
func (c *cursor) ensure(n int64) error {
	for c.held < n {
		want := min(max(n-c.held, window), c.extent.Len-c.read)
		parts, err := c.chunks.Read(c.ctx, c.key, c.extent.ObjectSize, c.extent.Pos+c.read, want, c.class)
		if err != nil {
			return err
		}
		var got int64
		for _, part := range parts {
			got += int64(len(part))
		}
		if got != want {
			return fmt.Errorf("%w: %d bytes instead of %d", ErrStorage, got, want)
		}
		c.parts = append(c.parts, parts...)
		c.held += got
		c.read += got
	}
	return nil
}

// peek copies the next len(dst) bytes, which ensure has read, without consuming them.
func (c *cursor) peek(dst []byte) {
	for _, part := range c.parts {
		dst = dst[copy(dst, part):]
		if len(dst) == 0 {
			return
		}
	}
}

// skip consumes n bytes; those that were not read yet are never read.
func (c *cursor) skip(n int64) {
	for n > 0 && len(c.parts) > 0 {
		part := c.parts[0]
		if int64(len(part)) > n {
			c.parts[0] = part[n:]
			c.held -= n
			return
		}
		n -= int64(len(part))
		c.held -= int64(len(part))
		c.parts = c.parts[1:]
	}
	c.read += n
}

// taken is the bytes of one batch, and which of its parts may be referred to.
type taken struct {
	parts [][]byte
	refer []bool
}

// mayRefer tells whether the answer may refer to the chunk that the cursor is in.
func (c *cursor) mayRefer() bool {
	if at := (c.extent.Pos + c.read - c.held) / c.pins.chunk; at != c.chunk {
		c.chunk, c.refer = at, c.pins.hold(c.key, at)
	}
	return c.refer
}

// take takes the next n bytes, which ensure has read, as slices and without copying them, and consumes them.
func (c *cursor) take(t *taken, n int64) {
	t.parts, t.refer = t.parts[:0], t.refer[:0]
	for n > 0 {
		part := c.parts[0]
		if int64(len(part)) > n {
			part = part[:n]
		}
		t.parts, t.refer = append(t.parts, part), append(t.refer, len(part) >= referBytes && c.mayRefer())
		c.skip(int64(len(part)))
		n -= int64(len(part))
	}
}
