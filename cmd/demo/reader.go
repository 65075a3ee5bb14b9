package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// reader is a consumer group that knows what it must read: from each topic each file, byte by byte, in order, once.
type reader struct {
	group  string
	broker string
	texts  map[string]int // index in files by key
	files  []file
	topics []string

	mu       sync.Mutex
	progress map[string]*progress // by topic; guarded by mu
	left     int64                // bytes that are still to come; guarded by mu
	read     tally                // guarded by mu
	done     chan struct{}        // closed when left is 0
}

// progress is how far a topic is read. Guarded by reader.mu.
type progress struct {
	at      []int           // bytes read, by file
	offsets map[int32]int64 // next offset, by partition
}

// tally counts what a reader read.
type tally struct{ records, bytes, members int64 }

func newReader(group, broker string, files []file, topics []string) *reader {
	r := &reader{group: group, broker: broker, files: files, topics: topics,
		texts: map[string]int{}, progress: map[string]*progress{}, done: make(chan struct{})}
	for i, f := range files {
		r.texts[f.name] = i
		r.left += int64(len(f.text)) * int64(len(topics))
	}
	for _, topic := range topics {
		r.progress[topic] = &progress{at: make([]int, len(files)), offsets: map[int32]int64{}}
	}
	return r
}

// member reads as one member of the group until everything is read, ctx ends, or it has itself read quota bytes; 0 is no
// quota. It commits what it has checked before it gives a partition away or leaves.
func (r *reader) member(ctx context.Context, quota int64) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(r.broker), kgo.ConsumerGroup(r.group), kgo.ConsumeTopics(r.topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.BlockRebalanceOnPoll(), kgo.DisableAutoCommit(),
		kgo.OnPartitionsRevoked(func(ctx context.Context, client *kgo.Client, _ map[string][]int32) {
			_ = client.CommitUncommittedOffsets(ctx) // if it fails, the next reader sees records twice and says so
		}))
	if err != nil {
		return fmt.Errorf("group %s: %w", r.group, err)
	}
	defer client.CloseAllowingRebalance()
	r.mu.Lock()
	r.read.members++
	r.mu.Unlock()
	polling, stop := context.WithCancel(ctx)
	defer stop()
	go func() { // ends when this member does
		select {
		case <-r.done:
			stop()
		case <-polling.Done():
		}
	}()
	for mine := int64(0); quota == 0 || mine < quota; client.AllowRebalance() {
		fetches := client.PollFetches(polling)
		if ctx.Err() != nil {
			return fmt.Errorf("group %s: %w with %d bytes still to come", r.group, context.Cause(ctx), r.missing())
		}
		if polling.Err() != nil {
			break
		}
		if err := errors.Join(failures(fetches)...); err != nil {
			return fmt.Errorf("group %s: %w", r.group, err)
		}
		for records := fetches.RecordIter(); !records.Done(); {
			record := records.Next()
			mine += int64(len(record.Value))
			if err := r.check(record); err != nil {
				return fmt.Errorf("group %s: %w", r.group, err)
			}
		}
	}
	if err := client.CommitUncommittedOffsets(ctx); err != nil {
		return fmt.Errorf("group %s: commit: %w", r.group, err)
	}
	return nil
}

func failures(fetches kgo.Fetches) (errs []error) {
	fetches.EachError(func(topic string, partition int32, err error) {
		errs = append(errs, fmt.Errorf("%s/%d: %w", topic, partition, err))
	})
	return errs
}

// check compares a record with what must come next.
func (r *reader) check(record *kgo.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	where := fmt.Sprintf("%s/%d, offset %d, %q", record.Topic, record.Partition, record.Offset, record.Key)
	p := r.progress[record.Topic]
	if want := p.offsets[record.Partition]; record.Offset != want {
		return fmt.Errorf("%s: want offset %d", where, want)
	}
	p.offsets[record.Partition]++
	i, known := r.texts[string(record.Key)]
	if !known {
		return fmt.Errorf("%s: no such file was sent", where)
	}
	if !bytes.HasPrefix(r.files[i].text[p.at[i]:], record.Value) || len(record.Value) == 0 {
		return fmt.Errorf("%s: %d bytes are not what comes after byte %d of the file", where, len(record.Value), p.at[i])
	}
	p.at[i] += len(record.Value)
	r.read.records++
	r.read.bytes += int64(len(record.Value))
	if r.left -= int64(len(record.Value)); r.left == 0 {
		close(r.done)
	}
	return nil
}

func (r *reader) missing() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.left
}

// members runs n members at once and waits for all.
func (r *reader) members(ctx context.Context, n int, quota int64) error {
	errs := make(chan error, n)
	for range n {
		go func() { errs <- r.member(ctx, quota) }() // waited for below
	}
	var all error
	for range n {
		all = errors.Join(all, <-errs)
	}
	return all
}

// verdict is nil if everything was read.
func (r *reader) verdict() error {
	if missing := r.missing(); missing != 0 {
		return fmt.Errorf("group %s: %d bytes were never read", r.group, missing)
	}
	return nil
}
