package api

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/agent/batch"
	"github.com/leat-stream/leat/metadata/state"
)

// Config is how clients are led to the agent that serves them best.
type Config struct {
	// NudgeInterval is the time between a connection's first and second nudge about one partition. It doubles with every further
	// one, up to a hundredfold: a client that does not follow has its reasons.
	NudgeInterval time.Duration
	// NudgeAfter is how long another agent must be in view here before anybody is sent to it, so that the other agents, whom
	// clients ask, know it too.
	NudgeAfter time.Duration
	Clock      func() time.Time
}

// Default is as `leat agent` starts without flags.
func Default() Config {
	return Config{NudgeInterval: 10 * time.Second, NudgeAfter: 2 * time.Second, Clock: time.Now}
}

// Validate refuses what could not work.
func (c Config) Validate() error {
	if c.NudgeInterval < time.Second || c.NudgeAfter < 0 || c.Clock == nil {
		return fmt.Errorf("nudge interval %v, nudge after %v: must be at least 1s, and not negative", c.NudgeInterval, c.NudgeAfter)
	}
	return nil
}

const (
	// nudgeBackoff is how often NudgeInterval is doubled at most.
	nudgeBackoff = 6
	// nudgeSettle is for how long batches behind a nudged one are refused after its answer was handed out: they may have been sent
	// before the client has read it.
	nudgeSettle = time.Second
	// pointInterval is the least time between two pointers of one connection to the preferred replica of one partition. A client that
	// comes back sooner cannot reach that agent, and is served.
	pointInterval = time.Second
	// maxNudges is how many nudges are remembered; beyond, no client is nudged for the first time.
	maxNudges = 100_000
)

// Nudges remembers which connections were told that another agent serves a partition better. A nudge is an answer of
// NOT_LEADER_OR_FOLLOWER before anything of the partition was accepted or read: the client asks for Metadata, and follows. One that
// comes back all the same is served.
//
// mu guards byConn and all nudges. What a connection's nudges take ends with the connection.
type Nudges struct {
	cfg     Config
	held    atomic.Int64 // nudges in byConn
	nudged  *prometheus.CounterVec
	pointed prometheus.Counter

	mu     sync.Mutex
	byConn map[uint64]map[place]*nudge
}

// place is what a nudge is about.
type place struct {
	tp   state.TopicPartition
	call call
}

// call tells apart what one connection may do with a partition.
type call uint8

const (
	producing call = iota
	consuming
	pointing
)

// nudge is what is remembered of a place.
type nudge struct {
	count int       // so far
	next  time.Time // not again before

	// Of producing: batches that follow the refused one are refused, too, or they would overtake it.
	refusing bool
	first    sequence  // of the batch that was refused first
	until    time.Time // refusing ends at the latest; zero: the refusal is not handed out yet
}

// NewNudges makes an empty memory; cfg must be valid, reg may be nil.
func NewNudges(cfg Config, reg prometheus.Registerer) *Nudges {
	n := &Nudges{cfg: cfg, byConn: map[uint64]map[place]*nudge{}}
	n.nudged, n.pointed = newMetrics(reg)
	return n
}

// settled is the time before which an agent must have come into view for clients to be sent to it.
func (n *Nudges) settled() time.Time { return n.cfg.Clock().Add(-n.cfg.NudgeAfter) }

// sequence is the beginning of a producer's batch.
type sequence struct {
	id    int64 // negative: of a producer that is not idempotent
	epoch int16
	first int32
}

// sequenceOf reads a batch that is not checked yet; what is no batch is of nobody.
func sequenceOf(records []byte) sequence {
	v, err := batch.Single(records)
	if err != nil || v.ProducerID() < 0 {
		return sequence{id: -1}
	}
	return sequence{id: v.ProducerID(), epoch: v.ProducerEpoch(), first: v.BaseSequence()}
}

// follows reports whether a batch must not be accepted before first is: it is of the same producer and later. Sequences count modulo
// 2^31. Of producers that are not idempotent every batch follows: one cannot tell.
func (q sequence) follows(first sequence) bool {
	if q.id != first.id {
		return q.id < 0 && first.id < 0
	}
	if q.id < 0 {
		return true
	}
	distance := uint32(q.first-first.first) & (1<<31 - 1)
	return q.epoch == first.epoch && distance != 0 && distance < 1<<30
}

// produce decides whether a batch is refused. fresh is the nudge if it is the first of a row: answered must be told of it when
// the refusal is handed out.
//
//	served ──better agent, interval over──► refusing ──the refused batch, or an earlier one, comes again──► served
//	  ▲                                      │ later batches: refused
//	  └──────── nudgeSettle after the answer ┘
//
// So the pipelined batches of a producer, which it sent before it read the first refusal, are refused like the first and stay
// in sequence; the client sends them again in order, elsewhere or here.
func (n *Nudges) produce(ctx context.Context, conn uint64, tp state.TopicPartition, u urge, records []byte) (refused bool, fresh *nudge) {
	if u == mustGo {
		n.nudged.WithLabelValues("Produce").Inc()
		return true, nil
	}
	if u == stay && n.held.Load() == 0 {
		return false, nil
	}
	q, now := sequenceOf(records), n.cfg.Clock()
	n.mu.Lock()
	defer n.mu.Unlock()
	at := place{tp, producing}
	known := n.byConn[conn][at]
	if known != nil && known.refusing {
		switch {
		case !known.until.IsZero() && now.After(known.until), q == known.first && q.id >= 0:
			known.refusing = false
		case q.follows(known.first):
			return true, nil
		}
	}
	if fresh = n.again(ctx, conn, at, known, u, now); fresh == nil {
		return false, nil
	}
	fresh.refusing, fresh.first, fresh.until = true, q, time.Time{}
	n.nudged.WithLabelValues("Produce").Inc()
	return true, fresh
}

// answered tells that the refusals are handed out now.
func (n *Nudges) answered(fresh []*nudge) {
	now := n.cfg.Clock()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, f := range fresh {
		f.until, f.next = now.Add(nudgeSettle), now.Add(n.interval(f.count))
	}
}

// fetch decides whether a consumer is refused.
func (n *Nudges) fetch(ctx context.Context, conn uint64, tp state.TopicPartition, u urge) bool {
	if u != mustGo {
		if u == stay && n.held.Load() == 0 {
			return false
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		at := place{tp, consuming}
		if n.again(ctx, conn, at, n.byConn[conn][at], u, n.cfg.Clock()) == nil {
			return false
		}
	}
	n.nudged.WithLabelValues("Fetch").Inc()
	return true
}

// point decides whether a consumer is pointed to the replica in its zone.
func (n *Nudges) point(ctx context.Context, conn uint64, tp state.TopicPartition) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	at, now := place{tp, pointing}, n.cfg.Clock()
	p := n.again(ctx, conn, at, n.byConn[conn][at], shouldGo, now)
	if p == nil {
		return false
	}
	p.next = now.Add(pointInterval)
	n.pointed.Inc()
	return true
}

// again makes or renews the nudge of a place if it is time, and forgets it once this agent is as good as any. n.mu is held.
func (n *Nudges) again(ctx context.Context, conn uint64, at place, known *nudge, u urge, now time.Time) *nudge {
	switch {
	case u == stay:
		if known != nil && !known.refusing {
			delete(n.byConn[conn], at)
			n.held.Add(-1)
		}
		return nil
	case known == nil:
		if n.held.Load() >= maxNudges {
			return nil
		}
		if n.byConn[conn] == nil {
			n.byConn[conn] = map[place]*nudge{}
			context.AfterFunc(ctx, func() { n.forget(conn) })
		}
		known = &nudge{}
		n.byConn[conn][at] = known
		n.held.Add(1)
	case now.Before(known.next):
		return nil
	}
	known.count++
	known.next = now.Add(n.interval(known.count))
	return known
}

func (n *Nudges) interval(count int) time.Duration {
	return n.cfg.NudgeInterval << min(count-1, nudgeBackoff)
}

// forget drops what is remembered of a connection that has ended.
func (n *Nudges) forget(conn uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.held.Add(-int64(len(n.byConn[conn])))
	delete(n.byConn, conn)
}
