package fetch

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/leat-stream/leat/cache"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
)

// Chunks reads byte ranges of immutable objects, through the cache. The slices are shared and must not be changed.
type Chunks interface {
	Read(ctx context.Context, key string, size, off, n int64, class cache.Class) ([][]byte, error)
}

// readAll reads what was planned. Budgets are given in request order before anything is read, by what the plans promise,
// so that partitions can be read side by side.
func (f *Fetcher) readAll(ctx context.Context, req Request, plans []plan) []Got {
	got := make([]Got, len(plans))
	budgets := make([]int64, len(plans))
	rest := req.MaxBytes
	first := -1 // the partition that answers a batch even if it is larger than every limit
	var wanted []int
	for i := range plans {
		got[i] = Got{
			Err: plans[i].err, LogStart: plans[i].view.LogStart, Stable: plans[i].view.Stable,
			Watermark: plans[i].view.Watermark, Aborted: plans[i].view.Aborted,
		}
		if plans[i].err != nil {
			got[i].LogStart, got[i].Stable, got[i].Watermark = -1, -1, -1
			continue
		}
		available := plans[i].available(req.Partitions[i])
		if available == 0 {
			continue
		}
		if first < 0 {
			first = i
		}
		budgets[i] = max(0, min(req.Partitions[i].MaxBytes, rest))
		rest -= min(available, budgets[i])
		if budgets[i] > 0 || i == first {
			wanted = append(wanted, i)
		}
	}
	if len(wanted) == 1 {
		f.readInto(ctx, req, &plans[first], first, budgets[first], true, &got[first])
		return got
	}
	slots := make(chan struct{}, f.cfg.Parallel)
	var wg sync.WaitGroup
	for _, i := range wanted {
		slots <- struct{}{}
		wg.Go(func() {
			f.readInto(ctx, req, &plans[i], i, budgets[i], i == first, &got[i])
			<-slots
		})
	}
	wg.Wait()
	return got
}

// readInto reads one partition. An object that is gone is looked for once more at a fresh index (R4): it may have been
// merged away since the plan was made.
func (f *Fetcher) readInto(ctx context.Context, req Request, p *plan, i int, budget int64, atLeastOne bool, got *Got) {
	want := req.Partitions[i]
	records, err := f.read(ctx, p, want, budget, atLeastOne)
	if errors.Is(err, objectstore.ErrNotFound) {
		var again plan
		if askErr := f.meta.Ask(ctx, metadata.Fresh(), func(r state.Reader) { again = locateOne(r, req, want) }); askErr != nil {
			err = askErr
		} else if again.err != nil {
			err = again.err
		} else {
			*p = again
			got.LogStart, got.Stable, got.Watermark, got.Aborted = p.view.LogStart, p.view.Stable, p.view.Watermark, p.view.Aborted
			records, err = f.read(ctx, p, want, budget, atLeastOne)
		}
	}
	got.Records = records
	if err == nil || len(records) > 0 {
		return // what was read is good; the error comes back when the consumer asks for the rest
	}
	got.Err = err
	if ctx.Err() != nil || errors.Is(err, ErrOutOfRange) || errors.Is(err, ErrUnknownTopic) || errors.Is(err, metadata.ErrUnavailable) {
		return
	}
	f.metrics.failures.Inc()
	f.log.Error("fetch failed: the bucket does not give what the metadata names",
		"topic", want.TP.Topic, "partition", want.TP.Partition, "offset", want.Offset, "error", err)
	if !errors.Is(err, ErrStorage) {
		got.Err = fmt.Errorf("%w: %w", ErrStorage, err)
	}
}

// read answers whole batches from the wanted offset on.
func (f *Fetcher) read(ctx context.Context, p *plan, want Want, budget int64, atLeastOne bool) (Records, error) {
	class := cache.Backfill
	if n := len(p.view.Extents); n > 0 && p.view.Extents[n-1].Last+1 >= p.view.Watermark {
		class = cache.Tail // this fetch reaches the end of the log
	}
	a := assembly{from: want.Offset, end: p.end, budget: budget, atLeastOne: atLeastOne}
	for _, e := range p.view.Extents {
		if e.Last < want.Offset {
			continue
		}
		c := cursor{ctx: ctx, chunks: f.chunks, key: f.keys.Data(objectstore.Segment{
			Owner: e.Object.Owner, Number: e.Object.Number, Attempt: e.Object.Attempt,
		}), extent: e, class: class}
		full, err := a.add(&c)
		if err != nil {
			return a.out.records, fmt.Errorf("object %s, offsets %d to %d: %w", c.key, e.Base, e.Last, err)
		}
		if full {
			break
		}
	}
	return a.out.records, nil
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
	read  int64    // bytes of the extent that were read
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

// take appends the next n bytes, which ensure has read, to dst, as slices and without copying them, and consumes them.
func (c *cursor) take(dst [][]byte, n int64) [][]byte {
	for n > 0 {
		part := c.parts[0]
		if int64(len(part)) > n {
			part = part[:n]
		}
		dst = append(dst, part)
		c.skip(int64(len(part)))
		n -= int64(len(part))
	}
	return dst
}
