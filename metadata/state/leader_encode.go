package state

import "fmt"

// leaderFormat is the first byte of an encoded LeaderInfo.
const leaderFormat = 1

func (l LeaderInfo) encode(w *writer) {
	w.uuid(1, l.Session)
	w.string(2, l.Agent)
	w.string(3, l.Address)
	w.int(4, l.Time)
}

func (l *LeaderInfo) decodeField(r *reader) {
	switch r.field {
	case 1:
		l.Session = r.uuid()
	case 2:
		l.Agent = r.string()
	case 3:
		l.Address = r.string()
	case 4:
		l.Time = r.int()
	default:
		r.skip()
	}
}

// EncodeLeader is the body of a fence entry: one byte of format, then a message.
func EncodeLeader(l LeaderInfo) []byte {
	w := writer{b: []byte{leaderFormat}}
	l.encode(&w)
	return w.b
}

// DecodeLeader reads the body of the fence entry at index. Fields that it does not know are skipped: a fence may be written by
// a newer version before the level is raised, and says nothing that the state depends on but who leads.
// ErrCorrupt, ErrLevel.
func DecodeLeader(index uint64, body []byte) (Entry, error) {
	e := Entry{Index: index, Fence: true}
	if len(body) == 0 {
		return e, fmt.Errorf("fence %d: %w: empty body", index, ErrCorrupt)
	}
	if body[0] != leaderFormat {
		return e, fmt.Errorf("fence %d: %w: format %d", index, ErrLevel, body[0])
	}
	r := reader{b: body[1:]}
	for r.next() {
		e.Leader.decodeField(&r)
	}
	if r.err != nil {
		return e, fmt.Errorf("fence %d: %w", index, r.err)
	}
	return e, nil
}
