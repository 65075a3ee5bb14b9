// Command dev runs an agent for people who work on Leat: on a MinIO of its own (-minio), or built and started anew whenever
// a Go file changes (-watch). Ctrl-C stops everything in order. It keeps what it stores, so that a new start finds it; it
// must never be used to keep anything that matters.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/leat-stream/leat/cmd/agentproc"
	"github.com/leat-stream/leat/objectstore/storetest/minioproc"
)

// settle is how often files are looked at, and how long they must be left alone before a build.
const settle = 500 * time.Millisecond

func main() {
	var o options
	flag.StringVar(&o.data, "data", "data/dev", "`folder` of everything that is stored")
	flag.StringVar(&o.address, "listen", "127.0.0.1:9092", "`address` for Kafka clients")
	flag.StringVar(&o.http, "http", "127.0.0.1:9644", "`address` of metrics and health")
	flag.BoolVar(&o.minio, "minio", false, "keep the bucket in a MinIO instead of a folder")
	flag.BoolVar(&o.watch, "watch", false, "build and start anew when a Go file changes")
	agentproc.Main("dev", 0, func(ctx context.Context, leat string) error {
		o.leat, o.args = leat, flag.Args()
		return o.run(ctx)
	})
}

// options are the command line.
type options struct {
	leat, data, address, http string
	minio, watch              bool
	args                      []string // for the agent
}

func (o options) run(ctx context.Context) error {
	data, err := filepath.Abs(o.data)
	if err != nil {
		return err
	}
	agent := agentproc.Options{
		Binary: o.leat, Address: o.address, HTTP: o.http, Log: os.Stderr,
		Store: "file://" + data + "/bucket", Args: append([]string{"--cache-dir", data + "/cache"}, o.args...),
	}
	if o.minio {
		server, err := minioproc.Start(ctx, filepath.Join(data, "server"), minioproc.Options{OwnGroup: true})
		if err != nil {
			return err
		}
		defer server.Stop()
		agent.Store, agent.Env = server.S3URL("leat"), server.Env()
		fmt.Printf("MinIO %s, access key %s, secret key %s\n", server.Endpoint(), minioproc.AccessKey, minioproc.SecretKey)
	}
	fmt.Printf("store %s\n", agent.Store)
	if !o.watch {
		return serve(ctx, agent, nil)
	}
	for ctx.Err() == nil {
		changed, seen := make(chan struct{}), newest(".")
		looking, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() { // waited for below
			defer close(done)
			watch(looking, seen, changed)
		}()
		if err = build(ctx, o.leat); err == nil {
			err = serve(ctx, agent, changed)
		}
		if err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "dev:", err, "- waiting for a change")
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
		stop()
		<-done
	}
	return nil
}

// serve runs an agent until ctx ends or a file has changed; its own end is an error.
func serve(ctx context.Context, o agentproc.Options, changed <-chan struct{}) error {
	a, err := agentproc.Start(ctx, o)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-changed:
	case <-a.Exited():
		return errors.Join(errors.New("the agent ended"), a.Stop())
	}
	return a.Stop()
}

func build(ctx context.Context, binary string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/leat")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	return nil
}

// watch closes changed once a Go file is newer than seen and none has changed for a while, or returns when ctx ends.
func watch(ctx context.Context, seen time.Time, changed chan<- struct{}) {
	ticker := time.NewTicker(settle)
	defer ticker.Stop()
	for last := seen; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := newest(".")
		if now.After(seen) && now.Equal(last) {
			close(changed)
			return
		}
		last = now
	}
}

// newest answers when a Go file below dir was changed last; files that cannot be read are left out.
func newest(dir string) (at time.Time) {
	_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && name != ".":
			return fs.SkipDir
		case filepath.Ext(name) != ".go":
			return nil
		}
		if info, err := d.Info(); err == nil && info.ModTime().After(at) {
			at = info.ModTime()
		}
		return nil
	})
	return at
}
