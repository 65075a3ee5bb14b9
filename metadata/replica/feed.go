package replica

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/leat-stream/leat/metadata/replica/election"
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
	failed   map[string]time.Time    // when an upstream last failed, or said nothing: the owner keeps it for the next feed
	current  string                  // the upstream now, also while the stream is being opened
	end      context.CancelCauseFunc // ends that stream
}

const (
	pushQueue   = 256                    // entries that wait for the owner
	avoidFailed = 3 * time.Second        // how long an upstream that failed is the last choice
	feedPause   = 100 * time.Millisecond // between two attempts
)

func newFeed(r *owner) *feed {
	return &feed{r: r.Replica, pushes: make(chan Push, pushQueue), trouble: make(chan struct{}, 1), failed: r.failed}
}

// run streams until ctx ends.
func (f *feed) run(ctx context.Context) {
	for ctx.Err() == nil {
		p := f.r.at.Load()
		streaming, end := context.WithCancelCause(ctx)
		address := f.choose(p, time.Now(), end)
		var err error
		if address != "" {
			if err = f.stream(streaming, end, p, address); context.Cause(streaming) != nil {
				err = context.Cause(streaming)
			}
		}
		end(nil)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errReplaced):
			continue
		case address != "" && !errors.Is(err, errMoved):
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

// noteFailure remembers that an upstream failed, and has the owner look.
func (f *feed) noteFailure(p *position, address string, err error) {
	f.avoid(address)
	switch {
	case address != p.leader.Address:
	case errors.Is(err, ErrRefused), errors.Is(err, errNotThere):
		f.r.net.leader.Refuse(p.term)
	default:
		f.r.net.leader.SetBlocked(p.term, true)
	}
	f.r.log.Debug("stream of metadata ended", "upstream", address, "error", err)
	select {
	case f.trouble <- struct{}{}:
	default:
	}
}

// avoid makes address the last choice for a while.
func (f *feed) avoid(address string) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.failed, func(_ string, at time.Time) bool { return now.Sub(at) > avoidFailed })
	f.failed[address] = now
	if f.prefer == address {
		f.prefer = ""
	}
}

// use makes address the upstream: it was found to hear the leader when the usual ones do not.
func (f *feed) use(p *position, address string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.preferIn != p.term || f.prefer != address {
		f.r.log.Debug("stream of metadata comes from another agent now", "upstream", address, "before", f.current)
	}
	f.prefer, f.preferIn = address, p.term
	f.replace(address)
}

// back makes the usual upstream of p the upstream again.
func (f *feed) back(p *position) {
	usual := f.usual(p)
	if len(usual) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.prefer = ""
	delete(f.failed, usual[0])
	f.replace(usual[0])
}

// replace ends the stream unless it comes from address. Under mu.
func (f *feed) replace(address string) {
	if f.end != nil && f.current != address {
		f.end(errReplaced)
	}
}

// choose picks the upstream; end ends what is streamed from there.
func (f *feed) choose(p *position, now time.Time, end context.CancelCauseFunc) string {
	usual := f.usual(p)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.current, f.end = "", end
	if f.prefer != "" && f.preferIn == p.term {
		f.current = f.prefer
		return f.current
	}
	for _, address := range usual {
		f.current = address
		if now.Sub(f.failed[address]) > avoidFailed {
			break
		}
	}
	return f.current
}

// usual is the upstreams that every agent of this zone would choose, the first first.
func (f *feed) usual(p *position) []string {
	own := f.r.cfg.Leader
	if p.leader.Session == own.Session || p.leader.Address == "" || p.leader.Address == own.Address {
		return nil
	}
	f.r.mu.RLock()
	relay := election.Relay(f.r.st.Reader(), p.term, p.leader.Session, f.r.cfg.Zone)
	f.r.mu.RUnlock()
	if relay != "" && relay != own.Address && relay != p.leader.Address {
		return []string{relay, p.leader.Address}
	}
	return []string{p.leader.Address}
}

// stream follows address until it fails, falls silent, or another position begins; or end is called, which says why.
func (f *feed) stream(ctx context.Context, end context.CancelCauseFunc, p *position, address string) error {
	r := f.r
	defer context.AfterFunc(p.ctx, func() { end(errMoved) })()
	silence := time.AfterFunc(r.cfg.Patience, func() { end(errSilent) })
	defer silence.Stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	s, err := r.net.peers.Follow(ctx, address, Follow{Session: r.cfg.Leader.Session, From: r.applied.Load() + 1})
	if err != nil {
		return err
	}
	r.net.leader.SetUpstream(address)
	defer r.net.leader.SetUpstream("")
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	defer s.Close()
	wg.Go(func() { f.beat(ctx, s) })
	for {
		push, err := s.Recv()
		if err != nil {
			return err
		}
		silence.Reset(r.cfg.Patience)
		if err := f.heard(p, address, push); err != nil {
			return err
		}
		if r.net.alive.Last(r.cfg.Leader.Session).After(began.Add(r.cfg.Beat)) {
			return errCircle
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

// heard notes what a push says about the leader. An error says that it comes from nowhere.
func (f *feed) heard(p *position, address string, push Push) error {
	leader, direct := f.r.net.leader, address == p.leader.Address
	switch {
	case push.Heard >= 0:
		leader.Hear(push.Term, time.Now().Add(-push.Heard))
		if direct && push.Term == p.term {
			leader.SetBlocked(p.term, false)
		}
	case push.Term != p.term: // the fence of a newer one is on its way; or this one's has landed, and the upstream does not know yet
	case direct:
		return errNotThere
	case leader.Known(p.term): // an upstream that has just begun may find it yet; this one did
		leader.Lose(p.term)
		return errLost
	}
	return nil
}

// Why a stream ended, if the other end did not say.
var (
	// errSilent: an upstream said nothing for too long.
	errSilent = errors.New("upstream is silent")
	// errNotThere: who answers where the leader did does not lead: another process, or the same one, deposed.
	errNotThere = errors.New("upstream is not the leader any more")
	// errLost: the upstream, another follower, does not hear of the leader any more.
	errLost = errors.New("upstream has lost the leader")
	// errCircle: what this agent tells its upstream comes back from those who follow this agent: no entry can come from there.
	errCircle = errors.New("upstream follows this agent")
	// errReplaced: a better upstream was found.
	errReplaced = errors.New("replaced by another upstream")
	// errMoved: another leader was found, or this agent's state was loaded anew.
	errMoved = errors.New("another position began")
)

// beat tells the upstream who is alive here and behind.
func (f *feed) beat(ctx context.Context, s Feed) {
	r := f.r
	tick := time.NewTicker(r.cfg.Beat)
	defer tick.Stop()
	for {
		ages := r.net.alive.Ages(time.Now(), r.cfg.SessionPatience)
		ages[r.cfg.Leader.Session] = 0
		alive := make([]Alive, 0, len(ages))
		for session, age := range ages {
			alive = append(alive, Alive{Session: session, Age: age})
		}
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
