// Package fetch is the read path: locate → plan → read → assemble → wait, a file each.
//
//	locate.go    offset → extents, all of one applied index; negative verdicts are confirmed at a fresh one
//	charge.go    memory for the answer: less, or later, when there is little
//	read.go      extents → bytes, through the chunk cache
//	assemble.go  bytes → whole batches from the wanted offset on, base offsets patched, cut at the limits
//	records.go   what is answered: pieces of cached chunks, referred to and not copied
//	wait.go      long poll: a fetch that has too little sleeps until one of its partitions changes
//	session.go   fetch sessions (KIP-227)
//	timestamp.go offsets by timestamp, for ListOffsets
//
// It must never serve bytes whose checksum does not fit, never serve an offset at or above the watermark, and never call
// an offset out of range on the word of a replica that may lag. It knows nothing of producing or of connections.
package fetch

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
)

// Request is one fetch, with names resolved to ids.
type Request struct {
	Partitions []Want
	MaxWait    time.Duration // how long to wait for MinBytes
	MinBytes   int64         // answer as soon as so many bytes are there
	MaxBytes   int64         // of record batches in all; the first batch is answered even if it is larger (KIP-74)
	Committed  bool          // isolation level read_committed: nothing at or above the last stable offset
	Memory     Memory        // what the answer is charged to; nil: nothing
}

// Memory is what one answer is charged to, in bytes. Whoever made the request gives it back when the answer is gone.
type Memory interface {
	// Take takes up to most bytes, fewer if there is little left. If there is nothing it waits for as long as patience and until ctx
	// ends, and answers 0 then. scarce: the answer should hold no more than was taken.
	Take(ctx context.Context, most int64, patience time.Duration) (n int64, scarce bool)
	// Hold says how many bytes the answer turned out to hold.
	Hold(n int64)
}

// Want is one partition of a fetch.
type Want struct {
	TP       state.TopicPartition
	Offset   int64
	MaxBytes int64
}

// Got is the answer for one partition. Offsets are -1 where unknown.
type Got struct {
	Err       error // nil, or one of the errors below
	LogStart  int64
	Stable    int64
	Watermark int64
	Aborted   []state.AbortedTxn
	Records   Records
	Count     int64 // records in Records
}

// The errors of a fetch, each for one partition.
var (
	ErrUnknownTopic = errors.New("unknown topic or partition")
	ErrOutOfRange   = errors.New("offset out of range")
	// ErrStorage: an object that the metadata names is missing, corrupt or cannot be read now. Never wrong data instead.
	ErrStorage = errors.New("object cannot be read")
)

// Metadata is the part of metadata.Service that reading needs.
type Metadata interface {
	Ask(ctx context.Context, f metadata.Freshness, read func(state.Reader)) error
}

// Topics is told what was answered, once for each partition of a fetch.
type Topics interface {
	Fetched(topic state.UUID, records, bytes int64)
}

// Config bounds the read path of one agent.
type Config struct {
	MaxBytes int64         // answered by one fetch at most, whatever is asked for; bytes (Kafka: fetch.max.bytes)
	MaxWait  time.Duration // of a long poll
	Parallel int           // extents of one fetch that are read at once
	Sessions int           // fetch sessions kept (Kafka: max.incremental.fetch.session.cache.slots)
}

// Default follows Kafka's broker defaults.
func Default() Config {
	return Config{MaxBytes: 55 << 20, MaxWait: 10 * time.Minute, Parallel: 8, Sessions: 1000}
}

// Validate refuses what could not work.
func (c Config) Validate() error {
	if c.MaxBytes < 1 || c.MaxWait < 0 || c.Parallel < 1 || c.Sessions < 0 {
		return errors.New("fetch: bounds must be positive")
	}
	return nil
}

// Fetcher is the read path of one agent. Safe for concurrent use.
type Fetcher struct {
	cfg     Config
	meta    Metadata
	chunks  Chunks
	keys    objectstore.Keys
	waiting *Waiters
	log     *slog.Logger
	metrics *metrics
	topics  Topics
	chunk   int64 // bytes
}

// Deps is what a Fetcher works on.
type Deps struct {
	Metadata Metadata
	Chunks   Chunks
	Keys     objectstore.Keys
	Waiters  *Waiters // fed by its own Run
	Chunk    int64    // bytes of a cached chunk, which stays in memory while a piece of it is referred to; 0: 1 MiB
	Topics   Topics   // nil: nobody wants to know
	Log      *slog.Logger
	Register prometheus.Registerer
}

// New makes a read path.
func New(cfg Config, d Deps) (*Fetcher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Fetcher{
		cfg: cfg, meta: d.Metadata, chunks: d.Chunks, keys: d.Keys, waiting: d.Waiters, log: d.Log, metrics: newMetrics(d.Register, d.Waiters),
		topics: d.Topics, chunk: cmp.Or(d.Chunk, usualChunk),
	}, nil
}

// Fetch answers one Got for each wanted partition, in order. It returns when MinBytes are there, a partition has an
// error, nothing is wanted, MaxWait is over or ctx ends, whichever is first. Where Memory has nothing left it waits until memoryPatience
// after MaxWait, and then answers no records.
func (f *Fetcher) Fetch(ctx context.Context, req Request) []Got {
	began := time.Now()
	if len(req.Partitions) == 0 {
		return nil
	}
	req.MaxBytes = min(req.MaxBytes, f.cfg.MaxBytes)
	plans := f.await(ctx, req)
	limited, held, ok := f.charge(ctx, req, plans, began)
	if !ok {
		return withoutRecords(plans)
	}
	located := time.Now()
	got := f.readAll(ctx, limited, plans, held)
	if req.Memory != nil {
		req.Memory.Hold(held.bytes())
	}
	f.count(req, got, began, located)
	return got
}

// count tells what was answered by a fetch that began then, and had its plans at located.
func (f *Fetcher) count(req Request, got []Got, began, located time.Time) {
	var records, bytes int64
	for i := range got {
		size := got[i].Records.Size()
		records += got[i].Count
		bytes += size
		if f.topics != nil && size > 0 {
			f.topics.Fetched(req.Partitions[i].TP.Topic, got[i].Count, size)
		}
	}
	f.metrics.records.Add(float64(records))
	f.metrics.bytes.Add(float64(bytes))
	if bytes > 0 {
		now := time.Now()
		f.metrics.seconds.Observe(now.Sub(began).Seconds())
		f.metrics.read.Observe(now.Sub(located).Seconds())
	}
}

// await locates until there is enough to answer, sleeping between the changes of the wanted partitions.
func (f *Fetcher) await(ctx context.Context, req Request) []plan {
	began := time.Now()
	plans, enough := f.locate(ctx, req)
	located := time.Now()
	f.metrics.locate.Observe(located.Sub(began).Seconds())
	if enough || req.MaxWait <= 0 {
		return plans
	}
	defer func() { f.metrics.wait.Observe(time.Since(located).Seconds()) }()
	timer := time.NewTimer(min(req.MaxWait, f.cfg.MaxWait))
	defer timer.Stop()
	wake, leave := f.waiting.join(req.Partitions)
	defer leave()
	for {
		// Once more after joining: what changed in between would not have woken this fetch.
		if plans, enough = f.locate(ctx, req); enough {
			return plans
		}
		select {
		case <-wake:
		case <-timer.C:
			return plans
		case <-f.waiting.released:
			return plans
		case <-ctx.Done():
			return plans
		}
	}
}
