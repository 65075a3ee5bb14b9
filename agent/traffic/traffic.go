// Package traffic counts records and bytes by topic, in and out. It must never cost a record a look-up: whoever calls it sums up
// first, by object or by partition of a fetch.
package traffic

import (
	"sync"
	"sync/atomic"

	"github.com/leat-stream/leat/metadata/state"
)

// MaxTopics is how many topics one agent counts apart. What it serves of further topics is counted together, as Other, until
// topics that it counts are deleted.
const MaxTopics = 1000

// Other is the label of topics that are not counted apart. No topic can have that name.
const Other = "(other)"

// Topics counts by topic. Its methods are safe for concurrent use.
//
// mu guards the map; the sums in it are their own guards.
type Topics struct {
	name func(state.UUID) (string, bool)

	mu    sync.RWMutex
	by    map[state.UUID]*sums
	other sums
}

// sums is what is counted of one topic. It only grows.
type sums struct{ in, out flow }

type flow struct{ records, bytes atomic.Int64 }

func (f *flow) add(records, bytes int64) {
	f.records.Add(records)
	f.bytes.Add(bytes)
}

// New makes counters that are all 0. name answers what a topic is called, false if there is none of that id (any more).
func New(name func(state.UUID) (string, bool)) *Topics {
	return &Topics{name: name, by: map[state.UUID]*sums{}}
}

// Produced counts what was acknowledged; bytes as stored.
func (t *Topics) Produced(topic state.UUID, records, bytes int64) { t.of(topic).in.add(records, bytes) }

// Fetched counts what was answered; bytes as stored.
func (t *Topics) Fetched(topic state.UUID, records, bytes int64) { t.of(topic).out.add(records, bytes) }

func (t *Topics) of(topic state.UUID) *sums {
	t.mu.RLock()
	s := t.by[topic]
	full := len(t.by) >= MaxTopics
	t.mu.RUnlock()
	switch {
	case s != nil:
		return s
	case full:
		return &t.other
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if s = t.by[topic]; s == nil {
		if len(t.by) >= MaxTopics {
			return &t.other
		}
		s = &sums{}
		t.by[topic] = s
	}
	return s
}

// named is the sums of the topics that there are, by name. Those that were deleted are forgotten.
func (t *Topics) named() map[string]*sums {
	t.mu.RLock()
	ids := make([]state.UUID, 0, len(t.by))
	for id := range t.by {
		ids = append(ids, id)
	}
	t.mu.RUnlock()
	names := make(map[state.UUID]string, len(ids)) // asked for without the lock
	for _, id := range ids {
		if name, ok := t.name(id); ok {
			names[id] = name
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	all := map[string]*sums{Other: &t.other}
	for _, id := range ids {
		name, ok := names[id]
		if !ok {
			delete(t.by, id)
			continue
		}
		all[name] = t.by[id]
	}
	return all
}
