package produce

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/leat-stream/leat/objectstore"
)

// ErrStorage: the object could not be stored within Config.UploadPatience; none of its batches was committed. Retriable.
var ErrStorage = errors.New("object store did not take the object")

const (
	uploadPause    = 50 * time.Millisecond // before the second try; doubles, with jitter
	uploadPauseMax = 2 * time.Second
)

// upload stores an object, or gives it up when patience is over. A PUT whose outcome is unknown is never repeated: the
// next try has the next attempt number in its name, so that a PUT which lands late hurts nobody (the object it leaves is
// garbage, and is swept). Only a PUT that certainly did nothing is repeated under its name.
func (p *Producer) upload(ctx context.Context, o *object) {
	defer close(o.uploaded)
	if o.err != nil {
		p.log.Error("object could not be made", "number", o.name.Number, "error", o.err)
		return
	}
	jitter := p.cfg.Jitter
	if jitter == nil {
		jitter = rand.N[time.Duration]
	}
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, p.cfg.UploadPatience, ErrStorage)
	defer cancel()
	halted := p.halt.begun()
	defer context.AfterFunc(halted, cancel)()
	if o.err = context.Cause(halted); o.err != nil {
		return
	}
	for pause := uploadPause; ; pause = min(2*pause, uploadPauseMax) {
		key := p.keys.Data(o.name)
		attempt, stop := context.WithTimeout(ctx, p.cfg.UploadAttempt)
		_, err := p.store.Put(attempt, key, o.body, objectstore.IfAbsent())
		stop()
		if err == nil {
			p.recent.Put(key, o.body.Parts())
			o.stored = time.Now()
			p.metrics.uploadSeconds.Observe(o.stored.Sub(began).Seconds())
			p.metrics.objectBytes.Observe(float64(o.body.Size()))
			return
		}
		p.metrics.uploadErrors.Inc()
		if !errors.Is(err, objectstore.ErrNotApplied) {
			o.name.Attempt++
		}
		if ctx.Err() == nil {
			select {
			case <-time.After(pause/2 + jitter(pause)):
			case <-ctx.Done():
			}
		}
		if o.err = context.Cause(halted); o.err != nil {
			p.log.Debug("object given up: another agent takes its batches", "object", key, "bytes", o.body.Size(), "error", err)
			return
		}
		if ctx.Err() != nil {
			o.err = fmt.Errorf("store object %s: %w: %w", key, ErrStorage, err)
			p.log.Error("object given up: its batches are refused and clients will retry",
				"object", key, "bytes", o.body.Size(), "after", time.Since(began).Round(time.Millisecond), "error", err)
			return
		}
	}
}
