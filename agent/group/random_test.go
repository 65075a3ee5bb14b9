package group

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/metadata/state"
)

// judge watches what the members of one group are told, over all lives of the coordinator.
type judge struct {
	h     *harness
	group string

	mu      sync.Mutex
	leaders map[int32]string            // who was told to lead a generation
	given   map[int32]map[string]string // what the leader of a generation gave, by key
}

func newJudge(h *harness, group string) *judge {
	return &judge{h: h, group: group, leaders: map[int32]string{}, given: map[int32]map[string]string{}}
}

func (j *judge) joined(r JoinResponse) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if g := j.h.group(j.group); g.Generation < r.Generation {
		j.h.Errorf("%s was told generation %d, the journal knows %d", r.Member, r.Generation, g.Generation)
	}
	if r.Generation <= 0 || r.Leader == "" || r.Member == "" {
		j.h.Errorf("was told %+v", r)
	}
	if len(r.Members) > 0 {
		who := r.Member
		for _, s := range r.Members {
			if s.Member == r.Member {
				who = key(s.Member, s.Instance)
			}
		}
		if l := j.leaders[r.Generation]; l != "" && l != who {
			j.h.Errorf("generation %d has two leaders, %s and %s", r.Generation, l, who)
		}
		j.leaders[r.Generation] = who
	}
}

// key is who a member is over all its lives: a static one keeps its leadership and its assignment when its member id changes.
func key(member, instance string) string {
	if instance != "" {
		return instance
	}
	return member
}

// assign makes the leader's assignment, in which everybody gets something of its own.
func (j *judge) assign(r JoinResponse) (all []Assignment) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.given[r.Generation] == nil {
		j.given[r.Generation] = map[string]string{}
	}
	for _, s := range r.Members {
		what := fmt.Sprintf("%d for %s", r.Generation, key(s.Member, s.Instance))
		j.given[r.Generation][key(s.Member, s.Instance)] = what
		all = append(all, Assignment{Member: s.Member, Bytes: []byte(what)})
	}
	return all
}

func (j *judge) gets(generation int32, member string, assignment []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if want := j.given[generation][member]; want == "" || want != string(assignment) {
		j.h.Errorf("%s got %q in generation %d, the leader gave %q", member, assignment, generation, want)
	}
}

// settled waits until the clients, and nobody else, are a stable group at one generation.
func (j *judge) settled(clients []*client, patience time.Duration) {
	j.h.Helper()
	why := ""
	for end := time.Now().Add(patience); ; j.h.pass(time.Second) {
		g := j.h.group(j.group)
		why = ""
		if g.State != state.GroupStable || g.Leader == "" || len(g.Members) != len(clients) {
			why = fmt.Sprintf("journal knows %d members in state %d, generation %d, led by %q", len(g.Members), g.State, g.Generation, g.Leader)
		}
		for _, c := range clients {
			if id, generation := c.at(); generation != g.Generation {
				why += fmt.Sprintf("; %s is at generation %d", id, generation)
			}
		}
		if why == "" {
			return
		}
		if !time.Now().Before(end) {
			break
		}
	}
	j.h.Fatalf("not settled: %s", why)
}

// client is a consumer that does what Kafka's own does.
type client struct {
	j        *judge
	find     func(asked int) *Coordinator // if not nil, the coordinator named by an agent, of which the client asks one after the other
	asked    int
	instance string
	metadata string
	cancel   context.CancelFunc
	done     chan struct{}

	mu         sync.Mutex
	id         string
	generation int32 // that it works at, 0: none
}

func (j *judge) client() *client {
	return &client{j: j, metadata: "m"}
}

// coordinator is where the client sends a request.
func (c *client) coordinator() *Coordinator {
	if c.find == nil {
		return c.j.h.now()
	}
	c.asked++
	return c.find(c.asked)
}

func (c *client) at() (string, int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.id, c.generation
}

func (c *client) set(id string, generation int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.id, c.generation = id, generation
}

func (c *client) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel, c.done = cancel, make(chan struct{})
	c.j.h.Cleanup(cancel)
	go func() {
		defer close(c.done)
		for ctx.Err() == nil {
			c.cycle(ctx)
		}
	}()
}

// end stops the client; politely, it leaves the group.
func (c *client) end(leave bool) {
	c.cancel()
	<-c.done
	id, _ := c.at()
	c.set("", 0)
	for try := 0; leave && id != "" && try < 20; try++ {
		_, err := c.coordinator().Leave(context.Background(), LeaveRequest{Group: c.j.group, Members: []Leaver{{Member: id}}})
		if err == nil {
			return
		}
		c.j.h.pass(time.Second)
	}
}

// cycle joins, syncs, and works until something happens.
func (c *client) cycle(ctx context.Context) {
	id, _ := c.at()
	r := joinRequest(c.j.group, id)
	r.Instance, r.Protocols[0].Metadata = c.instance, []byte(c.metadata)
	joined, err := c.coordinator().Join(ctx, r)
	if err != nil {
		c.failed(joined.Member, err)
		return
	}
	c.j.joined(joined)
	c.set(joined.Member, 0)
	for {
		req := SyncRequest{Group: c.j.group, Member: joined.Member, Instance: c.instance, Generation: joined.Generation,
			ProtocolType: joined.ProtocolType, Protocol: joined.Protocol}
		if !joined.SkipAssignment {
			req.Assignments = c.j.assign(joined)
		}
		synced, err := c.coordinator().Sync(ctx, req)
		if err == nil {
			c.j.gets(joined.Generation, key(joined.Member, c.instance), synced.Assignment)
			break
		}
		if ctx.Err() != nil || !retriable(err) {
			c.failed(joined.Member, err)
			return
		}
		c.j.h.pass(100 * time.Millisecond)
	}
	c.set(joined.Member, joined.Generation)
	for wait := 3 * time.Second; ctx.Err() == nil; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		patient, cancel := context.WithTimeout(ctx, time.Second)
		err := c.coordinator().Heartbeat(patient, HeartbeatRequest{
			Group: c.j.group, Member: joined.Member, Instance: c.instance, Generation: joined.Generation,
		})
		cancel()
		if err != nil && !retriable(err) {
			c.failed(joined.Member, err)
			return
		}
		if wait = 3 * time.Second; err != nil {
			wait = 300 * time.Millisecond
		}
	}
}

func retriable(err error) bool {
	return errors.Is(err, ErrCoordinatorNotAvailable) || errors.Is(err, ErrNotCoordinator)
}

func (c *client) failed(id string, err error) {
	switch {
	case err == ErrMemberIDRequired:
		c.set(id, 0)
	case err == ErrUnknownMember, err == ErrIllegalGeneration, err == ErrFencedInstance:
		c.set("", 0)
	default:
		own, _ := c.at()
		c.set(own, 0)
		c.j.h.pass(100 * time.Millisecond)
	}
}

// TestRandomLives lets members come, go, die and change while the coordinator is killed and its writes fail.
func TestRandomLives(t *testing.T) {
	seeds := 40
	if testing.Short() {
		seeds = 8
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			inBubble(t, func(h *harness) { randomLife(h, rand.New(rand.NewPCG(uint64(seed), 1))) })
		})
	}
}

func randomLife(h *harness, r *rand.Rand) {
	j := newJudge(h, "g")
	var alive []*client
	troubled := func() { // one command in ten goes wrong somehow
		var mu sync.Mutex
		own := rand.New(rand.NewPCG(r.Uint64(), 2))
		h.w.mu.Lock()
		defer h.w.mu.Unlock()
		h.d.faults = func(state.Op) fault {
			mu.Lock()
			defer mu.Unlock()
			if own.IntN(10) > 0 {
				return faultNone
			}
			return fault(1 + own.IntN(int(faultSlow)))
		}
	}
	troubled()
	statics := 0
	for range 60 {
		switch n := r.IntN(12); {
		case n < 4 && len(alive) < 8:
			c := j.client()
			if r.IntN(4) == 0 {
				statics++
				c.instance = fmt.Sprintf("static-%d", statics)
			}
			c.begin()
			alive = append(alive, c)
		case n < 6 && len(alive) > 1:
			i := r.IntN(len(alive))
			alive[i].end(r.IntN(2) == 0)
			alive = append(alive[:i], alive[i+1:]...)
		case n < 7 && len(alive) > 0: // a client dies and comes back, forgetting its id
			c := alive[r.IntN(len(alive))]
			c.end(false)
			c.metadata = fmt.Sprint("m", r.IntN(3))
			c.begin()
		case n < 9:
			h.restart()
			troubled()
		}
		h.pass(time.Duration(r.IntN(8000)) * time.Millisecond)
	}
	h.w.mu.Lock()
	h.d.faults = nil
	h.w.mu.Unlock()
	j.settled(alive, 5*time.Minute)

	// Once all is quiet, restarts change nothing.
	generation := h.group("g").Generation
	for range 3 {
		h.restart()
		h.pass(time.Duration(r.IntN(40)) * time.Second)
	}
	j.settled(alive, 0)
	if now := h.group("g").Generation; now != generation {
		h.Errorf("restarts led from generation %d to %d", generation, now)
	}
	for _, c := range alive {
		c.end(true)
	}
	synctest.Wait()
}
