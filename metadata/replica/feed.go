package replica

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/leat-stream/leat/metadata/state"
)

// feed keeps a stream of committed entries coming from an upstream: the relay of this agent's zone, which is the agent that
// follows the leader for it, or the leader itself; or, when neither answers, whoever hears the leader.
//
// mu guards what stands below it.
type feed struct {
	r       *Replica
	pushes  chan Push     // for the owner; bounded: when it is full, the stream is not read
	trouble chan struct{} // a stream failed: the owner may want to look at once; holds at most one signal

	mu       sync.Mutex
	prefer   string // an upstream that was found to hear the leader of term preferIn, or to know a newer one
	preferIn uint64
	failed   map[string]time.Time // when an upstream last failed
	cancel   context.CancelFunc   // ends the current stream
}

const (
	pushQueue   = 256                    // entries that wait for the owner
	avoidFailed = 3 * time.Second        // how long an upstream that failed is the last choice
	feedPause   = 100 * time.Millisecond // between two attempts
)

func newFeed(r *Replica) *feed {
	return &feed{r: r, pushes: make(chan Push, pushQueue), trouble: make(chan struct{}, 1), failed: make(map[string]time.Time)}
}

// run streams until ctx ends.
func (f *feed) run(ctx context.Context) {
	for ctx.Err() == nil {
		p := f.r.at.Load()
		if address := f.choose(p, time.Now()); address != "" {
			err := f.stream(ctx, p, address)
			if ctx.Err() != nil {
				return
			}
			f.noteFailure(p, address, err)
		}
		timer := time.NewTimer(feedPause)
		select {
		case <-timer.C:
		case <-p.ctx.Done():
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// noteFailure remembers that an upstream failed, unless the stream was ended from here.
func (f *feed) noteFailure(p *position, address string, err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	now := time.Now()
	f.mu.Lock()
	maps.DeleteFunc(f.failed, func(_ string, at time.Time) bool { return now.Sub(at) > avoidFailed })
	f.failed[address] = now
	if f.prefer == address {
		f.prefer = ""
	}
	f.mu.Unlock()
	switch {
	case address != p.leader.Address:
	case errors.Is(err, ErrRefused), errors.Is(err, errNotThere):
		f.r.net.leader.refuse(p.term)
	default:
		f.r.net.leader.block(now)
	}
	f.r.log.Debug("stream of metadata ended", "upstream", address, "error", err)
	select {
	case f.trouble <- struct{}{}:
	default:
	}
}

// use makes address the upstream for as long as the term lasts: it was found to hear the leader when the usual ones do not.
func (f *feed) use(p *position, address string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.preferIn == p.term && f.prefer == address {
		return
	}
	f.prefer, f.preferIn = address, p.term
	if f.cancel != nil {
		f.cancel()
	}
}

// choose picks the upstream.
func (f *feed) choose(p *position, now time.Time) string {
	own := f.r.cfg.Leader
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.prefer != "" && f.preferIn == p.term {
		return f.prefer
	}
	if p.leader.Session == own.Session || p.leader.Address == "" || p.leader.Address == own.Address {
		return ""
	}
	choices := []string{p.leader.Address}
	if relay := f.relay(p); relay != "" && relay != own.Address && relay != p.leader.Address {
		choices = []string{relay, p.leader.Address}
	}
	for _, address := range choices {
		if now.Sub(f.failed[address]) > avoidFailed {
			return address
		}
	}
	return choices[len(choices)-1]
}

// relay is the agent of this agent's zone that follows the leader for all of them: the first by rank. "" if the leader is in
// this zone, or nobody else is.
func (f *feed) relay(p *position) string {
	r := f.r
	if r.cfg.Zone == "" {
		return ""
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	reader := r.st.Reader()
	if s, ok := reader.Session(p.leader.Session); !ok || s.Zone == r.cfg.Zone {
		return ""
	}
	var best state.Session
	found := false
	for s := range reader.Sessions() {
		if s.Closed || s.Leaving || s.Peer == "" || s.Zone != r.cfg.Zone {
			continue
		}
		if !found || cmp.Less(rank(p.term, s.ID), rank(p.term, best.ID)) {
			best, found = s, true
		}
	}
	return best.Peer
}

// stream follows address until it fails, falls silent, or another position begins.
func (f *feed) stream(ctx context.Context, p *position, address string) error {
	r := f.r
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	opening := time.AfterFunc(r.cfg.Patience, cancel)
	s, err := r.net.peers.Follow(ctx, address, Follow{Session: r.cfg.Leader.Session, From: r.applied.Load() + 1})
	if !opening.Stop() {
		if err == nil {
			s.Close()
		}
		return errSilent
	}
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.cancel = cancel
	f.mu.Unlock()
	r.net.leader.setUpstream(address)
	silence := time.AfterFunc(r.cfg.Patience, cancel)
	defer silence.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	defer s.Close()
	defer func() {
		f.mu.Lock()
		f.cancel = nil
		f.mu.Unlock()
		r.net.leader.setUpstream("")
	}()
	wg.Go(func() { f.beat(ctx, s) })
	for {
		push, err := s.Recv()
		if err != nil {
			if ctx.Err() != nil && p.ctx.Err() == nil && !silence.Stop() {
				return errSilent
			}
			return err
		}
		silence.Reset(r.cfg.Patience)
		if push.Heard >= 0 {
			r.net.leader.hear(push.Term, time.Now().Add(-push.Heard))
		} else if address == p.leader.Address && push.Term == p.term { // below: its fence has landed, and it does not know yet
			return errNotThere
		}
		if push.Entry == nil && !push.Missing {
			continue
		}
		select {
		case f.pushes <- push:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

var (
	// errSilent: an upstream said nothing for too long.
	errSilent = errors.New("upstream is silent")
	// errNotThere: who answers where the leader did does not lead: another process, or the same one, deposed.
	errNotThere = errors.New("upstream is not the leader any more")
)

// beat tells the upstream who is alive here and behind.
func (f *feed) beat(ctx context.Context, s Feed) {
	r := f.r
	tick := time.NewTicker(r.cfg.Beat)
	defer tick.Stop()
	for {
		alive := append(r.net.alive.list(time.Now(), r.cfg.SessionPatience), Alive{Session: r.cfg.Leader.Session})
		slices.SortFunc(alive, func(a, b Alive) int { return slices.Compare(a.Session[:], b.Session[:]) })
		if s.Send(Beat{Alive: alive}) != nil {
			s.Close() // Recv fails too, and says why
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
