// Command demo streams a real text corpus through Leat: the sources that come with the Go toolchain, through a producer for
// each codec, into an agent over a real MinIO, and back through two consumer groups, comparing every byte and the order.
// One group follows while records are written; the other reads afterwards with two members, which leave in the middle and
// are replaced. It prints what that took and exits non-zero at any difference. It must never judge by sampling.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leat-stream/leat/cmd/agentproc"
	"github.com/leat-stream/leat/objectstore/storetest/minioproc"
)

// partitions of each topic.
const partitions = 4

func main() {
	size := flag.String("corpus", "120MB", "`size` of the text, at least; all of it goes through each codec")
	agentproc.Main("demo", 10*time.Minute, func(ctx context.Context, leat string) error {
		want, err := humanize.ParseBytes(*size)
		if err != nil {
			return fmt.Errorf("-corpus: %w", err)
		}
		return run(ctx, leat, int64(want))
	})
}

// run does all in a temporary folder and leaves nothing.
func run(ctx context.Context, leat string, want int64) (err error) {
	dir, err := os.MkdirTemp("", "leat-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	files, err := corpus(want)
	if err != nil {
		return err
	}
	server, err := minioproc.Start(ctx, filepath.Join(dir, "minio"), minioproc.Options{OwnGroup: true})
	if err != nil {
		return err
	}
	defer server.Stop()
	agent, err := agentproc.Start(ctx, agentproc.Options{
		Binary: leat, Store: server.S3URL("demo"), Env: server.Env(), Log: os.Stderr,
		Args: []string{"--log-level", "warn", "--cache-dir", filepath.Join(dir, "cache")},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, agent.Stop()) }()
	if err := stream(ctx, agent, files); err != nil {
		return err
	}
	return objects(ctx, server)
}

// stream writes, reads, compares and reports.
func stream(ctx context.Context, agent *agentproc.Agent, files []file) error {
	var topics []string
	for _, c := range codecs {
		topics = append(topics, c.topic)
	}
	if err := create(ctx, agent.Address, topics); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began := time.Now()
	follower := newReader("demo-follower", agent.Address, files, topics)
	following := make(chan error, 1)
	go func() { // waited for below
		err := follower.member(ctx, 0)
		if err != nil {
			cancel(err) // no use to write on
		}
		following <- err
	}()
	writers, err := write(ctx, agent.Address, files)
	if err != nil {
		cancel(err)
	}
	wrote := time.Since(began)
	if err = errors.Join(err, <-following); err != nil {
		return err
	}
	followed := time.Since(began)
	counted, err := agent.Metrics(ctx)
	if err != nil {
		return err
	}
	began = time.Now()
	again := newReader("demo-again", agent.Address, files, topics)
	// Two members leave after a quarter of all each; two others resume where these committed.
	if err := again.members(ctx, 2, again.missing()/4); err != nil {
		return err
	}
	if err := again.members(ctx, 2, 0); err != nil {
		return err
	}
	if err := errors.Join(follower.verdict(), again.verdict()); err != nil {
		return err
	}
	reportWritten(writers, wrote)
	reportRead(follower, followed, "while they were written")
	reportRead(again, time.Since(began), "afterwards")
	return reportAgent(ctx, agent, counted)
}

func create(ctx context.Context, broker string, topics []string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		return err
	}
	defer client.Close()
	answers, err := kadm.NewClient(client).CreateTopics(ctx, partitions, 1, nil, topics...)
	return errors.Join(err, answers.Error())
}

// write runs a writer for each codec, all at once.
func write(ctx context.Context, broker string, files []file) ([]*writer, error) {
	var writers []*writer
	errs := make(chan error, len(codecs))
	for _, c := range codecs {
		w := &writer{topic: c.topic, codec: c.codec}
		writers = append(writers, w)
		go func() { errs <- w.run(ctx, broker, files) }() // waited for below
	}
	var all error
	for range codecs {
		all = errors.Join(all, <-errs)
	}
	return writers, all
}
