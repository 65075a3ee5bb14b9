package state

// session is a record of the sessions table: a process that may issue commands, or one that is closed but still owns objects
// which extents refer to.
type session struct {
	Session
	lanes [laneCount]lane
	hash  uint64 // of the embedded Session
	gen   uint32
}

// lane is how far one stream of commands has come. The numbers ≤ settled are forgotten, the outcomes of settled+1 … decided
// are in outcomes, in order. outcomes is append-only and cut at the front, like a partition's extents.
type lane struct {
	settled  uint64
	outcomes []outcome // at most MaxUnsettled
	hash     uint64    // of settled and decided
}

type outcome struct {
	result Result
	hash   uint64
}

func (l *lane) decided() uint64 { return l.settled + uint64(len(l.outcomes)) }

func (s *session) key() UUID     { return s.ID }
func (s *session) stamp() uint32 { return s.gen }
func (s *session) clone(gen uint32) *session {
	c := *s
	c.gen = gen
	return &c
}

func (s *session) encode(w *writer, _ *dictionary) {
	s.encodeInfo(w)
	for i := range s.lanes {
		l := &s.lanes[i]
		w.message(10, func(w *writer) {
			w.uint(1, l.settled)
			for i := range l.outcomes {
				w.message(2, l.outcomes[i].result.encode)
			}
		})
	}
	s.encodeReach(w)
}

func (s *session) encodeInfo(w *writer) {
	w.uuid(1, s.ID)
	w.int(2, int64(s.NodeID))
	w.string(3, s.Agent)
	w.string(4, s.Address)
	w.string(5, s.Zone)
	w.uint(6, s.Opened)
	w.int(7, s.Time)
	w.uint(8, uint64(s.Level))
	w.bool(9, s.Closed)
}

// encodeReach is the fields that lie behind the lanes.
func (s *session) encodeReach(w *writer) {
	w.string(11, s.Peer)
	encodeListeners(w, 12, s.Listeners)
	w.bool(13, s.Leaving)
	w.bool(14, s.Aside)
}

func decodeSession(r *reader, _ []UUID) *session {
	s := &session{}
	lanes := 0
	for r.next() {
		switch r.field {
		case 1:
			s.ID = r.uuid()
		case 2:
			s.NodeID = r.int32()
		case 3:
			s.Agent = r.string()
		case 4:
			s.Address = r.string()
		case 5:
			s.Zone = r.string()
		case 6:
			s.Opened = r.uint()
		case 7:
			s.Time = r.int()
		case 8:
			s.Level = uint32(r.uintUpTo(1<<32 - 1))
		case 9:
			s.Closed = r.bool()
		case 10:
			if lanes == laneCount {
				r.corrupt("number of lanes")
				break
			}
			decodeLane(r, &s.lanes[lanes])
			lanes++
		case 11:
			s.Peer = r.string()
		case 12:
			s.Listeners = append(s.Listeners, decodeListener(r))
		case 13:
			s.Leaving = r.bool()
		case 14:
			s.Aside = r.bool()
		default:
			r.skip()
		}
	}
	if s.ID.IsZero() || lanes != laneCount {
		r.corrupt("session")
	}
	return s
}

func decodeLane(r *reader, l *lane) {
	r.message(func(r *reader) {
		switch r.field {
		case 1:
			l.settled = r.uint()
		case 2:
			if len(l.outcomes) == MaxUnsettled || l.settled > 1<<63 {
				r.corrupt("number of outcomes")
				break
			}
			l.outcomes = append(l.outcomes, outcome{result: decodeResult(r)})
		default:
			r.skip()
		}
	})
}

// ended is a record of the table of ended sessions: those that the sessions table has forgotten. They are kept for ever,
// 16 bytes each, for two reasons: an id can never be opened again, so no late command of it can be taken for a new one; and
// an object of it that lands late is known to be garbage, which an object of an owner never heard of is not.
type ended UUID

func (e ended) key() UUID                       { return UUID(e) }
func (e ended) stamp() uint32                   { return 0 }
func (e ended) clone(uint32) ended              { return e }
func (e ended) encode(w *writer, _ *dictionary) { w.uuid(1, UUID(e)) }

func decodeEnded(r *reader, _ []UUID) (e ended) {
	for r.next() {
		switch r.field {
		case 1:
			e = ended(r.uuid())
		default:
			r.skip()
		}
	}
	return e
}

// sessions is the tables of sessions and of ended sessions.
type sessions struct {
	trie  trie[UUID, *session]
	ended trie[UUID, ended]
	sum   uint64
}

func uuidHash(id UUID) uint64 { return newHash(0).uuid(id).sum() }

func (ss *sessions) get(id UUID) (*session, bool) { return ss.trie.get(uuidHash(id), id) }

func (ss *sessions) edit(id UUID, index uint64) (*session, bool) {
	return ss.trie.edit(uuidHash(id), id, index)
}

func (ss *sessions) hasEnded(id UUID) bool {
	_, ok := ss.ended.get(uuidHash(id), id)
	return ok
}

func (ss *sessions) nameOpen(agent string) bool {
	for s := range ss.trie.all() {
		if s.Agent == agent && !s.Closed {
			return true
		}
	}
	return false
}

// insert adds a session with whatever is in its lanes.
func (ss *sessions) insert(s *session, index uint64) {
	s.gen = ss.trie.gen
	ss.trie.put(uuidHash(s.ID), s, index)
	ss.rehash(s)
	for i := range s.lanes {
		l := &s.lanes[i]
		ss.rehashLane(s, i)
		for j := range l.outcomes {
			l.outcomes[j].hash = outcomeHash(s, i, l.settled+uint64(j)+1, &l.outcomes[j].result)
			ss.sum += l.outcomes[j].hash
		}
	}
}

// end moves a closed session to the ended ones.
func (ss *sessions) end(s *session, index uint64) {
	ss.sum -= s.hash
	for i := range s.lanes {
		ss.sum -= s.lanes[i].hash
	}
	ss.trie.delete(uuidHash(s.ID), s.ID, index)
	ss.insertEnded(ended(s.ID), index)
}

func (ss *sessions) insertEnded(e ended, index uint64) {
	ss.ended.put(uuidHash(UUID(e)), e, index)
	ss.sum += newHash(hashEnded).uuid(UUID(e)).sum()
}

func (ss *sessions) rehash(s *session) {
	ss.sum -= s.hash
	s.hash = hashEncoded(hashSession, func(w *writer) {
		s.encodeInfo(w)
		s.encodeReach(w)
	})
	ss.sum += s.hash
}

func (ss *sessions) rehashLane(s *session, i int) {
	l := &s.lanes[i]
	ss.sum -= l.hash
	l.hash = newHash(hashLane).uuid(s.ID).word(uint64(i)).word(l.settled).word(l.decided()).sum()
	ss.sum += l.hash
}

// settle forgets the outcomes of the numbers up to settled.
func (ss *sessions) settle(s *session, i int, settled uint64) {
	l := &s.lanes[i]
	settled = min(settled, l.decided())
	if settled <= l.settled {
		return
	}
	n := settled - l.settled
	for j := range l.outcomes[:n] {
		ss.sum -= l.outcomes[j].hash
	}
	l.outcomes = l.outcomes[n:]
	if len(l.outcomes) == 0 {
		l.outcomes = nil
	}
	l.settled = settled
	ss.rehashLane(s, i)
}

// record decides the next number of a lane.
func (ss *sessions) record(s *session, i int, r Result) {
	l := &s.lanes[i]
	o := outcome{result: r}
	o.hash = outcomeHash(s, i, l.decided()+1, &o.result)
	ss.sum += o.hash
	l.outcomes = append(l.outcomes, o)
	ss.rehashLane(s, i)
}

func outcomeHash(s *session, i int, number uint64, r *Result) uint64 {
	h := newHash(hashOutcome).uuid(s.ID).word(uint64(i)).word(number).
		word(uint64(r.Code)).word(r.Index).word(uint64(r.Number)).uuid(r.Topic).word(uint64(len(r.Batches)))
	for j := range r.Batches {
		b := &r.Batches[j]
		w := uint64(b.Code) << 1
		if b.Duplicate {
			w |= 1
		}
		h = h.word(w).word(uint64(b.Base)).word(uint64(b.LogStart))
	}
	h = h.word(uint64(len(r.Partitions)))
	for _, c := range r.Partitions {
		h = h.word(uint64(c))
	}
	return h.sum()
}
