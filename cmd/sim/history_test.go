package sim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// partition is one of a topic that lasts.
type partition struct {
	topic  string
	number int32
}

func (p partition) String() string { return fmt.Sprintf("%s/%d", p.topic, p.number) }

// history is what clients did and saw. mu guards everything.
type history struct {
	mu      sync.Mutex
	moment  int64 // counts beginnings and ends of ops
	ops     []*op
	records map[partition]map[int64]string // by offset, as anybody first saw them
	known   map[partition]map[string]int64 // by agent: the end of what it acknowledged

	virtual, recovery time.Duration
	checkedOps        int
}

// op is what a client asked for: in, and what it was answered: out, if it was. Without an answer it may have happened, or may yet.
type op struct {
	h      *history
	client string
	key    string // what it is about
	in     any
	out    any // nil: unknown
	called int64
	ended  int64 // 0: unknown

	where  partition // of an append:
	values []string
	base   int64  // -1: unknown
	stream string // of those that must stay in order; "": none
}

// What may be asked for, besides offsets and records, and answered.
type (
	verb   string
	answer bool
)

const (
	create verb   = "create"
	remove verb   = "delete"
	look   verb   = "look"
	yes    answer = true
	no     answer = false
)

func newHistory() *history {
	return &history{records: map[partition]map[int64]string{}, known: map[partition]map[string]int64{}}
}

func (h *history) add(o *op) *op {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.moment++
	o.h, o.called, o.base = h, h.moment, -1
	h.ops = append(h.ops, o)
	return o
}

func (h *history) begin(client, key string, in any) *op {
	return h.add(&op{client: client, key: key, in: in})
}

func (h *history) append(client string, where partition, values []string) *op {
	return h.add(&op{client: client, key: "log " + where.String(), where: where, values: values})
}

func (o *op) end(out any) {
	o.h.mu.Lock()
	defer o.h.mu.Unlock()
	o.h.moment++
	o.out, o.ended = out, o.h.moment
}

// drop forgets an op that certainly did, and saw, nothing.
func (o *op) drop() {
	o.h.mu.Lock()
	defer o.h.mu.Unlock()
	o.key = ""
}

// acked is end for an append.
func (o *op) acked(base int64, by string) {
	o.end(base)
	o.h.mu.Lock()
	defer o.h.mu.Unlock()
	o.base = base
	known := o.h.known[o.where]
	if known == nil {
		known = map[string]int64{}
		o.h.known[o.where] = known
	}
	known[by] = max(known[by], base+int64(len(o.values)))
}

// ackedAt is the end of what each agent has acknowledged by now.
func (h *history) ackedAt(where partition) map[string]int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.known[where])
}

// seen notes a record that somebody was answered: what is at an offset never changes.
func (w *world) seen(by string, where partition, offset int64, value string) {
	h := w.history
	h.mu.Lock()
	records := h.records[where]
	if records == nil {
		records = map[int64]string{}
		h.records[where] = records
	}
	before, ok := records[offset]
	if !ok {
		records[offset] = value
	}
	h.mu.Unlock()
	if ok && before != value {
		w.violate("%s reads %q at %v offset %d, where %q was seen before", by, value, where, offset, before)
	}
}

// open lists some ops that have no end.
func (h *history) open() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []string
	for _, o := range h.ops {
		if o.ended == 0 && o.key != "" && o.values != nil && !strings.HasPrefix(o.values[0], "w/") && len(list) < 5 {
			list = append(list, fmt.Sprintf("%s %s %v", o.client, o.key, o.values))
		}
	}
	return strings.Join(list, "; ")
}

// check judges the whole history, after the end.
func (h *history) check(w *world) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checkRecords(w)
	keys := map[string][]porcupine.Operation{}
	clients := map[string]int{}
	type sight struct {
		key string
		out any
	}
	sights := map[sight]bool{}
	for _, o := range h.ops {
		if o.in == look {
			sights[sight{o.key, o.out}] = true
		}
	}
	for _, o := range h.ops {
		if o.key == "" {
			continue
		}
		if _, ok := clients[o.client]; !ok {
			clients[o.client] = len(clients)
		}
		end := o.ended
		if end == 0 {
			end = 1 << 60 // it may happen after everything else
			if o.in == look {
				continue
			}
			if o.values != nil && o.base < 0 {
				continue // it is not in the log
			}
			if offset, ok := o.in.(int64); ok && !sights[sight{o.key, offset}] {
				continue // nobody saw it: if it happened at all, that made no difference
			}
		}
		keys[o.key] = append(keys[o.key], porcupine.Operation{ClientId: clients[o.client], Input: o, Output: o, Call: o.called, Return: end})
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		model := offsetModel
		switch {
		case strings.HasPrefix(key, "log "):
			model = logModel
		case strings.HasPrefix(key, "topic "):
			model = topicModel
		case strings.HasPrefix(key, "offsets "+crew):
			model = forwardModel
		}
		h.checkedOps += len(keys[key])
		switch porcupine.CheckOperationsTimeout(model, keys[key], 20*time.Second) {
		case porcupine.Illegal:
			w.violate("not linearizable: %s\n%s", key, h.describe(keys[key]))
		case porcupine.Unknown:
			w.count("porcupine gave up")
		}
	}
}

func (h *history) describe(ops []porcupine.Operation) string {
	var b strings.Builder
	for _, p := range ops {
		o := p.Input.(*op)
		if o.values != nil {
			fmt.Fprintf(&b, "    %6d–%-6d %-10s append %v → %d\n", o.called, o.ended, o.client, o.values, o.base)
			continue
		}
		fmt.Fprintf(&b, "    %6d–%-6d %-10s %v → %v\n", o.called, o.ended, o.client, o.in, o.out)
	}
	return b.String()
}

// checkRecords compares the logs, as they are at the end, with what was acknowledged. It also finds out where those
// appends are that nobody acknowledged.
func (h *history) checkRecords(w *world) {
	places := map[partition]map[string]int64{}
	for where, records := range h.records {
		at := map[string]int64{}
		for offset := range int64(len(records)) {
			value, ok := records[offset]
			if !ok {
				w.violate("%v has a hole at offset %d of %d", where, offset, len(records))
				return
			}
			if before, twice := at[value]; twice {
				w.violate("%v has %q twice, at offsets %d and %d", where, value, before, offset)
			}
			at[value] = offset
		}
		places[where] = at
	}
	newest := map[string]int64{} // by stream: the offset of the last one
	for _, o := range h.ops {
		if o.values == nil {
			continue
		}
		first, stored := places[o.where][o.values[0]]
		if o.ended != 0 && (!stored || o.base >= 0 && o.base != first) {
			w.violate("%s: acknowledged %v at %v offset %d, and it is not there (found: %v, %d)", o.client, o.values, o.where, o.base, stored, first)
			continue
		}
		if !stored {
			continue
		}
		o.base = first
		for i, v := range o.values {
			if at, ok := places[o.where][v]; !ok || at != first+int64(i) {
				w.violate("%s: %v at %v is torn: %q is at %d, not %d", o.client, o.values, o.where, v, at, first+int64(i))
			}
		}
		stream := cmp.Or(o.stream, strings.SplitN(o.values[0], "/", 2)[0]) + " " + o.where.String()
		if last, ok := newest[stream]; ok && last > first {
			w.violate("%s: %v at %v offset %d came to be before what was sent earlier, at %d", o.client, o.values, o.where, first, last)
		}
		newest[stream] = first
	}
}

// logModel is a log's end: appends go there, and looks see it.
var logModel = porcupine.Model{
	Init: func() any { return int64(0) },
	Step: func(state, input, _ any) (bool, any) {
		o, end := input.(*op), state.(int64)
		if o.values != nil {
			return o.base == end, end + int64(len(o.values))
		}
		return o.out == end, end
	},
}

// offsetModel is an offset that anybody may commit; forwardModel one that never goes back.
var (
	offsetModel  = register(false)
	forwardModel = register(true)
)

func register(forward bool) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return int64(-1) },
		Step: func(state, input, _ any) (bool, any) {
			o, at := input.(*op), state.(int64)
			if offset, ok := o.in.(int64); ok {
				if forward && o.out == nil && offset < at {
					return true, at // it never happened, or before the others
				}
				return !forward || offset >= at, offset
			}
			return o.out == at, at
		},
	}
}

// topicModel is whether a topic is there.
var topicModel = porcupine.Model{
	Init: func() any { return false },
	Step: func(state, input, _ any) (bool, any) {
		o, there := input.(*op), state.(bool)
		switch {
		case o.in == create && o.out == yes:
			return !there, true
		case o.in == create && o.out == no:
			return there, there
		case o.in == create:
			return true, true
		case o.out == yes:
			return there, false
		case o.out == no:
			return !there, there
		}
		return true, false
	},
}
