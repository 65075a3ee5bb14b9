package produce

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/leat-stream/leat/metadata"
)

// policy decides when the open buffer seals:
//
//   - it holds FlushBytes: now;
//   - its oldest batch has waited FlushInterval: now;
//   - no upload is running, and the budget of early flushes allows one: now, since waiting would only add latency. While an
//     upload runs, its duration is what the next buffer gathers for.
//
// The budget is a token bucket, so that light traffic is always answered at once, and heavy traffic of small requests
// costs at most EarlyPuts + 1/FlushInterval requests a second. Owned by the flusher.
type policy struct {
	bytes    int64
	interval time.Duration
	rate     float64 // tokens per second; negative: no limit
	burst    float64
	tokens   float64
	filled   time.Time // when tokens was last brought up to date
}

func newPolicy(cfg Config) policy {
	p := policy{
		bytes: cfg.FlushBytes, interval: cfg.FlushInterval,
		rate: cfg.EarlyPuts, burst: float64(cfg.EarlyBurst), tokens: float64(cfg.EarlyBurst),
	}
	if p.rate == 0 { // none at all, not even at first
		p.burst, p.tokens = 0, 0
	}
	return p
}

// decide answers whether to seal now, or else after how long to ask again at the latest (0: when something happens).
func (p *policy) decide(now time.Time, bytes int64, oldest time.Time, uploads int, closed bool) (seal bool, wait time.Duration) {
	if bytes == 0 {
		return false, 0
	}
	age := now.Sub(oldest)
	if closed || bytes >= p.bytes || age >= p.interval {
		return true, 0
	}
	wait = p.interval - age
	if uploads > 0 {
		return false, wait
	}
	if p.rate < 0 {
		return true, 0
	}
	if !p.filled.IsZero() {
		p.tokens = min(p.burst, p.tokens+p.rate*now.Sub(p.filled).Seconds())
	}
	p.filled = now
	if p.tokens >= 1 {
		p.tokens--
		return true, 0
	}
	if p.rate == 0 {
		return false, wait
	}
	refill := time.Duration((1 - p.tokens) / p.rate * float64(time.Second))
	return false, max(min(wait, refill), time.Millisecond)
}

// flush seals buffers and starts their uploads until ctx ends.
func (p *Producer) flush(ctx context.Context, uploads *sync.WaitGroup) {
	var number uint64
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		bytes, oldest, closed := p.buf.look()
		seal, wait := p.policy.decide(time.Now(), bytes, oldest, len(p.slots), closed)
		if !seal {
			if wait == 0 {
				wait = time.Hour
			}
			timer.Reset(wait)
			select {
			case <-p.buf.arrived:
			case <-p.ended:
			case <-timer.C:
			case <-ctx.Done():
			}
			continue
		}
		select {
		case p.slots <- struct{}{}: // the buffer goes on gathering while every upload slot is busy
		case <-ctx.Done():
			return
		}
		number++
		items := p.buf.take(p.policy.bytes)
		if len(items) > 0 { // the oldest first, which seal does not keep to
			p.metrics.sealSeconds.Observe(time.Since(items[0].at).Seconds())
		}
		o := p.seal(number, items)
		select {
		case p.sealed <- o:
		case <-ctx.Done():
			p.refuse(o, fmt.Errorf("%w: %w", metadata.ErrNotApplied, context.Cause(ctx)))
			return
		}
		uploads.Go(func() {
			p.upload(ctx, o)
			<-p.slots
			select {
			case p.ended <- struct{}{}:
			default:
			}
		})
	}
}
