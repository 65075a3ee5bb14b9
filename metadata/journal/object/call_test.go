package object

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/bits"
	"slices"
	"sync"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/objectstore"
)

// The exploration runs the real driver without ever having it running. What a call of the driver does next depends on what it
// began with and on the answers that it got, and on nothing else. So, to go on after one more answer, the call is begun
// anew and gets its answers from a script; where the script ends, the requests that it waits with are noted, and the
// call is sent home with an error. What came out is kept: two worlds in which a call began with the same and got the same answers
// share it. TestCallsRepeat shows that nothing else comes in.

// start is what a call begins with.
type start struct {
	proc    uint8
	what    act
	low     bool   // doTrim: the boundary stays below the two newest entries
	applied uint64 // of the process
	fence   ref    // of the newest term that this process won; 0: none
	last    uint64 // of that term
	over    bool
	alive   bool   // the process believes that it leads
	led     uint8  // fences composed before
	sent    uint8  // commands composed before
	fences  uint16 // bit i: entry i, which it has applied, is a fence
}

// answer is what became of one request.
type answer struct {
	to     request
	result result
	body   ref // GET: what was there; 0: 404
}

type result byte

const (
	done    result = iota
	refused        // the condition did not hold
	failed         // somewhere between process and bucket
	ended          // the context of the call has ended
)

// outcome is how far a call has come.
type outcome struct {
	pending []request // what it waits for; none: it has returned
	yielded []ref     // entries that Read has yielded so far
	entry   ref       // what Lead or Append says is committed
	image   uint64    // doReload: the snapshot that was loaded
	err     error
	given   bool // the context ended
	again   bool // a term appended once more after it had ended

	fence ref // of the process afterwards
	last  uint64
	over  bool
	alive bool
}

// node is a call with the answers so far.
type node struct {
	start
	parent uint32
	answer answer // the last one
	outcome
	next map[answer]uint32
}

// calls is all that the driver was ever seen to do, and the bodies that it sent.
type calls struct {
	off    string // the rule that is switched off
	window int    // GETs that Read may have under way
	run    int    // entries that it validates at once
	roots  map[start]uint32
	nodes  []node // node 0 stands for no call
	bodies []string
	refs   map[string]ref
	kinds  []journal.Entry // decoded, if it is one
}

// ref is a body that was seen before; 0 is none.
type ref uint16

func newCalls(off string, window, run int) *calls {
	return &calls{
		off: off, window: max(window, 1), run: cmp.Or(run, runEntries), roots: make(map[start]uint32), nodes: make([]node, 1),
		bodies: []string{""}, refs: map[string]ref{"": 0}, kinds: make([]journal.Entry, 1),
	}
}

func (c *calls) ref(body []byte) ref {
	r, ok := c.refs[string(body)]
	if !ok {
		r = ref(len(c.bodies))
		if int(r) != len(c.bodies) {
			panic("too many different bodies")
		}
		c.refs[string(body)] = r
		c.bodies = append(c.bodies, string(body))
		e := journal.Entry{}
		if len(body) >= journal.EntryOverhead && len(body) != journal.HeadSize {
			for index := range uint64(maxSlots + 2) {
				if d, err := journal.DecodeEntry(body, modelCluster, index); err == nil {
					e = d
				}
			}
		}
		c.kinds = append(c.kinds, e)
	}
	return r
}

func (c *calls) entry(e journal.Entry) ref {
	b, err := journal.EncodeEntry(modelCluster, e)
	if err != nil {
		panic(err)
	}
	return c.ref(b)
}

func (c *calls) head(h journal.Head) ref { return c.ref(journal.EncodeHead(h)) }

// begin answers the call that begins with s.
func (c *calls) begin(s start) uint32 {
	n, ok := c.roots[s]
	if !ok {
		n = c.add(node{start: s, outcome: c.play(s, nil)})
		c.roots[s] = n
	}
	return n
}

// proceed answers what becomes of call n when it gets one more answer.
func (c *calls) proceed(n uint32, a answer) uint32 {
	next, ok := c.nodes[n].next[a]
	if !ok {
		s := c.nodes[n].start
		next = c.add(node{start: s, parent: n, answer: a, outcome: c.play(s, append(c.script(n), a))})
		if c.nodes[n].next == nil {
			c.nodes[n].next = make(map[answer]uint32)
		}
		c.nodes[n].next[a] = next
	}
	return next
}

func (c *calls) add(n node) uint32 {
	c.nodes = append(c.nodes, n)
	return uint32(len(c.nodes) - 1)
}

// script answers all that call n has heard.
func (c *calls) script(n uint32) (all []answer) {
	for ; c.nodes[n].parent != 0; n = c.nodes[n].parent {
		all = append(all, c.nodes[n].answer)
	}
	slices.Reverse(all)
	return all
}

// modelCluster is the cluster of all worlds.
var modelCluster = [16]byte{1}

var (
	errFault = errors.New("the answer is lost")
	errHome  = fmt.Errorf("the script ends here: %w", objectstore.ErrDenied) // which the driver does not ask again for
)

// replay is one run of the driver through a script. It is the bucket that the driver sees. mu guards the fields below it.
type replay struct {
	start
	calls  *calls
	cancel context.CancelCauseFunc

	mu     sync.Mutex
	script []answer
	out    outcome
}

// play runs a call through a script.
func (c *calls) play(s start, script []answer) outcome {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	r := &replay{start: s, calls: c, cancel: cancel, script: slices.Clone(script)}
	keys, _ := objectstore.NewKeys("c")
	j := &Journal{
		store: r, keys: keys, cluster: modelCluster, prefetch: c.window, run: c.run, newTerm: r.termID, tips: make(map[uint64]*tipAt),
		pause: r.pause,
	}
	r.out.alive = s.alive
	if c.off == "J4 no fence" && s.alive {
		s.last = s.applied
	}
	if s.fence != 0 {
		j.term = &term{journal: j, fence: c.kinds[s.fence], last: s.last, over: s.over}
	}
	r.do(ctx, j)
	if t := j.term; t != nil {
		r.out.fence, r.out.last, r.out.over = c.entry(t.fence), t.last, t.over
	}
	r.out.given = ctx.Err() != nil
	if len(r.script) > 0 {
		panic(fmt.Sprintf("%s did not ask for all that it was answered: %d are left", s.what, len(r.script)))
	}
	slices.SortFunc(r.out.pending, func(a, b request) int { return cmp.Or(cmp.Compare(a.slot, b.slot), cmp.Compare(a.kind, b.kind)) })
	return r.out
}

// do makes the call.
func (r *replay) do(ctx context.Context, j *Journal) {
	switch r.what {
	case doRead:
		for e, err := range j.Read(ctx, r.applied+1) {
			if r.out.err = err; err == nil {
				r.out.yielded = append(r.out.yielded, r.calls.entry(e))
			}
		}
		if !errors.Is(r.out.err, errHome) {
			r.out.pending = nil // GETs beyond the end, which nobody waits for
		}
	case doLead:
		var t journal.Term
		if t, r.out.err = j.Lead(ctx, r.applied, nil); r.out.err == nil {
			r.out.entry, r.out.alive = r.calls.entry(t.Fence()), true
		}
	case doAppend:
		var e journal.Entry
		if e, r.out.err = j.term.Append(ctx, r.body()); r.out.err == nil {
			r.out.entry = r.calls.entry(e)
		}
		r.out.alive = r.out.err == nil
		if r.out.err != nil && len(r.out.pending) == 0 && r.calls.off == "" {
			_, err := j.term.Append(ctx, []byte("again"))
			r.out.again = !errors.Is(err, journal.ErrFenced)
		}
		if r.out.err != nil && !errors.Is(r.out.err, journal.ErrFenced) {
			switch r.calls.off {
			case "R1": // Tip will take it for a leader at rest
				j.term.over = false
			case "J1": // the slot will get another entry
				j.term.over, r.out.alive = false, true
			}
		}
	case doTip:
		r.out.err = j.Tip(ctx, r.applied)
	case doTrim:
		r.trim(ctx, j)
	case doReload:
		r.reload(ctx, j)
	}
}

// body is what an append carries: who, and the number of the command.
func (s start) body() []byte { return []byte{'a' + s.proc, '1' + s.sent} }

func (r *replay) termID() journal.TermID {
	if r.calls.off == "J4 fresh id" {
		return journal.TermID{r.proc + 1, 1}
	}
	return journal.TermID{r.proc + 1, r.led + 1}
}

// keep answers as applied history does, which knows nothing beyond what was applied.
func (r *replay) keep(index uint64) bool {
	return index < 16 && r.fences>>index&1 != 0 && r.calls.off != "J4 keep fences"
}

// trim snapshots all that was applied, and trims it away: at once, which is more than the replica ever does, or all but the
// two newest entries.
func (r *replay) trim(ctx context.Context, j *Journal) {
	image := request{kind: reqPutImage, slot: uint8(r.applied), body: r.calls.ref(r.manifest())}
	t := journal.Trim{Snapshot: r.applied, Manifest: [16]byte(r.manifest()), Boundary: r.applied + 1, From: 1, Keep: r.keep}
	if r.low {
		t.Boundary -= 2
	}
	if r.calls.off == "J5 deletes first" {
		var keys []string
		for index := t.From; index < t.Boundary; index++ {
			if !t.Keep(index) {
				keys = append(keys, j.keys.Journal(index))
			}
		}
		if len(keys) > 0 && r.Delete(ctx, keys...) == errHome {
			return
		}
	}
	if r.calls.off != "J5 image last" {
		if _, err := r.ask(image); err != nil {
			r.out.err = err
			return
		}
	}
	if r.out.err = j.Trim(ctx, t); r.out.err == nil && r.calls.off == "J5 image last" {
		_, r.out.err = r.ask(image)
	}
}

// manifest names the image of what this process has applied.
func (s start) manifest() []byte { return append(make([]byte, 14), s.proc+1, uint8(s.applied)) }

// reload loads the snapshot that head names.
func (r *replay) reload(ctx context.Context, j *Journal) {
	var h journal.Head
	if h, r.out.err = j.Head(ctx); r.out.err != nil {
		return
	}
	if h.Snapshot > r.applied {
		a, err := r.ask(request{kind: reqGetImage, slot: uint8(h.Snapshot), body: r.calls.ref(h.Manifest[:])})
		switch {
		case err != nil:
			r.out.err = err
		case a.body == 0:
			r.out.err = errNoImage
		default:
			r.out.image = h.Snapshot
		}
	}
	if r.calls.off == "J4 no fence" && r.out.err == nil {
		last := max(h.Snapshot, r.applied)
		j.term = &term{journal: j, fence: journal.Entry{Kind: journal.KindFence, Term: r.termID()}, last: last}
		r.out.alive = true
	}
}

var errNoImage = errors.New("head names a snapshot that cannot be read")

// ask answers q from the script. Where that has no answer q is noted, and errHome sends the call home.
func (r *replay) ask(q request) (answer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, a := range r.script {
		if a.to != q {
			continue
		}
		r.script = slices.Delete(r.script, i, i+1)
		switch a.result {
		case refused:
			return a, objectstore.ErrLost
		case failed:
			return a, errFault
		case ended:
			r.cancel(nil)
			return a, context.Canceled
		}
		return a, nil
	}
	if len(r.out.pending) == 0 || r.beside(q) && r.beside(r.out.pending[0]) {
		r.out.pending = append(r.out.pending, q)
	}
	return answer{}, errHome
}

// beside tells whether q goes side by side with other requests: GETs do, and in a Read the waits after those that failed. Whatever else
// is asked after errHome is not what the driver will do.
func (r *replay) beside(q request) bool {
	return q.kind == reqGet || q.kind == reqPause && r.what == doRead
}

// pause says why it ends by the context's cause, which is what the driver tells.
func (r *replay) pause(context.Context, int) error {
	_, err := r.ask(request{kind: reqPause})
	if errors.Is(err, errHome) {
		r.cancel(errHome)
	}
	return err
}

func (r *replay) slot(key string) uint8 {
	keys, _ := objectstore.NewKeys("c")
	if key == keys.Head() {
		return 0
	}
	slot, err := keys.ParseJournal(key)
	if err != nil || slot > maxSlots {
		panic(fmt.Sprint("unexpected key ", key))
	}
	return uint8(slot)
}

func (r *replay) Get(_ context.Context, key string, _ objectstore.Range) (objectstore.Object, error) {
	q := request{kind: reqGet, slot: r.slot(key)}
	a, err := r.ask(q)
	if err != nil {
		return objectstore.Object{}, err
	}
	body := r.calls.bodies[a.body]
	if q.slot == 0 {
		body = r.seenHead(body)
	}
	if body == "" {
		return objectstore.Object{}, objectstore.ErrNotFound
	}
	return objectstore.Object{
		Reader: io.NopCloser(bytes.NewReader([]byte(body))), Size: int64(len(body)), Version: objectstore.Version(body),
	}, nil
}

// seenHead is head, or what a process that breaks a rule takes for it.
func (r *replay) seenHead(head string) string {
	unchecked := map[string]act{"J2": doRead, "J2 tip": doTip, "J2 append": doAppend, "J3": doLead}
	switch call, ok := unchecked[r.calls.off]; {
	case head == "" && r.calls.off == "J6", ok && call == r.what:
		return string(journal.EncodeHead(journal.Head{Driver: journal.DriverObject, Cluster: modelCluster}))
	}
	return head
}

func (r *replay) Put(_ context.Context, key string, body objectstore.Body, c objectstore.Condition) (objectstore.Version, error) {
	match, replace := c.Match()
	_, err := r.ask(request{
		kind: reqPut, slot: r.slot(key), body: r.calls.ref(body.Bytes()), match: r.calls.ref([]byte(match)), always: !replace && !c.Absent(),
	})
	return objectstore.Version(body.Bytes()), err
}

func (r *replay) Delete(_ context.Context, keys ...string) error {
	q := request{kind: reqDelete}
	for _, key := range keys {
		q.slots |= 1 << r.slot(key)
	}
	if q.slot = uint8(bits.TrailingZeros16(q.slots)); q.slot == 0 {
		panic("head is deleted")
	}
	_, err := r.ask(q)
	return err
}

func (r *replay) List(context.Context, string, string) iter.Seq2[objectstore.Info, error] {
	panic("the journal never lists")
}
