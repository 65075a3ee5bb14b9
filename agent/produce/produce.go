// Package produce is the write path: accept → buffer → seal → upload → commit → ack, a file each.
//
//	accept.go   checks a request's batches once, against the topic's configuration, and references their bytes
//	early.go    lets a batch wait whose predecessor is not there yet, because another agent has it
//	lobby.go    where it waits
//	buffer.go   one open buffer holds the batches of all partitions; its bytes are bounded
//	flush.go    decides when the buffer seals: size, interval, or at once when nothing is in flight
//	seal.go     gathers the batches by partition into the body of one object
//	upload.go   puts the object, several at once, under a fresh name after every unknown outcome
//	halt.go     gives all of them up while another agent should take the batches
//	commit.go   commits the objects in seal order; the metadata gives the offsets
//	ack.go      hands each request its outcomes
//
// It must never answer a batch before its commit is applied here, never reorder the batches of a connection, and never
// use the name of an object again after a PUT whose outcome is unknown. It knows nothing of fetching or of connections.
package produce

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
)

// Session is the part of metadata.Session that the write path needs.
type Session interface {
	// ID is the session's id, which owns the objects.
	ID() state.UUID
	// DoObjects decides the objects first, first+1, … in order. An error means that the outcome is unknown and the session over.
	DoObjects(ctx context.Context, first uint64, ops ...state.Op) ([]state.Result, error)
	// Ask looks at one state that is as fresh as f demands.
	Ask(ctx context.Context, f metadata.Freshness, read func(state.Reader)) error
	// Watch tells what changed in the local state; see metadata.Service.
	Watch(ctx context.Context, since uint64) iter.Seq2[state.Change, error]
}

// Recent is told of every object that was stored, before it is committed: the cache, so that what was just written is
// never read back from the bucket.
type Recent interface {
	Put(key string, parts [][]byte)
}

// Topics is told what was acknowledged, duplicates not counted, once for each topic of an object.
type Topics interface {
	Produced(topic state.UUID, records, bytes int64)
}

// Producer is the write path of one agent.
//
// Who owns what: buf has its own lock. numbers (of objects) are given by the flusher alone; sealed is filled by the flusher
// and emptied by the committer, so that commit order is seal order.
type Producer struct {
	cfg     Config
	log     *slog.Logger
	session Session
	store   objectstore.Store
	keys    objectstore.Keys
	recent  Recent
	cluster [16]byte
	metrics *metrics
	topics  Topics

	halt   halt
	buf    *buffer
	policy policy
	slots  chan struct{} // one token for each upload that may run
	ended  chan struct{} // signals the flusher that an upload ended; holds at most one signal
	sealed chan *object  // in seal order; bounded by Config.SealedObjects
}

// Deps is what a Producer works on.
type Deps struct {
	Session  Session
	Store    objectstore.Store
	Keys     objectstore.Keys
	Cluster  [16]byte // the cluster's id, written into every object
	Recent   Recent
	Topics   Topics // nil: nobody wants to know
	Log      *slog.Logger
	Register prometheus.Registerer
}

// New makes a write path; nothing moves before Run.
func New(cfg Config, d Deps) (*Producer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("produce: %w", err)
	}
	buf := newBuffer(cfg.MaxBuffered)
	metrics := newMetrics(d.Register, buf)
	buf.lobby.wait, buf.refused = cfg.PredecessorWait, metrics.refused.Inc
	return &Producer{
		cfg: cfg, log: d.Log, session: d.Session, store: d.Store, keys: d.Keys, recent: d.Recent, cluster: d.Cluster,
		metrics: metrics, topics: d.Topics,
		buf: buf, policy: newPolicy(cfg), slots: make(chan struct{}, cfg.Uploads),
		ended: make(chan struct{}, 1), sealed: make(chan *object, cfg.SealedObjects),
	}, nil
}

// errDraining refuses what comes after Drain.
var errDraining = errors.New("agent is shutting down")

// Run moves batches until ctx ends (nil), or the session is over (the error). What is buffered then is not acknowledged.
// It is called once.
func (p *Producer) Run(ctx context.Context) error {
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var uploads sync.WaitGroup
	wg.Go(func() {
		p.flush(running, &uploads)
		close(p.sealed) // the flusher is the only sender
	})
	wg.Go(func() { p.watch(running) })
	wg.Go(func() { p.expire(running) })
	next, err := p.commit(running)
	cancel(err)
	p.buf.close(errDraining)
	wg.Wait()
	uploads.Wait()
	p.abandon(next, err)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// abandon answers everything that never reached the metadata: certainly, nothing of it is committed, now or later.
func (p *Producer) abandon(next *object, why error) {
	err := fmt.Errorf("%w: %w", metadata.ErrNotApplied, why)
	if next != nil {
		p.refuse(next, err)
	}
	for o := range p.sealed {
		p.refuse(o, err)
	}
	for items := p.buf.take(math.MaxInt64); len(items) > 0; items = p.buf.take(math.MaxInt64) {
		p.refuseItems(items, err)
	}
}

// Drain refuses new batches, seals what is buffered and returns when everything is committed and answered, or ctx ends.
func (p *Producer) Drain(ctx context.Context) error {
	p.buf.close(errDraining)
	return p.buf.empty(ctx)
}
