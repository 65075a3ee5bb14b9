package fetch

import (
	"fmt"

	"github.com/leat-stream/leat/agent/batch"
)

// leaderEpoch of every batch that is served: offsets once given are final and nothing is ever truncated, so the epoch is 0 for
// the life of a topic.
const leaderEpoch = 0

// assembly gathers whole batches of one partition. Kafka cuts the last batch at the limit and clients throw the piece
// away; here it is left out.
type assembly struct {
	from       int64 // first offset that is wanted
	end        int64 // first offset that may not be served
	budget     int64 // bytes of out at most,
	atLeastOne bool  // but the first batch is answered even if it is larger
	out        gathering
	count      int64 // records in out
	batch      taken // kept to be used again
}

// add appends the wanted batches of the extent under the cursor. full: nothing more can be added. Every batch is checked
// against its own checksum, and the extent against the offsets that the metadata promises: wrong bytes are an error,
// never an answer.
func (a *assembly) add(c *cursor) (full bool, err error) {
	next := c.extent.Base
	var header [batch.HeaderSize]byte
	for next <= c.extent.Last {
		if c.left() < batch.HeaderSize {
			return false, fmt.Errorf("%w: extent ends before offset %d", ErrStorage, next)
		}
		if err := c.ensure(batch.HeaderSize); err != nil {
			return false, err
		}
		c.peek(header[:])
		length := int64(batch.View(header[:]).Length())
		if length < batch.HeaderSize || length > c.left() {
			return false, fmt.Errorf("%w: a batch at offset %d claims %d bytes of the %d that are left", ErrStorage, next, length, c.left())
		}
		// The checksum of a batch that is only skipped is not computed, but a wrong number here would shift all behind it. It is
		// there twice: nothing that is stored so far has gaps.
		v := batch.View(header[:])
		last := next + int64(v.LastOffsetDelta())
		if last < next || last > c.extent.Last || v.Count()-1 != v.LastOffsetDelta() {
			return false, fmt.Errorf("%w: a batch of %d records at offset %d claims to end at %d", ErrStorage, v.Count(), next, last)
		}
		if last < a.from {
			c.skip(length)
			next = last + 1
			continue
		}
		if last >= a.end {
			return true, nil
		}
		if a.out.size+length > a.budget && !(a.atLeastOne && a.out.size == 0) {
			return true, nil
		}
		if err := c.ensure(length); err != nil {
			return false, err
		}
		c.take(&a.batch, length)
		if err := a.finish(header[:], next); err != nil {
			return false, err
		}
		next = last + 1
	}
	return a.out.size >= a.budget, nil
}

// finish checks the batch that lies in a.batch and appends it with its final offset. Only its header, of which b is a copy, is
// patched, and not covered by the checksum where it is: the records stay where they are.
func (a *assembly) finish(b []byte, base int64) error {
	v := batch.View(b)
	if v.Magic() != batch.Magic {
		return fmt.Errorf("%w: batch at offset %d has magic %d", ErrStorage, base, v.Magic())
	}
	if v.CRC() != batch.CRCOf(a.batch.parts...) {
		return fmt.Errorf("%w: checksum of the batch at offset %d does not fit", ErrStorage, base)
	}
	batch.Patch(b, base, leaderEpoch)
	a.count += int64(v.Count())
	a.out.copy(b)
	header := len(b)
	for i, part := range a.batch.parts {
		n := min(header, len(part))
		header -= n
		a.out.add(part[n:], a.batch.refer[i])
	}
	return nil
}
