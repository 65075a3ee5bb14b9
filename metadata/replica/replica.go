// Package replica is the shell around the metadata state machine: it loads the state from snapshot and journal, follows
// whoever leads or leads itself, gathers waiting commands into journal entries, applies what is committed, answers, and
// serves reads and watchers.
//
//	          ┌────────────── a fence landed ◄── stand (elect.go) ◄── the leader is silent, or asks for it
//	          ▼                                                          │
//	lead (lead.go): append, apply, answer ── another's fence ──► follow (follow.go): apply what is pushed or read
//
// It decides nothing about metadata (that is state) and nothing about fencing (that is journal). It must never apply an
// entry that the journal did not hand out as committed, and never answer a command before it is applied here. Who leads, who is
// alive and who asks whom are guesses from silence: a wrong one costs an election, never a record.
package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/replica/election"
	"github.com/leat-stream/leat/metadata/replica/history"
	"github.com/leat-stream/leat/metadata/replica/liveness"
	"github.com/leat-stream/leat/metadata/replica/snapshot"
	"github.com/leat-stream/leat/metadata/replica/trouble"
	"github.com/leat-stream/leat/metadata/state"
)

// Config bounds a replica's work.
type Config struct {
	Leader        state.LeaderInfo // what a fence of this process says about it: its session, and where peers reach it
	Zone          string           // of this agent: entries come into a zone once
	EntryCommands int              // commands gathered into one journal entry at most; a single Do is never split below it
	EntryBytes    int              // encoded size at which gathering stops, bytes
	Queue         int              // calls of Do waiting at most; beyond, callers wait
	CheckEvery    uint64           // entries between two state hashes in the journal
	SnapshotBytes int64            // journal bytes after which a snapshot is taken
	SnapshotAfter int64            // entries after which one is taken: each costs a start a request to the bucket
	WatchChanges  int              // changes remembered for watchers; one who is further behind gets state.ChangeAll
	Clock         func() time.Time // only for times inside commands that the replica itself issues

	Beat            time.Duration // between two signs of life, both ways of a stream
	Patience        time.Duration // silence after which the leader counts as gone, unless another agent hears it
	SessionPatience time.Duration // silence after which the leader closes an agent's session
}

// Default is fit for one agent and for a hundred.
func Default() Config {
	return Config{
		EntryCommands: 512, EntryBytes: 1 << 20, Queue: 1024, CheckEvery: 256,
		SnapshotBytes: 16 << 20, SnapshotAfter: 8192, WatchChanges: 1 << 16, Clock: time.Now,
		Beat: 500 * time.Millisecond, Patience: 3 * time.Second, SessionPatience: 8 * time.Second,
	}
}

// Validate refuses bounds that could not work.
func (c Config) Validate() error {
	if c.EntryCommands < 1 || c.EntryBytes < 1 || c.Queue < 1 || c.CheckEvery < 1 || c.SnapshotBytes < 1 || c.SnapshotAfter < 1 ||
		c.WatchChanges < 1 {
		return fmt.Errorf("replica: every bound must be at least 1: %+v", c)
	}
	if c.Clock == nil {
		return errors.New("replica: no clock")
	}
	if c.Beat <= 0 || c.Patience < 2*c.Beat || c.SessionPatience < c.Patience {
		return fmt.Errorf("replica: want patience %v of at least two beats of %v, and session patience %v not below it",
			c.Patience, c.Beat, c.SessionPatience)
	}
	return nil
}

// Replica is a metadata.Service over one journal.
//
// Who owns what: the goroutine in Run (the owner) alone calls Apply, holding mu, and replaces st and at; everybody else reads st
// under mu's read lock. The other parts have locks of their own, never held together with mu.
type Replica struct {
	cfg     Config
	log     *slog.Logger
	journal journal.Journal
	metrics *metrics

	mu      sync.RWMutex
	st      *state.State
	applied atomic.Uint64

	at  atomic.Pointer[position] // who leads, as known here
	own *owner
	in  *inbox
	hub *history.Changes // changes, for watchers and for reads at an index
	net *network         // what there is of other agents

	dead chan struct{} // closed when nothing is served any more
	why  error         // set before dead is closed
}

// owner is the goroutine in Run: what only it touches, and what only it does.
type owner struct {
	*Replica
	term      journal.Term         // nil: this replica does not lead
	pending   []*waiter            // readers who wait for proof over a change of roles
	fences    []time.Time          // when the newest fences were applied here: elections back off by them
	contested bool                 // an election was put off, because a leader that nobody hears was seen to append
	running   bool                 // Run has begun: fences are news, not history
	newest    uint64               // term of the newest leader that was ever seen; after a state was thrown away, older ones come again
	isolated  bool                 // when they were last asked, most of the others said nothing
	failed    map[string]time.Time // as feed.failed, of one feed at a time
	images    snapshot.Images
	snap      *snapshot.Writer
	reloaded  uint64    // applied index at which a diverged state was last thrown away
	rest      time.Time // no candidacy before: the last one could not be carried out
	trouble   trouble.Set
}

// inbox is where callers wait for the owner.
type inbox struct {
	calls     chan *call     // of Do; bounded by Config.Queue
	fresh     chan *waiter   // for proof of freshness; bounded likewise
	takeovers chan *takeover // wishes that this replica lead; unbuffered
	appending atomic.Int64   // when the append that is outstanding began, as time since base; 0: none
	base      time.Time      // monotonic base of appending
}

// network is what a replica knows of the others; nil peers: it is alone, and nobody else has this journal open.
type network struct {
	peers  Peers
	recent *history.Entries
	alive  *liveness.Agents
	leader *liveness.Leader
}

var _ metadata.Service = (*Replica)(nil)

// position is who leads, as far as is known here. It is immutable; ctx ends when another one takes its place.
type position struct {
	leading bool             // this replica does
	term    uint64           // index of the newest fence that was applied; 0: none ever
	leader  state.LeaderInfo // whom that fence names
	ctx     context.Context
	over    context.CancelFunc
}

// call is one Do.
type call struct {
	commands []state.Command
	results  []state.Result
	index    uint64 // of the entry that holds the commands
	err      error
	done     chan struct{} // closed once results and index, or err, are set
}

// gather adds the readers who wait already.
func (in *inbox) gather(waiters []*waiter) []*waiter {
	for {
		select {
		case w := <-in.fresh:
			waiters = append(waiters, w)
		default:
			return waiters
		}
	}
}

func (c *call) fail(err error) {
	c.err = err
	close(c.done)
}

// Open loads the newest state. Without peers it takes the lead by a fence, whoever led before, and a replica that is fenced then
// stops for good: two processes that know nothing of each other do not alternate. With peers, Run finds out who leads.
func Open(
	ctx context.Context, cfg Config, j journal.Journal, images snapshot.Images, peers Peers, log *slog.Logger, reg prometheus.Registerer,
) (*Replica, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r := &Replica{
		cfg: cfg, log: log, journal: j, dead: make(chan struct{}),
		in: &inbox{
			calls: make(chan *call, cfg.Queue), fresh: make(chan *waiter, cfg.Queue), takeovers: make(chan *takeover), base: time.Now(),
		},
		hub: history.NewChanges(cfg.WatchChanges),
		net: &network{peers: peers, recent: history.NewEntries(), alive: liveness.NewAgents(), leader: liveness.NewLeader(cfg.Beat)},
	}
	r.metrics = newMetrics(reg, r.leaderKnown)
	r.own = &owner{Replica: r, images: images, trouble: trouble.NewSet(log), failed: make(map[string]time.Time)}
	r.own.snap = snapshot.New(j, images, snapshot.Limits{Bytes: cfg.SnapshotBytes, Entries: cfg.SnapshotAfter}, log, reg)
	if err := r.own.begin(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// begin loads the newest state, and takes the lead if there are no peers.
func (r *owner) begin(ctx context.Context) error {
	if err := r.load(ctx); err != nil {
		return err
	}
	r.hub.Jump(r.applied.Load())
	r.locate(false)
	if r.net.peers == nil {
		return candidate{r}.insist(ctx)
	}
	return r.catchUp(ctx)
}

// Leading reports whether this replica leads, as far as it knows.
func (r *Replica) Leading() bool { return r.at.Load().leading }

// locate publishes who leads according to the applied state.
func (r *owner) locate(leading bool) {
	p := &position{leading: leading}
	p.leader, p.term = r.st.Reader().Leader()
	p.ctx, p.over = context.WithCancel(context.Background())
	r.net.leader.Begin(p.term, time.Now())
	if p.term > r.newest {
		r.newest = p.term
		r.news(p)
	}
	if old := r.at.Swap(p); old != nil {
		old.over()
	}
	if leading {
		r.metrics.leading.Set(1)
	} else {
		r.metrics.leading.Set(0)
	}
}

// news notes a leader that was not seen before.
func (r *owner) news(p *position) {
	if !r.running {
		return
	}
	r.fences = append(r.fences, time.Now())
	r.fences = r.fences[max(len(r.fences)-election.Remembered, 0):]
	r.metrics.terms.Inc()
	if p.leader.Session != r.cfg.Leader.Session {
		r.log.Info("metadata leader", "leader", p.leader.Agent, "address", p.leader.Address, "since", p.term)
	}
}

// leaderKnown is 1 while this replica leads, or has heard of the leader within Config.Patience; else 0. A leader whose append hangs for
// as long does not count: others may be able to commit, and will try.
func (r *Replica) leaderKnown() float64 {
	p := r.at.Load()
	if p == nil { // the snapshot is being read
		return 0
	}
	if age := r.heard(p); age < 0 || age > r.cfg.Patience {
		return 0
	}
	return 1
}

// heard is how long ago the leader of p was heard of, as Status tells it.
func (r *Replica) heard(p *position) time.Duration {
	select {
	case <-r.dead: // its server may answer for a moment longer
		return -1
	default:
	}
	if p.leading {
		return r.healthy(r.cfg.Patience)
	}
	if p.term == 0 || p.leader.Session == r.cfg.Leader.Session {
		return -1
	}
	return r.net.leader.Heard(p.term, time.Now())
}

// Run serves until ctx ends (then it returns nil) or the replica cannot go on: metadata.ErrFenced for one without peers, or an
// error of the state machine or of the journal that waiting would not mend. It is called once.
func (r *Replica) Run(ctx context.Context) error {
	snapsCtx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { r.own.snap.Run(snapsCtx) })
	err := r.own.alternate(ctx)
	r.own.trouble.Stop()
	r.why = metadata.ErrStopped
	if err != nil {
		r.why = err
	}
	close(r.dead) // first: who was fenced, or failed to apply an entry, has nothing to say, however long a snapshot still takes
	r.hub.Stop()
	r.at.Load().over()
	stop()
	wg.Wait()
	return err
}

// alternate leads and follows in turn.
func (r *owner) alternate(ctx context.Context) error {
	r.running = true
	for ctx.Err() == nil {
		var err error
		if r.term != nil {
			if err = (&leader{owner: r}).run(ctx); errors.Is(err, errDeposed) && r.net.peers != nil {
				r.stepDown(err)
				err = nil
			}
		} else {
			var t *takeover
			if t, err = r.follow(ctx); err == nil && ctx.Err() == nil {
				err = candidate{r}.stand(ctx, t != nil)
				t.answer(r.term != nil)
			}
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// stepDown makes a deposed leader a follower. What it has applied is committed, so that it goes on from there.
func (r *owner) stepDown(why error) {
	r.log.Info("no longer the metadata leader", "why", why)
	r.term = nil
	r.locate(false)
}

// healthy is how long ago this leader was in order: 0, unless an append has been outstanding for longer than patience. Then
// others may be able to reach the journal that it does not.
func (r *Replica) healthy(patience time.Duration) time.Duration {
	began := r.in.appending.Load()
	if began == 0 {
		return 0
	}
	if stuck := time.Since(r.in.base) - time.Duration(began); stuck > patience {
		return stuck
	}
	return 0
}

// fencesOf tells which entries that are applied to st are fences. It does so also after another state has taken its place,
// which may know less.
func (r *Replica) fencesOf(st *state.State) func(index uint64) bool {
	return func(index uint64) bool {
		r.mu.RLock()
		defer r.mu.RUnlock()
		return st.Reader().Fence(index)
	}
}

// stopped answers why the replica no longer serves.
func (r *Replica) stopped() error {
	if errors.Is(r.why, metadata.ErrFenced) || errors.Is(r.why, metadata.ErrStopped) {
		return r.why
	}
	return fmt.Errorf("%w: %w", metadata.ErrStopped, r.why)
}
