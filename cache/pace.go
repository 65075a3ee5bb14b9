package cache

import (
	"context"
	"sync"
	"time"
)

// pace spreads bytes over time: a caller waits until what was asked for before it would have flowed at rate. Up to a
// second of unused flow is kept. It decides how soon, never whether.
type pace struct {
	rate int64 // bytes per second; 0 means not paced

	mu   sync.Mutex
	next time.Time // when everything asked for so far has flowed; guarded by mu
}

// wait returns when n bytes may flow, or when hurry is closed, or with an error when ctx ends.
func (p *pace) wait(ctx context.Context, n int64, hurry <-chan struct{}) error {
	if p.rate == 0 {
		return ctx.Err()
	}
	p.mu.Lock()
	now := time.Now()
	if oldest := now.Add(-time.Second); p.next.Before(oldest) {
		p.next = oldest
	}
	p.next = p.next.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	delay := p.next.Sub(now)
	p.mu.Unlock()
	if delay <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-hurry:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
