package agent

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/replica/snapshot"
)

// An agent that takes long to start says so in its log, after slowStart and then every slowStartAgain. Clients that connect meanwhile
// wait for slowStart, since most starts take less, and are then turned away at once: the ports are bound from the beginning, so that one
// that is in use is told before anything happens, and whoever waited behind one would not try another agent.
const (
	slowStart      = 2 * time.Second
	slowStartAgain = 10 * time.Second
	longStart      = time.Minute // a start that takes longer calls for attention
)

// What an agent does while it starts.
const (
	startOpens = "opening the object store and the journal"
	startReads = "reading the metadata"
	startJoins = "joining the cluster"
)

// loading is how far an agent has come that starts: for its log, and for who asks /readyz. It counts what goes through the journal and
// the images that it wraps. A nil loading tells nothing. mu guards timer and over; the counters are what they are.
type loading struct {
	log   *slog.Logger
	began time.Time

	doing    atomic.Value  // string, one of those above
	snapshot atomic.Uint64 // index of the snapshot that is read; 0: none
	shards   atomic.Int64  // of it that were read
	entries  atomic.Int64  // of the journal that were read
	index    atomic.Uint64 // of the newest of them

	mu    sync.Mutex
	timer *time.Timer
	over  bool
}

func beginLoading(log *slog.Logger) *loading {
	l := &loading{log: log, began: time.Now()}
	l.doing.Store(startOpens)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = time.AfterFunc(slowStart, l.tell)
	return l
}

// tell logs how far it is, and again later.
func (l *loading) tell() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	args := []any{"now", l.doing.Load(), "for", time.Since(l.began).Round(time.Second)}
	if l.doing.Load() != startOpens {
		args = append(args, "snapshot", l.snapshot.Load(), "shards", l.shards.Load(), "entries", l.entries.Load(), "index", l.index.Load())
	}
	level := slog.LevelInfo
	if time.Since(l.began) > longStart {
		level = slog.LevelWarn
	}
	l.log.Log(context.Background(), level, "still starting", args...)
	l.timer.Reset(slowStartAgain)
}

// does says what the agent does next.
func (l *loading) does(what string) {
	if l != nil {
		l.doing.Store(what)
	}
}

// end tells no more. It may be called twice.
func (l *loading) end() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.timer.Stop()
}

// String tells it in a line.
func (l *loading) String() string {
	if l == nil {
		return "not serving"
	}
	l.mu.Lock()
	over := l.over
	l.mu.Unlock()
	switch doing := l.doing.Load(); {
	case over:
		return "not serving"
	case doing != startReads:
		return fmt.Sprintf("starting: %s", doing)
	default:
		return fmt.Sprintf("starting: %s: snapshot at %d, %d shards of it, %d entries behind it up to %d",
			doing, l.snapshot.Load(), l.shards.Load(), l.entries.Load(), l.index.Load())
	}
}

// journal counts the entries that j hands out.
func (l *loading) journal(j journal.Journal) journal.Journal {
	if l == nil {
		return j
	}
	return countedJournal{Journal: j, loading: l}
}

// images counts the shards that i hands out.
func (l *loading) images(i snapshot.Images) snapshot.Images {
	if l == nil {
		return i
	}
	return countedImages{Images: i, loading: l}
}

type countedJournal struct {
	journal.Journal
	loading *loading
}

// Read implements journal.Journal. It also tells of an agent that had to read for long, after it was cut off or asleep.
func (c countedJournal) Read(ctx context.Context, from uint64) iter.Seq2[journal.Entry, error] {
	return func(yield func(journal.Entry, error) bool) {
		began, last := time.Now(), from-1
		defer func() {
			if took := time.Since(began); took > slowStart && last >= from {
				c.loading.log.Info("read the journal", "from", from, "to", last, "took", took.Round(time.Millisecond))
			}
		}()
		for e, err := range c.Journal.Read(ctx, from) {
			if err == nil {
				last = e.Index
				c.loading.entries.Add(1)
				c.loading.index.Store(e.Index)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

type countedImages struct {
	snapshot.Images
	loading *loading
}

// GetManifest implements snapshot.Images.
func (c countedImages) GetManifest(ctx context.Context, index uint64, id [16]byte) ([]byte, error) {
	b, err := c.Images.GetManifest(ctx, index, id)
	if err == nil {
		c.loading.snapshot.Store(index)
		c.loading.shards.Store(0)
	}
	return b, err
}

// GetShard implements snapshot.Images.
func (c countedImages) GetShard(ctx context.Context, index uint64, id [16]byte) ([]byte, error) {
	b, err := c.Images.GetShard(ctx, index, id)
	if err == nil {
		c.loading.shards.Add(1)
	}
	return b, err
}
