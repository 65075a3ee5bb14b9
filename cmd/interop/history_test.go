//go:build interop

package interop

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// event is one line of Apache Kafka's verifiable tools, of crowd.py, or made by a kgo client: what one application was told.
type event struct {
	Name      string
	Value     string
	Partition int32
	Offset    int64
	Success   bool
	Error     string
	Exception string
	Message   string
	Member    string // of crowd.py's group
	// Partitions of partitions_assigned and partitions_revoked: objects of the Java tool, numbers of crowd.py
	Partitions []any
}

// place is where a record is in its topic.
type place struct {
	partition int32
	offset    int64
}

// history is what the applications of one client library were told of one topic: a producer, whose values count up from 0, and a
// group.
type history struct {
	topic, group string
	logs         map[string]*tail // of the programs by member, which the test's goroutine starts

	mu       sync.Mutex
	acked    map[place]string
	read     map[place]int
	owned    map[string]int // partitions by member
	moves    []string       // assignments and revocations
	failures []string
	acks     map[int32][]time.Time // by partition
	reads    map[int32][]time.Time
}

func newHistory(topic string) *history {
	return &history{
		topic: topic, group: topic + "-group", logs: map[string]*tail{}, acked: map[place]string{}, read: map[place]int{}, owned: map[string]int{},
		acks: map[int32][]time.Time{}, reads: map[int32][]time.Time{},
	}
}

// rebootstrapping is what a Java client prints when it forgets all metadata, since none of its brokers is in reach (KIP-899).
const rebootstrapping = "Rebootstrapping with"

// rebootstraps is how often that happened to members of the group.
func (h *history) rebootstraps() (n int) {
	for member, log := range h.logs {
		if member != "producer" {
			n += log.counted()
		}
	}
	return n
}

// clock is how times are printed, as agents do in their logs.
const clock = "15:04:05.000Z"

// note takes an event of a member of the group, or of the producer.
func (h *history) note(member string, e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	fail := func(format string, args ...any) {
		h.failures = append(h.failures, now.UTC().Format(clock)+" "+fmt.Sprintf(format, args...))
	}
	at := place{e.Partition, e.Offset}
	switch e.Name {
	case "producer_send_success":
		if old, twice := h.acked[at]; twice {
			fail("%v was acknowledged for %q and for %q", at, old, e.Value)
		}
		h.acked[at] = e.Value
		h.acks[at.partition] = append(h.acks[at.partition], now)
	case "producer_send_error":
		fail("producer: %q: %s %s", e.Value, e.Exception, e.Message)
	case "record_data":
		h.read[at]++
		h.reads[at.partition] = append(h.reads[at.partition], now)
	case "partitions_assigned", "partitions_revoked":
		if len(e.Partitions) == 0 {
			return // of a cooperative rebalance that changes nothing
		}
		h.moves = append(h.moves, fmt.Sprintf("%s %s: %s %v", now.UTC().Format(clock), member, e.Name, e.Partitions))
		n := len(e.Partitions)
		if e.Name == "partitions_revoked" {
			n = -n
		}
		h.owned[member] += n
	case "offsets_committed":
		if !e.Success {
			fail("%s: commit: %s", member, e.Error)
		}
	case "error":
		fail("%s: %s", member, e.Message)
	}
}

// shared tells whether each of n members has as many of the partitions as any other.
func (h *history) shared(n, partitions int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	equal := 0
	for _, owned := range h.owned {
		if owned == partitions/n {
			equal++
		}
	}
	return equal == n
}

func (h *history) counts() (acked, read int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.acked), len(h.read)
}

// still fails the test if partitions were given to a member or taken from one after the first n times.
func (h *history) still(t *testing.T, n int) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, move := range h.moves[n:] {
		t.Errorf("%s: the group was disturbed: %s", h.group, move)
	}
}

// failed answers what applications were told that they should not have been.
func (h *history) failed() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.failures)
}

// caughtUp tells whether the group has read everything that was acknowledged.
func (h *history) caughtUp() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for at := range h.acked {
		if h.read[at] == 0 {
			return false
		}
	}
	return len(h.acked) > 0
}

// pauseBound is how long a partition may be silent without counting as disturbed.
const pauseBound = time.Second

// pauses looks at what happened between from and to in any partition: the longest that one was silent, and when the last silence of
// more than pauseBound ended, as time since from; 0 if there was none.
func (h *history) pauses(partitions map[int32][]time.Time, from, to time.Time) (longest, settled time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, times := range partitions {
		last := from
		for _, at := range append(slices.Clone(times), to) {
			if at.Before(from) || at.After(to) {
				continue
			}
			silent := at.Sub(last)
			longest = max(longest, silent)
			if silent > pauseBound {
				settled = max(settled, at.Sub(from))
			}
			last = at
		}
	}
	return longest, settled
}

// check compares with the log: it holds what was acknowledged at its place and nothing else, no value twice, in the order in which
// they were produced; and no application was told of an error.
func (h *history) check(t *testing.T, addr string) {
	t.Helper()
	for _, f := range h.failed() {
		t.Errorf("%s: %s", h.topic, f)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	log := readAll(t, addr, h.topic)
	seen, last := map[string]place{}, map[int32]int{}
	for _, r := range log {
		at, value := place{r.Partition, r.Offset}, string(r.Value)
		if h.acked[at] != value {
			t.Errorf("%s: %v holds %q, acknowledged was %q", h.topic, at, value, h.acked[at])
		}
		if old, twice := seen[value]; twice {
			t.Errorf("%s: %q is at %v and at %v", h.topic, value, old, at)
		}
		seen[value] = at
		n, err := strconv.Atoi(value)
		if before, any := last[r.Partition]; err != nil || any && n <= before {
			t.Errorf("%s: %q follows %d at %v", h.topic, value, before, at)
		}
		last[r.Partition] = n
	}
	if len(log) != len(h.acked) {
		t.Errorf("%s: the log has %d records, %d were acknowledged", h.topic, len(log), len(h.acked))
	}
	for at := range h.read {
		if _, ok := h.acked[at]; !ok {
			t.Errorf("%s: %v was read and never acknowledged", h.topic, at)
		}
	}
	t.Logf("%s: %d records, each once and in order; %d reads by the group", h.topic, len(log), len(h.read))
}

// once fails the test unless the group has read every record at most once.
func (h *history) once(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	again := 0
	for _, n := range h.read {
		again += n - 1
	}
	if again > 0 {
		t.Errorf("%s: the group read %d records again", h.topic, again)
	}
}

// readAll reads a topic from its beginning to its end, without a group.
func readAll(t *testing.T, addr, topic string) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(addr, ",")...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	left := 0
	ends.Each(func(o kadm.ListedOffset) { left += int(o.Offset) })
	var all []*kgo.Record
	for left > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%s: %d records are missing: %v", topic, left, err)
		}
		all = append(all, fetches.Records()...)
		left -= fetches.NumRecords()
	}
	return all
}
