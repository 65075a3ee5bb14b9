package objectstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// probeRacers write one key at once: some stores check a condition and then write without holding anything in between.
const probeRacers = 8

// probeCleanup bounds the deletion of what a probe wrote, which goes on if the probe's context has ended.
const probeCleanup = 5 * time.Second

// Probe finds out at start-up whether a store does what Leat rests on: it creates, replaces, reads and deletes throw-away
// objects under keys.Probe. ErrUnsupported: the store does not keep conditional writes (it ignores the condition, or refuses
// it). Any other error is that of the operation that failed: ErrDenied, ErrNoBucket, ErrClockSkew. It costs 17 requests.
func Probe(ctx context.Context, s Store, keys Keys) error {
	p := prober{ctx: ctx, store: s}
	for i := range p.keys {
		var random [16]byte
		_, _ = rand.Read(random[:]) // never fails
		p.keys[i] = keys.Probe(random)
	}
	err := p.run()
	cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeCleanup)
	defer cancel()
	if deleteErr := s.Delete(cleanup, p.keys[:]...); err == nil && deleteErr != nil {
		err = fmt.Errorf("delete what was written: %w", deleteErr)
	}
	if err == nil {
		err = p.gone()
	}
	if err != nil {
		return fmt.Errorf("probe of the store: %w", err)
	}
	return nil
}

type prober struct {
	ctx   context.Context
	store Store
	keys  [3]string // one object's life, one never created, one raced for
}

func (p *prober) run() error {
	v1, err := p.put(p.keys[0], "1", IfAbsent())
	if err != nil {
		return fmt.Errorf("create an object: %w", err)
	}
	if err := p.refused(p.keys[0], "2", IfAbsent()); err != nil {
		return fmt.Errorf("create an object that exists (If-None-Match: *): %w", err)
	}
	if err := p.holds(p.keys[0], Range{}, "1", 1, v1); err != nil {
		return err
	}
	v2, err := p.put(p.keys[0], "22", IfVersion(v1))
	if errors.Is(err, ErrLost) {
		err = fmt.Errorf("%w: it refused the right version: %w", ErrUnsupported, err)
	}
	if err != nil {
		return fmt.Errorf("replace an object (If-Match): %w", err)
	}
	if err := p.refused(p.keys[0], "3", IfVersion(v1)); err != nil {
		return fmt.Errorf("replace an object by a stale version (If-Match): %w", err)
	}
	if err := p.holds(p.keys[0], Range{Offset: 1, Length: 1}, "2", 2, v2); err != nil {
		return err
	}
	if err := p.refused(p.keys[1], "4", IfVersion(v1)); err != nil {
		return fmt.Errorf("replace an object that does not exist (If-Match): %w", err)
	}
	return p.race()
}

func (p *prober) put(key, content string, c Condition) (Version, error) {
	v, err := p.store.Put(p.ctx, key, NewBody([]byte(content)), c)
	if err == nil && v == "" {
		err = fmt.Errorf("%w: it answers no version (ETag) of what it stored", ErrUnsupported)
	}
	return v, err
}

// refused answers nil if a Put is refused because of its condition.
func (p *prober) refused(key, content string, c Condition) error {
	switch _, err := p.store.Put(p.ctx, key, NewBody([]byte(content)), c); {
	case err == nil:
		return fmt.Errorf("%w: it ignored the condition and wrote", ErrUnsupported)
	case !errors.Is(err, ErrLost):
		return err
	}
	return nil
}

func (p *prober) holds(key string, r Range, content string, size int64, v Version) error {
	o, err := p.store.Get(p.ctx, key, r)
	if err != nil {
		return fmt.Errorf("read an object: %w", err)
	}
	got, err := io.ReadAll(io.LimitReader(o.Reader, 100))
	if err := errors.Join(err, o.Reader.Close()); err != nil {
		return fmt.Errorf("read an object: %w", err)
	}
	if string(got) != content || o.Size != size {
		return fmt.Errorf("read an object: got %q of %d bytes, want %q of %d", got, o.Size, content, size)
	}
	if o.Version != v {
		return fmt.Errorf("%w: an object has version %q when written and %q when read", ErrUnsupported, v, o.Version)
	}
	return nil
}

// race has several writers create one object at once; exactly one must win.
func (p *prober) race() error {
	var (
		done sync.WaitGroup
		errs [probeRacers]error
	)
	for i := range errs {
		done.Go(func() { _, errs[i] = p.put(p.keys[2], fmt.Sprint("racer ", i), IfAbsent()) })
	}
	done.Wait()
	winners := 0
	for _, err := range errs {
		switch {
		case err == nil:
			winners++
		case !errors.Is(err, ErrLost):
			return fmt.Errorf("create an object by several writers at once: %w", err)
		}
	}
	if winners != 1 {
		return fmt.Errorf("%w: of %d writers that created one object at once, %d were told that they did",
			ErrUnsupported, probeRacers, winners)
	}
	return nil
}

// gone answers nil if the deleted object is no longer there.
func (p *prober) gone() error {
	o, err := p.store.Get(p.ctx, p.keys[0], Range{})
	switch {
	case err == nil:
		return errors.Join(errors.New("a deleted object is still there"), o.Reader.Close())
	case !errors.Is(err, ErrNotFound):
		return fmt.Errorf("read a deleted object: %w", err)
	}
	return nil
}
