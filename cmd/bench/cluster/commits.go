package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"log"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leat-stream/leat/agent/peer"
	"github.com/leat-stream/leat/cmd/agentproc"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/journal/etcd"
	"github.com/leat-stream/leat/metadata/journal/object"
	"github.com/leat-stream/leat/metadata/replica"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/storeurl"
)

// A simulated agent commits objects as produce does, in order and several at once, and keeps no replica of its own: on real
// machines that is not the leader's work.
const (
	objectsAtOnce = 4  // that an agent has ready
	runs          = 16 // partitions in an object
)

func measureCommits(ctx context.Context, p plan, b *bed) error {
	fmt.Printf("| objects of %d partitions committed by | bucket: objects/s | entries/s | CPU ms/object | etcd: objects/s | entries/s | CPU ms/object |\n", runs)
	fmt.Println("|---|---:|---:|---:|---:|---:|---:|")
	for _, agents := range []int{1, 8, 64} {
		row := fmt.Sprintf("| %d agents ", agents)
		for _, kind := range journals {
			log.Printf("commits of %d agents, %s journal", agents, kind)
			c, err := commits(ctx, p, b, kind, agents)
			if err != nil {
				return fmt.Errorf("commits of %d agents, %s journal: %w", agents, kind, err)
			}
			row += fmt.Sprintf("| %.0f | %.0f | %.2f ", c.objects, c.entries, c.cpu)
		}
		fmt.Println(row + "|")
	}
	return nil
}

// rate is per second; cpu is milliseconds of this process, leader and simulated agents, for an object.
type rate struct{ objects, entries, cpu float64 }

// commits measures one leader.
func commits(ctx context.Context, p plan, b *bed, kind string, agents int) (r rate, err error) {
	l, err := lead(ctx, b, kind, fmt.Sprintf("commits-%s-%d", kind, agents))
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	load, stop := context.WithCancel(ctx)
	defer stop()
	var done atomic.Int64
	failed := make(chan error, agents)
	var committing sync.WaitGroup
	for range agents {
		s, err := l.agent(load)
		if err != nil {
			stop()
			committing.Wait()
			return r, err
		}
		committing.Go(func() {
			if err := commitOn(load, s, l.topic, &done); err != nil && load.Err() == nil {
				failed <- err
			}
		})
	}
	settle := time.NewTimer(time.Second)
	<-settle.C
	cpu, cpuErr := agentproc.CPU(os.Getpid())
	objects, index, began := done.Load(), l.index(), time.Now()
	timer := time.NewTimer(p.length)
	defer timer.Stop()
	select {
	case <-timer.C:
	case err = <-failed:
	}
	took := time.Since(began).Seconds()
	n, entries := float64(done.Load()-objects), float64(l.index()-index)
	used, usedErr := agentproc.CPU(os.Getpid())
	r = rate{objects: n / took, entries: entries / took, cpu: 1000 * (used - cpu).Seconds() / max(n, 1)}
	stop()
	committing.Wait()
	return r, errors.Join(err, cpuErr, usedErr)
}

// commitOn commits objects as fast as the session takes them.
func commitOn(ctx context.Context, s *metadata.Session, topic state.UUID, done *atomic.Int64) error {
	running := make(chan error, 1)
	go func() { running <- s.Run(ctx) }()
	defer func() { <-running }()
	for number := uint64(1); ctx.Err() == nil; number += objectsAtOnce {
		ops := make([]state.Op, objectsAtOnce)
		for i := range ops {
			o := state.CommitObject{Size: 1 << 20}
			for r := range int32(runs) {
				o.Runs = append(o.Runs, state.Run{Topic: topic, Partition: r, Pos: int64(r) * 1000, Batches: []state.Batch{
					{Len: 1000, Count: 10, MaxTimestamp: 1, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1},
				}})
			}
			ops[i] = o
		}
		results, err := s.DoObjects(ctx, number, ops...)
		if err != nil {
			return err
		}
		for _, r := range results {
			if r.Code != state.CodeOK || r.Batches[0].Code != state.CodeOK {
				return fmt.Errorf("a commit was refused: %+v", r)
			}
		}
		done.Add(objectsAtOnce)
	}
	return nil
}

// leader is a replica that leads, reached over a peer connection.
type leader struct {
	*replica.Replica
	topic  state.UUID
	secret peer.Secret
	server *peer.Server
	stop   func() error
}

func lead(ctx context.Context, b *bed, kind, name string) (*leader, error) {
	keys, err := objectstore.NewKeys(name)
	if err != nil {
		return nil, err
	}
	u, err := storeurl.Parse(b.minio.S3URL("commits"))
	if err != nil {
		return nil, err
	}
	store, err := u.Open(ctx)
	if err != nil {
		return nil, err
	}
	j, closeJournal, err := openJournal(ctx, store, keys, b.journal(kind, name))
	if err != nil {
		return nil, err
	}
	head, err := j.Head(ctx)
	if err != nil {
		return nil, err
	}
	l := &leader{}
	if l.secret, err = peer.LoadSecret(ctx, store, keys, head.Cluster); err != nil {
		return nil, err
	}
	quiet := slog.New(slog.DiscardHandler)
	if l.Replica, err = replica.Open(ctx, replica.Default(), j, object.NewImages(store, keys), nil, quiet, nil); err != nil {
		return nil, err
	}
	if l.server, err = peer.NewServer(peer.Default(), l.secret, quiet, nil); err != nil {
		return nil, err
	}
	if err = l.server.Listen(ctx, "127.0.0.1:0"); err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 2)
	go func() { ended <- l.Run(running) }()
	go func() { ended <- l.server.Serve(running, peer.Handlers{Replica: l.Server()}) }()
	l.stop = func() error {
		cancel()
		return errors.Join(<-ended, <-ended, closeJournal())
	}
	l.topic = newID()
	if _, err := l.Do(ctx, state.Command{Op: state.CreateTopic{Topic: l.topic, Name: "t", Partitions: runs, ReplicationFactor: 1}}); err != nil {
		return nil, errors.Join(err, l.stop())
	}
	return l, nil
}

func openJournal(ctx context.Context, store objectstore.Store, keys objectstore.Keys, url string) (journal.Journal, func() error, error) {
	if url == "bucket:" {
		if err := object.Create(ctx, store, keys); err != nil {
			return nil, nil, err
		}
		j, err := object.Open(ctx, store, keys)
		return j, func() error { return nil }, err
	}
	j, err := etcd.Open(ctx, url)
	if err != nil {
		return nil, nil, err
	}
	return j, j.Close, object.Bind(ctx, store, keys, j)
}

func (l *leader) index() (index uint64) {
	_ = l.Ask(context.Background(), metadata.Local(), func(r state.Reader) { index = r.Index() })
	return index
}

// agent opens the session of a simulated agent, with a connection of its own.
func (l *leader) agent(ctx context.Context) (*metadata.Session, error) {
	client, err := peer.NewClient(peer.Default(), l.secret, nil)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, client.Close)
	s := metadata.NewSession(proposer{client, l.server.Addr()}, metadata.Identity{Session: newID(), NodeID: -1}, time.Now)
	return s, s.Open(ctx)
}

// proposer is the metadata of an agent that has no replica.
type proposer struct {
	client  *peer.Client
	address string
}

// Do implements metadata.Service.
func (p proposer) Do(ctx context.Context, commands ...state.Command) ([]state.Result, error) {
	done, err := p.client.Propose(ctx, p.address, replica.Proposal{Commands: state.EncodeEntry(state.Entry{Commands: commands})})
	if err != nil {
		return nil, err
	}
	return state.DecodeResults(done.Results)
}

// Ask implements metadata.Service.
func (proposer) Ask(context.Context, metadata.Freshness, func(state.Reader)) error {
	return metadata.ErrUnavailable
}

// Watch implements metadata.Service.
func (proposer) Watch(context.Context, uint64) iter.Seq2[state.Change, error] {
	return func(func(state.Change, error) bool) {}
}

func newID() (id state.UUID) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}
