package fetch

import (
	"container/list"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/leat-stream/leat/metadata/state"
)

// The session epochs with a meaning of their own (KIP-227).
const (
	FirstEpoch = int32(0)  // begins a session
	FinalEpoch = int32(-1) // no session, and ends the one that is named
)

// The errors of sessions, each for a whole request.
var (
	ErrNoSession    = errors.New("fetch session id not found")
	ErrSessionEpoch = errors.New("invalid fetch session epoch")
	// ErrSessionTopicID: the session was made by names and the request is by ids, or the other way round (KIP-516).
	ErrSessionTopicID = errors.New("fetch session names its topics in another way")
)

// sessionRest is how long a session is safe from being evicted for a new one (Kafka: min.incremental.fetch.session.eviction.ms).
const sessionRest = 2 * time.Minute

// Key names a partition as its client does: by name up to Fetch version 12, by id from 13 on.
type Key struct {
	Name      string
	ID        state.UUID
	Partition int32
}

// Item is one partition of a fetch, or of a session.
type Item struct {
	Key
	Offset       int64
	MaxBytes     int32
	LeaderEpoch  int32 // that the client believes in; -1: none
	FetchedEpoch int32 // of the last record it has; -1: none
}

// Owner is whose a session is.
type Owner struct {
	Principal string
	Conn      uint64 // the connection, unique within this process
}

// Sessions keeps the fetch sessions of one agent. A session is valid only on the agent, for the principal and on the connection that it
// was made by (rule R12). Behind one address clients bring ids that other agents gave out; by chance one may be in use here, and on
// another connection it is nobody's. A client whose connection ended begins anew, as it does when a broker has forgotten it.
//
// Bound: limit sessions, and maxKept partitions in all of them; when all are in use within sessionRest, further fetches are
// answered without a session, which every client understands.
type Sessions struct {
	limit int
	most  int // partitions of all sessions: maxKept
	now   func() time.Time

	mu   sync.Mutex
	byID map[int32]*session
	used *list.List // of *session, the least recently used first
	kept int        // partitions of all sessions
}

// maxKept bounds the partitions that all sessions remember: some 200 bytes each.
const maxKept = 1_000_000

// session is what the client need not repeat. Guarded by Sessions.mu, but for busy: the one request that uses it.
type session struct {
	id    int32
	owner Owner
	byID  bool  // its topics are named by id
	epoch int32 // of the next request
	last  time.Time
	place *list.Element

	items map[Key]*list.Element
	order *list.List // of *kept, in the order in which they are served: those that answered data go to the end
}

type kept struct {
	Item
	watermark, logStart int64 // as last answered
	listed              bool  // was ever answered
}

// NewSessions makes an empty register of at most limit sessions.
func NewSessions(limit int, now func() time.Time) *Sessions {
	return &Sessions{limit: limit, most: maxKept, now: now, byID: map[int32]*session{}, used: list.New()}
}

// Turn is one fetch request within, or without, a session.
type Turn struct {
	Items []Item // what to fetch, in order

	sessions *Sessions
	session  *session // nil: none
	full     bool     // every partition is answered
	begin    bool     // a session may be begun with this answer
	byID     bool
	owner    Owner
}

// Begin resolves what a request wants. Items are what it names, by id or by name, forgotten what it takes out of its session.
func (s *Sessions) Begin(owner Owner, byID bool, id, epoch int32, items []Item, forgotten []Key) (*Turn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	items = unique(items)
	if epoch == FinalEpoch || epoch == FirstEpoch {
		if old := s.byID[id]; old != nil && old.owner == owner {
			s.drop(old)
		}
		return &Turn{Items: items, sessions: s, full: true, begin: epoch == FirstEpoch && len(items) > 0, byID: byID, owner: owner}, nil
	}
	ses := s.byID[id]
	if ses == nil || ses.owner != owner {
		return nil, ErrNoSession
	}
	if ses.epoch != epoch {
		return nil, ErrSessionEpoch
	}
	if ses.byID != byID {
		return nil, ErrSessionTopicID
	}
	if ses.epoch++; ses.epoch < 0 {
		ses.epoch = 1
	}
	ses.last = s.now()
	s.used.MoveToBack(ses.place)
	before := ses.order.Len()
	ses.update(items, forgotten)
	s.kept += ses.order.Len() - before
	if s.kept > s.most {
		s.drop(ses) // the client begins anew, with everything it wants
		return nil, ErrNoSession
	}
	t := &Turn{sessions: s, session: ses, owner: owner, Items: make([]Item, 0, ses.order.Len())}
	for e := ses.order.Front(); e != nil; e = e.Next() {
		t.Items = append(t.Items, e.Value.(*kept).Item)
	}
	if len(t.Items) == 0 {
		s.drop(ses)
		t.session = nil
	}
	return t, nil
}

// unique leaves the last mention of a partition, at the place of its first.
func unique(items []Item) []Item {
	at := make(map[Key]int, len(items))
	out := items[:0:0]
	for _, it := range items {
		if i, ok := at[it.Key]; ok {
			out[i] = it
			continue
		}
		at[it.Key] = len(out)
		out = append(out, it)
	}
	return out
}

func (s *session) update(items []Item, forgotten []Key) {
	for _, k := range forgotten {
		if e := s.items[k]; e != nil {
			s.order.Remove(e)
			delete(s.items, k)
		}
	}
	for _, it := range items {
		if e := s.items[it.Key]; e != nil {
			e.Value.(*kept).Item = it
			continue
		}
		s.items[it.Key] = s.order.PushBack(&kept{Item: it})
	}
}

// Finish takes the answers, one for each of Items, and tells the session id to answer (0: none) and which partitions
// must be listed in the answer: within a session only those with records, an error, or offsets that changed.
func (t *Turn) Finish(got []Got) (id int32, listed []bool) {
	listed = make([]bool, len(got))
	t.sessions.mu.Lock()
	defer t.sessions.mu.Unlock()
	if t.full {
		for i := range listed {
			listed[i] = true
		}
		if !t.begin {
			return 0, listed
		}
		return t.sessions.create(t, got), listed
	}
	if t.session == nil {
		return 0, listed
	}
	for i, it := range t.Items {
		e := t.session.items[it.Key]
		if e == nil {
			continue
		}
		k := e.Value.(*kept)
		g := &got[i]
		listed[i] = !k.listed || g.Err != nil || len(g.Records) > 0 || g.Watermark != k.watermark || g.LogStart != k.logStart
		k.watermark, k.logStart, k.listed = g.Watermark, g.LogStart, g.Err == nil
		if len(g.Records) > 0 {
			t.session.order.MoveToBack(e)
		}
	}
	return t.session.id, listed
}

// create begins a session of the partitions of a full fetch, if there is room.
func (s *Sessions) create(t *Turn, got []Got) int32 {
	if s.kept+len(t.Items) > s.most {
		return 0
	}
	if len(s.byID) >= s.limit {
		oldest := s.used.Front()
		if oldest == nil || s.now().Sub(oldest.Value.(*session).last) < sessionRest {
			return 0
		}
		s.drop(oldest.Value.(*session))
	}
	ses := &session{owner: t.owner, byID: t.byID, epoch: 1, last: s.now(), items: map[Key]*list.Element{}, order: list.New()}
	for ses.id == 0 || s.byID[ses.id] != nil {
		ses.id = 1 + rand.Int32N(1<<31-2)
	}
	ses.update(t.Items, nil)
	s.kept += ses.order.Len()
	for i, it := range t.Items {
		k := ses.items[it.Key].Value.(*kept)
		k.watermark, k.logStart, k.listed = got[i].Watermark, got[i].LogStart, got[i].Err == nil
	}
	s.byID[ses.id] = ses
	ses.place = s.used.PushBack(ses)
	return ses.id
}

func (s *Sessions) drop(ses *session) {
	delete(s.byID, ses.id)
	s.kept -= ses.order.Len()
	s.used.Remove(ses.place)
}

// Len is the number of sessions.
func (s *Sessions) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byID)
}
