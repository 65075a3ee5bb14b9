package chunks

import (
	"sync"
	"time"

	"github.com/leat-stream/leat/cache"
)

// usual is how long a read from the bucket takes, from asking to the last byte: a moving average, in which the last eight
// weigh about two thirds.
type usual struct {
	mu   sync.Mutex
	mean time.Duration // guarded by mu
}

func newUsual(guess time.Duration) *usual { return &usual{mean: guess} }

// begin answers what to call when all bytes were read.
func (u *usual) begin() (end func()) {
	begun := time.Now()
	return func() {
		took := time.Since(begun)
		u.mu.Lock()
		defer u.mu.Unlock()
		u.mean += (took - u.mean) / 8
	}
}

func (u *usual) get() time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.mean
}

// patience is how long a peer may give no byte: time for it to read from the bucket what it has not, and to be paced if the
// data is old.
func (r *Reader) patience(class cache.Class) time.Duration {
	if class == cache.Backfill {
		return r.cfg.MaxPatience
	}
	return min(max(r.usual.get()*time.Duration(r.cfg.PatienceFactor), r.cfg.MinPatience), r.cfg.MaxPatience)
}
