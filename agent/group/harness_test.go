package group

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

var errKilled = errors.New("killed")

// world is a real journal and its state, the only things that outlive a coordinator.
type world struct {
	t       *testing.T
	mu      sync.Mutex
	st      *state.State
	entries []state.Entry
	doors   []*door
	lives   byte
}

func newWorld(t *testing.T) *world { return &world{t: t, st: state.New()} }

func (w *world) apply(c ...state.Command) []state.Result {
	e := state.Entry{Index: uint64(len(w.entries)) + 1, Commands: c}
	w.entries = append(w.entries, e)
	generations := map[string]int32{}
	for id := range w.st.Reader().Groups() {
		g, _ := w.st.Reader().Group(id)
		generations[id] = g.Generation
	}
	results, _, err := w.st.Apply(e)
	if err != nil {
		w.t.Errorf("apply: %v", err)
	}
	for id, before := range generations {
		if g, ok := w.st.Reader().Group(id); ok && g.Generation < before {
			w.t.Errorf("generation of %s goes from %d to %d", id, before, g.Generation)
		}
	}
	for _, d := range w.doors {
		if !d.behind && !d.cut() {
			d.catchUp()
		}
	}
	return results
}

func (w *world) read(f func(state.Reader)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w.st.Reader())
}

// fault is how a Do goes wrong.
type fault int

const (
	faultNone    fault = iota
	faultRefused       // not applied, and reported as such
	faultLost          // applied, reported as unknown
	faultLate          // reported as unknown, applied before the next command
	faultHang          // as faultLate, reported when the caller's patience ends
	faultSlow          // applied after two seconds
)

// door is a session of one coordinator's life, with a replica of its own. Like a metadata.Session it keeps the order of its
// commands.
type door struct {
	w      *world
	id     state.UUID
	number uint64
	late   []state.Op
	dead   bool
	faults func(op state.Op) fault // nil: none; called with the world locked
	before func(op state.Op)       // called without a lock, may kill
	after  func(op state.Op)

	st      *state.State
	applied int
	changes []state.Change
	grown   chan struct{} // closed when there is more to watch
	behind  bool          // the replica learns nothing but what it asks for
	mended  chan struct{} // not nil: nobody is reached until it is closed
	looks   int           // Asks for a fresh state
}

func (w *world) open() *door {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lives++
	d := &door{w: w, id: state.UUID{w.lives}, st: state.New(), grown: make(chan struct{})}
	w.doors = append(w.doors, d)
	w.apply(state.Command{Time: time.Now().UnixMilli(), Op: state.OpenSession{Session: d.id, NodeID: -1, Level: state.Level}})
	return d
}

// catchUp applies what the journal has. The world is locked.
func (d *door) catchUp() {
	for _, e := range d.w.entries[d.applied:] {
		_, changes, err := d.st.Apply(e)
		if err != nil {
			d.w.t.Errorf("apply: %v", err)
		}
		d.changes = append(d.changes, changes...)
	}
	if d.applied < len(d.w.entries) {
		d.applied = len(d.w.entries)
		close(d.grown)
		d.grown = make(chan struct{})
	}
}

// lag lets the replica fall behind, or catch up again.
func (d *door) lag(behind bool) {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	if d.behind = behind; !behind {
		d.catchUp()
	}
}

func (d *door) cut() bool { return d.mended != nil }

// sever cuts the agent off from all others and the bucket, or mends that.
func (d *door) sever(cut bool) {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	switch {
	case cut && !d.cut():
		d.mended = make(chan struct{})
	case !cut && d.cut():
		close(d.mended)
		d.mended = nil
		d.catchUp()
	}
}

// reach waits until the others can be reached. The world is locked, but not meanwhile.
func (d *door) reach(ctx context.Context) error {
	for d.cut() {
		mended := d.mended
		d.w.mu.Unlock()
		select {
		case <-mended:
		case <-ctx.Done():
		}
		d.w.mu.Lock()
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", metadata.ErrUnknown, ctx.Err())
		}
	}
	return nil
}

func (d *door) ID() state.UUID { return d.id }

func (d *door) Do(ctx context.Context, ops ...state.Op) ([]state.Result, error) {
	if d.before != nil {
		d.before(ops[0])
	}
	results, err := d.do(ctx, ops)
	if d.after != nil {
		d.after(ops[0])
	}
	if d.isDead() {
		return nil, errKilled
	}
	return results, err
}

func (d *door) do(ctx context.Context, ops []state.Op) ([]state.Result, error) {
	d.w.mu.Lock()
	if err := d.reach(ctx); err != nil {
		d.w.mu.Unlock()
		return nil, err
	}
	f := faultNone
	if d.faults != nil {
		f = d.faults(ops[0])
	}
	switch {
	case d.dead:
		f = faultRefused
	case f == faultSlow:
		d.w.mu.Unlock()
		time.Sleep(2 * time.Second)
		d.w.mu.Lock()
	case f == faultHang:
		d.late = append(d.late, ops...)
		d.w.mu.Unlock()
		<-ctx.Done()
		return nil, fmt.Errorf("%w: %w", metadata.ErrUnknown, ctx.Err())
	}
	defer d.w.mu.Unlock()
	switch f {
	case faultRefused:
		return nil, metadata.ErrNotApplied
	case faultLate:
		d.late = append(d.late, ops...)
		return nil, metadata.ErrUnknown
	}
	results := d.commit(append(d.late, ops...))[len(d.late):]
	d.late = nil
	if f == faultLost {
		return nil, metadata.ErrUnknown
	}
	return results, nil
}

func (d *door) commit(ops []state.Op) []state.Result {
	commands := make([]state.Command, len(ops))
	for i, op := range ops {
		d.number++
		commands[i] = state.Command{
			Session: d.id, Lane: state.LaneOther, Number: d.number, Settled: d.number - 1, Time: time.Now().UnixMilli(), Op: op,
		}
	}
	results := d.w.apply(commands...)
	d.catchUp()
	return results
}

func (d *door) Ask(ctx context.Context, f metadata.Freshness, read func(state.Reader)) error {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	if f.IsFresh() {
		d.looks++
	}
	if f.IsFresh() || f.Index() > uint64(d.applied) {
		if err := d.reach(ctx); err != nil {
			return err
		}
		d.catchUp()
	}
	if d.dead {
		return errKilled
	}
	read(d.st.Reader())
	return nil
}

func (d *door) Watch(ctx context.Context, since uint64) iter.Seq2[state.Change, error] {
	return func(yield func(state.Change, error) bool) {
		for next := 0; ; {
			d.w.mu.Lock()
			changes, grown := d.changes[next:], d.grown
			d.w.mu.Unlock()
			for _, c := range changes {
				if next++; c.Index > since && !yield(c, nil) {
					return
				}
			}
			select {
			case <-grown:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (d *door) isDead() bool {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	return d.dead
}

// harness is one coordinator at a time over one world.
type harness struct {
	*testing.T
	w   *world
	cfg Config
	ctx context.Context

	mu sync.Mutex
	*life
}

// life is one life of one coordinator.
type life struct {
	c      *Coordinator
	d      *door
	cancel context.CancelFunc
	done   chan struct{}
}

// inBubble runs f with virtual time over a fresh world and a running coordinator.
func inBubble(t *testing.T, f func(h *harness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &harness{T: t, w: newWorld(t), cfg: Default(), ctx: t.Context()}
		h.start()
		t.Cleanup(func() { h.stop() })
		f(h)
	})
}

func (h *harness) start() {
	l := h.begin(nil, nil)
	h.mu.Lock()
	h.life = l
	h.mu.Unlock()
	synctest.Wait()
}

// begin begins the life of a coordinator with a view.
func (h *harness) begin(mine func(string) bool, changed func() <-chan struct{}) *life {
	ctx, cancel := context.WithCancel(context.Background())
	l := &life{d: h.w.open(), cancel: cancel, done: make(chan struct{})}
	l.c = New(h.cfg, Deps{
		Door: l.d, Watch: l.d.Watch, Mine: mine, Changed: changed,
		Log: slog.New(slog.DiscardHandler), Register: prometheus.NewRegistry(),
	})
	go func() {
		defer close(l.done)
		_ = l.c.Run(ctx)
	}()
	return l
}

func (l *life) stop() {
	l.cancel()
	<-l.done
}

// die stops the coordinator in the middle of whatever it does: nothing of it reaches the state any more. It does not wait.
func (l *life) die() {
	l.d.w.mu.Lock()
	l.d.dead = true
	l.d.w.mu.Unlock()
	l.cancel()
}

// restart is kill -9 and a new start.
func (h *harness) restart() {
	h.die()
	<-h.done
	h.start()
}

// pass lets virtual time pass: a harness lives in a bubble only. (cmd/archtest forbids sleeping, and sees bubbles only where
// they begin, so helpers say it this way.)
func (h *harness) pass(d time.Duration) { <-time.After(d) }

func (h *harness) now() *Coordinator {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.c
}

func (h *harness) group(id string) (g state.Group) {
	h.w.read(func(r state.Reader) { g, _ = r.Group(id) })
	return g
}

func (h *harness) is(err, want error) {
	h.Helper()
	if !errors.Is(err, want) || want == nil && err != nil {
		h.Fatalf("error is %v, want %v", err, want)
	}
}

func (h *harness) generation(id string, want int32) {
	h.Helper()
	if g := h.group(id); g.Generation != want {
		h.Fatalf("generation of %s in the journal is %d, want %d (%+v)", id, g.Generation, want, g)
	}
}

func (h *harness) state(id, want string) {
	h.Helper()
	if d := h.c.Describe(h.ctx, []string{id})[0]; d.State != want {
		h.Fatalf("%s is %s, want %s", id, d.State, want)
	}
}

const (
	sessionTimeout   = 10 * time.Second
	rebalanceTimeout = 60 * time.Second
)

func joinRequest(group, member string) JoinRequest {
	return JoinRequest{
		Group: group, Member: member, ClientID: "client", ClientHost: "/127.0.0.1", SessionTimeout: sessionTimeout,
		RebalanceTimeout: rebalanceTimeout, ProtocolType: "consumer", MemberIDRequired: true, SkipAssignment: true,
		Protocols: []state.Protocol{{Name: "range", Metadata: []byte("topics")}},
	}
}

// joining is a JoinGroup under way.
type joining struct {
	done chan struct{}
	resp JoinResponse
	err  error
}

func (h *harness) goJoin(r JoinRequest) *joining {
	j := &joining{done: make(chan struct{})}
	go func() {
		defer close(j.done)
		j.resp, j.err = h.now().Join(h.ctx, r)
	}()
	synctest.Wait()
	return j
}

func (j *joining) wait() JoinResponse {
	<-j.done
	return j.resp
}

func (j *joining) waiting() bool {
	select {
	case <-j.done:
		return false
	default:
		return true
	}
}

// newID gets a member id for a dynamic member.
func (h *harness) newID(group string) string {
	h.Helper()
	resp, err := h.c.Join(h.ctx, joinRequest(group, ""))
	h.is(err, ErrMemberIDRequired)
	if resp.Member == "" {
		h.Fatal("no member id was handed out")
	}
	return resp.Member
}

// syncing is a SyncGroup under way.
type syncing struct {
	done chan struct{}
	resp SyncResponse
	err  error
}

func (h *harness) goSync(r SyncRequest) *syncing {
	s := &syncing{done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.resp, s.err = h.now().Sync(h.ctx, r)
	}()
	synctest.Wait()
	return s
}

func syncRequest(group string, r JoinResponse) SyncRequest {
	req := SyncRequest{Group: group, Member: r.Member, Generation: r.Generation, ProtocolType: r.ProtocolType, Protocol: r.Protocol}
	for _, s := range r.Members {
		req.Assignments = append(req.Assignments, Assignment{Member: s.Member, Bytes: []byte("for " + s.Member)})
	}
	return req
}

// stable makes a group of n dynamic members at generation 1 and answers what each was told, the leader first.
func (h *harness) stable(group string, n int) []JoinResponse {
	h.Helper()
	var ids []string
	for range n {
		ids = append(ids, h.newID(group))
	}
	return h.together(group, ids...)
}

// together lets members with ids join, and brings the group to stability.
func (h *harness) together(group string, ids ...string) []JoinResponse {
	h.Helper()
	var joins []*joining
	for _, id := range ids {
		joins = append(joins, h.goJoin(joinRequest(group, id)))
	}
	var told []JoinResponse
	for _, j := range joins {
		resp := j.wait()
		h.is(j.err, nil)
		if resp.Leader == resp.Member {
			told = append([]JoinResponse{resp}, told...)
		} else {
			told = append(told, resp)
		}
	}
	h.sync(group, told)
	return told
}

func (h *harness) sync(group string, told []JoinResponse) {
	h.Helper()
	var syncs []*syncing
	for i := len(told) - 1; i >= 0; i-- {
		syncs = append(syncs, h.goSync(syncRequest(group, told[i])))
	}
	for i, s := range syncs {
		<-s.done
		h.is(s.err, nil)
		if want := "for " + told[len(told)-1-i].Member; string(s.resp.Assignment) != want {
			h.Fatalf("assignment is %q, want %q", s.resp.Assignment, want)
		}
	}
}

func (h *harness) heartbeat(group string, r JoinResponse) error {
	return h.c.Heartbeat(h.ctx, HeartbeatRequest{Group: group, Member: r.Member, Generation: r.Generation})
}

// beatFor sends heartbeats of all members for a while; all must be welcome.
func (h *harness) beatFor(group string, told []JoinResponse, d time.Duration) {
	h.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(3 * time.Second) {
		for _, r := range told {
			h.is(h.heartbeat(group, r), nil)
		}
	}
}
