package peer

import (
	"fmt"
	"math"
	"time"

	"github.com/leat-stream/leat/agent/peer/peerpb"
	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/replica"
	"github.com/leat-stream/leat/metadata/state"
)

func decodeUUID(b []byte) (state.UUID, error) {
	if len(b) != len(state.UUID{}) {
		return state.UUID{}, fmt.Errorf("%w: an id of %d bytes", ErrInvalid, len(b))
	}
	return state.UUID(b), nil
}

func encodeStatus(s replica.Status) *peerpb.StatusReply {
	return &peerpb.StatusReply{Session: s.Session[:], Applied: s.Applied, Term: s.Term, HeardNanos: int64(s.Heard)}
}

func decodeStatus(m *peerpb.StatusReply) (replica.Status, error) {
	session, err := decodeUUID(m.GetSession())
	if err != nil {
		return replica.Status{}, err
	}
	return replica.Status{
		Session: session, Applied: m.GetApplied(), Term: m.GetTerm(), Heard: time.Duration(m.GetHeardNanos()),
	}, nil
}

func encodeBeat(b replica.Beat) *peerpb.Beat {
	m := &peerpb.Beat{Alive: make([]*peerpb.Alive, len(b.Alive))}
	for i, a := range b.Alive {
		m.Alive[i] = &peerpb.Alive{Session: a.Session[:], AgeNanos: int64(a.Age)}
	}
	return m
}

func decodeBeat(m *peerpb.Beat) (replica.Beat, error) {
	b := replica.Beat{Alive: make([]replica.Alive, len(m.GetAlive()))}
	for i, a := range m.GetAlive() {
		session, err := decodeUUID(a.GetSession())
		if err != nil {
			return replica.Beat{}, err
		}
		b.Alive[i] = replica.Alive{Session: session, Age: time.Duration(a.GetAgeNanos())}
	}
	return b, nil
}

func encodePush(p replica.Push) *peerpb.Push {
	m := &peerpb.Push{Applied: p.Applied, Term: p.Term, HeardNanos: int64(p.Heard), Missing: p.Missing}
	if e := p.Entry; e != nil {
		m.Entry = &peerpb.Entry{Index: e.Index, Kind: uint32(e.Kind), Term: e.Term[:], Body: e.Body}
	}
	return m
}

func decodePush(m *peerpb.Push) (replica.Push, error) {
	p := replica.Push{Applied: m.GetApplied(), Term: m.GetTerm(), Heard: time.Duration(m.GetHeardNanos()), Missing: m.GetMissing()}
	e := m.GetEntry()
	if e == nil {
		return p, nil
	}
	term, err := decodeUUID(e.GetTerm())
	switch {
	case err != nil:
		return p, err
	case e.GetKind() > math.MaxUint8 || len(e.GetBody()) > journal.MaxBody:
		return p, fmt.Errorf("%w: entry %d of kind %d with %d bytes", ErrInvalid, e.GetIndex(), e.GetKind(), len(e.GetBody()))
	}
	p.Entry = &journal.Entry{Index: e.GetIndex(), Kind: journal.Kind(e.GetKind()), Term: journal.TermID(term), Body: e.GetBody()}
	return p, nil
}
