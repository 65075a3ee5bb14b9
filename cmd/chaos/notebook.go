package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/leat-stream/leat/cmd/chaos/history"
)

// notebook is what happened, in order and with times since the beginning: faults, errors that reached applications, what
// agents did by themselves. It also measures how long nothing was acknowledged. It is safe for concurrent use.
type notebook struct {
	began time.Time

	mu      sync.Mutex
	out     io.Writer
	faults  map[string]int           // by kind
	errors  map[string]int           // that reached an application, by text
	last    time.Time                // of the last acknowledgement
	longest time.Duration            // without one
	recent  map[string]bool          // kinds of faults since the last acknowledgement, and those that last
	lasting map[string]int           // kinds of faults that last
	worst   map[string]time.Duration // longest time without an acknowledgement that began or ended under a fault, by kind
	violent int                      // violent faults that last
	peace   time.Time                // when the last violent fault ended
	spans   []span                   // one for each fault, in the order of their beginnings
	waits   map[string]time.Duration // longest that a record waited for its acknowledgement while a fault lasted, by kind
	slowest time.Duration            // longest that any record waited
}

// span is when a fault lasted.
type span struct {
	kind       string
	begin, end time.Time // end is zero until then
}

func newNotebook(out io.Writer) *notebook {
	now := time.Now()
	return &notebook{
		began: now, out: out, last: now, faults: map[string]int{}, errors: map[string]int{}, recent: map[string]bool{},
		lasting: map[string]int{}, worst: map[string]time.Duration{}, waits: map[string]time.Duration{},
	}
}

// since is the time since the beginning.
func (n *notebook) since() time.Duration { return time.Since(n.began) }

// note writes one line.
func (n *notebook) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.write(format, args...)
}

// write is note with mu held.
func (n *notebook) write(format string, args ...any) {
	now := time.Now()
	_, _ = fmt.Fprintf(n.out, "%s %8.3f %s\n", now.UTC().Format("15:04:05.000"), now.Sub(n.began).Seconds(), fmt.Sprintf(format, args...))
}

// starts says that acknowledgements may be expected from now on.
func (n *notebook) starts() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = time.Now()
}

// ack says that a record was acknowledged just now that was sent then to p, and answers when that is since the beginning.
func (n *notebook) ack(p history.Place, sent time.Time) time.Duration {
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stalled(now)
	n.waited(p, sent, now)
	n.last = now
	clear(n.recent)
	for kind := range n.lasting {
		n.recent[kind] = true
	}
	return now.Sub(n.began)
}

// stalled counts the time since the last acknowledgement. mu is held.
func (n *notebook) stalled(now time.Time) {
	gap := now.Sub(n.last)
	n.longest = max(n.longest, gap)
	for kind := range n.recent {
		n.worst[kind] = max(n.worst[kind], gap)
	}
	if gap > 2*time.Second {
		n.write("nothing was acknowledged for %.1f s; faults: %s", gap.Seconds(), strings.Join(slices.Sorted(maps.Keys(n.recent)), ", "))
	}
}

// waited counts the time from sent to now, in which a record was not acknowledged. mu is held.
func (n *notebook) waited(p history.Place, sent, now time.Time) {
	wait := now.Sub(sent)
	n.slowest = max(n.slowest, wait)
	var longer []string // kinds that no record waited for as long under before
	for _, s := range n.spans {
		if wait > n.waits[s.kind] && s.begin.Before(now) && (s.end.IsZero() || sent.Before(s.end)) {
			n.waits[s.kind] = wait
			longer = append(longer, s.kind)
		}
	}
	if wait > 5*time.Second && longer != nil {
		n.write("a record to %s waited for %.1f s; faults: %s", p, wait.Seconds(), strings.Join(longer, ", "))
	}
}

// begins says that a fault begins; whoever says so calls ends.
func (n *notebook) begins(f fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.write("fault: %s", f)
	n.faults[f.kind.name]++
	n.lasting[f.kind.name]++
	n.recent[f.kind.name] = true
	n.spans = append(n.spans, span{kind: f.kind.name, begin: time.Now()})
	if f.kind.violent {
		n.violent++
	}
}

func (n *notebook) ends(f fault, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.write("over: %s; %v", f, err)
	for i := range n.spans { // of a kind there is one at a time at most
		if s := &n.spans[i]; s.kind == f.kind.name && s.end.IsZero() {
			s.end = time.Now()
		}
	}
	if n.lasting[f.kind.name]--; n.lasting[f.kind.name] == 0 {
		delete(n.lasting, f.kind.name)
	}
	if f.kind.violent {
		n.violent--
		n.peace = time.Now()
	}
}

// aftermath is how long after a violent fault errors are put down to it: clients give up a request after 120 s in Kafka.
const aftermath = 120 * time.Second

// seen notes an error that reached an application, and tells whether a violent fault can be the reason.
func (n *notebook) seen(who string, err error) (excused bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	text := fmt.Sprintf("%s: %v", who, err)
	n.errors[text]++
	excused = n.violent > 0 || (!n.peace.IsZero() && time.Since(n.peace) < aftermath)
	n.write("an application sees: %s", text)
	return excused
}
