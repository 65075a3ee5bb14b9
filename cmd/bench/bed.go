package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/leat-stream/leat/cmd/agentproc"
	"github.com/leat-stream/leat/objectstore/storetest/minioproc"
)

// The stores that are measured.
const (
	fileStore  = "file store"
	minioStore = "MinIO"
)

// bed is a fresh agent on a fresh store.
type bed struct {
	store   string
	dir     string
	options agentproc.Options
	agent   *agentproc.Agent
	minio   *minioproc.Server // nil on the file store
}

func lay(ctx context.Context, leat, store string) (b *bed, err error) {
	b = &bed{store: store, options: agentproc.Options{Binary: leat, Log: os.Stderr, Args: []string{"--log-level", "warn"}}}
	if b.dir, err = os.MkdirTemp("", "leat-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.clear())
		}
	}()
	b.options.Store = "file://" + filepath.Join(b.dir, "bucket")
	if store == minioStore {
		if b.minio, err = minioproc.Start(ctx, filepath.Join(b.dir, "minio"), minioproc.Options{OwnGroup: true}); err != nil {
			return b, err
		}
		if err = b.minio.Setenv(); err != nil { // for the driver in this process, and for the agent
			return b, err
		}
		b.options.Store = b.minio.S3URL("bench")
	}
	b.agent, err = agentproc.Start(ctx, b.options)
	return b, err
}

// restart starts the agent anew: what it had in memory is gone.
func (b *bed) restart(ctx context.Context) (err error) {
	if err = b.agent.Stop(); err != nil {
		return err
	}
	b.agent, err = agentproc.Start(ctx, b.options)
	return err
}

// clear stops everything and removes what was stored.
func (b *bed) clear() (err error) {
	if b.agent != nil {
		err = b.agent.Stop()
	}
	if b.minio != nil {
		b.minio.Stop()
	}
	return errors.Join(err, os.RemoveAll(b.dir))
}

// costs is processor time used so far.
type costs struct{ agent, minio, self time.Duration }

func (b *bed) costs() (c costs, err error) {
	if c.agent, err = agentproc.CPU(b.agent.PID()); err != nil {
		return c, err
	}
	if b.minio != nil {
		if c.minio, err = agentproc.CPU(b.minio.PID()); err != nil {
			return c, err
		}
	}
	c.self, err = agentproc.CPU(os.Getpid())
	return c, err
}

// measured is one load: bytes of record values, or of objects, the time they took, and processor time.
type measured struct {
	bytes int64
	took  time.Duration
	costs costs
}

// watch measures what do does; it answers the bytes.
func (b *bed) watch(do func() (int64, error)) (measured, error) {
	before, err := b.costs()
	if err != nil {
		return measured{}, err
	}
	began := time.Now()
	bytes, err := do()
	took := time.Since(began)
	if err != nil {
		return measured{}, err
	}
	after, err := b.costs()
	if err == nil && bytes == 0 {
		err = fmt.Errorf("%s: nothing was done in %s", b.store, took)
	}
	return measured{bytes, took, costs{after.agent - before.agent, after.minio - before.minio, after.self - before.self}}, err
}
