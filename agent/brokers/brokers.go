package brokers

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// Source is where sessions are known; a metadata.Service is one.
type Source interface {
	// Ask looks at one state that is as fresh as f demands.
	Ask(ctx context.Context, f metadata.Freshness, read func(state.Reader)) error
	// Watch yields what changes after entry since.
	Watch(ctx context.Context, since uint64) iter.Seq2[state.Change, error]
}

// Brokers keeps a View up to date. Its methods are safe for concurrent use. Without Run it stays as it was at New.
//
// looked is owned by Run after New. mu guards changed.
type Brokers struct {
	source Source
	self   state.UUID
	now    func() time.Time
	view   atomic.Pointer[View]
	looked uint64 // newest entry that the view takes into account

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when the view has changed
}

// New looks at the sessions once. self is the session of this agent, which need not be open yet; now is the clock for Since.
func New(ctx context.Context, source Source, self state.UUID, now func() time.Time) (*Brokers, error) {
	b := &Brokers{source: source, self: self, now: now, changed: make(chan struct{})}
	open, err := b.look(ctx)
	if err != nil {
		return nil, err
	}
	b.view.Store(NewView(self, open))
	return b, nil
}

// Run follows the sessions until ctx ends (nil), or until the source fails for good.
func (b *Brokers) Run(ctx context.Context) error {
	for change, err := range b.source.Watch(ctx, b.looked) {
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("follow the agents: %w", err)
		case change.Kind != state.ChangeSession && change.Kind != state.ChangeAll || change.Index <= b.looked:
			continue
		}
		open, err := b.look(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		b.update(open)
	}
	return nil
}

// look reads the open sessions, ordered by when they were opened.
func (b *Brokers) look(ctx context.Context) (open []Broker, err error) {
	err = b.source.Ask(ctx, metadata.Local(), func(r state.Reader) {
		open, b.looked = nil, r.Index()
		for s := range r.Sessions() {
			if !s.Closed {
				open = append(open, Broker{
					NodeID: s.NodeID, Session: s.ID, Zone: s.Zone, Peer: s.Peer, Listeners: s.Listeners, Leaving: s.Leaving, Aside: s.Aside,
				})
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("look at the open sessions: %w", err)
	}
	return open, nil
}

// update swaps the view if it has changed, and tells who waits.
func (b *Brokers) update(open []Broker) {
	old, next := b.view.Load(), NewView(b.self, open)
	if slices.EqualFunc(old.open, next.open, Broker.equal) {
		return
	}
	next.since = map[state.UUID]time.Time{}
	now := b.now()
	for _, broker := range next.open {
		if !slices.ContainsFunc(old.open, func(o Broker) bool { return o.Session == broker.Session && (!o.Leaving || broker.Leaving) }) {
			next.since[broker.Session] = now // also one that comes back
		} else if at, ok := old.since[broker.Session]; ok {
			next.since[broker.Session] = at
		}
	}
	for _, on := range next.on {
		on.since = next.since
	}
	next.bare.since = next.since
	b.view.Store(next)
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.changed)
	b.changed = make(chan struct{})
}

// nobody is the view of an agent that stands alone.
var nobody = &View{}

// View is the agents as they are now. A nil *Brokers knows of nobody.
func (b *Brokers) View() *View {
	if b == nil {
		return nobody
	}
	return b.view.Load()
}

// Changed is closed once the view is another than when Changed was called: take the channel first, then look at the View. A nil
// *Brokers never changes.
func (b *Brokers) Changed() <-chan struct{} {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}
