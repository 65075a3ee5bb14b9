package fetch

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/leat-stream/leat/metadata/state"
)

// clientOf drives the register as a client does; answers come from got by topic name.
type clientOf struct {
	t         *testing.T
	sessions  *Sessions
	principal string
	conn      uint64
	byID      bool
	got       map[string]Got
}

func items(names string) (list []Item) {
	for _, name := range strings.Fields(names) {
		list = append(list, Item{Key: Key{Name: name}, Offset: 5, MaxBytes: 10})
	}
	return list
}

func keys(names string) (list []Key) {
	for _, it := range items(names) {
		list = append(list, it.Key)
	}
	return list
}

// ask sends one request. It answers the session's id and what was fetched and what was listed, or the error.
func (c *clientOf) ask(id, epoch int32, named []Item, forgotten []Key) (answered int32, fetched, listed string, err error) {
	turn, err := c.sessions.Begin(Owner{c.principal, c.conn}, c.byID, id, epoch, named, forgotten)
	if err != nil {
		return 0, "", "", err
	}
	var gots []Got
	var names, shown []string
	for _, it := range turn.Items {
		names = append(names, it.Name)
		gots = append(gots, c.got[it.Name])
	}
	answered, list := turn.Finish(gots)
	for i, it := range turn.Items {
		if list[i] {
			shown = append(shown, it.Name)
		}
	}
	return answered, strings.Join(names, " "), strings.Join(shown, " "), nil
}

// must is ask with what is expected: "fetched | listed", or an error.
func (c *clientOf) must(id, epoch int32, named, forgotten, expected string, session bool) int32 {
	c.t.Helper()
	answered, fetched, listed, err := c.ask(id, epoch, items(named), keys(forgotten))
	got := fetched + " | " + listed
	if err != nil {
		got = err.Error()
	}
	if got != expected || (answered != 0) != session {
		c.t.Errorf("id %d epoch %d %q -%q: %q, session %d; want %q, %v", id, epoch, named, forgotten, got, answered, expected, session)
	}
	return answered
}

var some = Got{Records: Records{{1}}, Watermark: 9}

func newClient(t *testing.T, limit int) (*clientOf, *time.Time) {
	now := time.Unix(1_700_000_000, 0)
	return &clientOf{t: t, sessions: NewSessions(limit, func() time.Time { return now }), principal: "User:a", got: map[string]Got{}}, &now
}

// TestSessions is KIP-227 as Apache Kafka 4.3 was recorded to do it.
func TestSessions(t *testing.T) {
	c, _ := newClient(t, 10)
	c.must(0, FinalEpoch, "a b", "", "a b | a b", false) // sessionless
	c.must(77, FinalEpoch, "a", "", "a | a", false)
	c.must(0, 1, "a", "", ErrNoSession.Error(), false)
	c.must(77, 1, "a", "", ErrNoSession.Error(), false)

	id := c.must(77, FirstEpoch, "a b c", "", "a b c | a b c", true) // an unknown id begins one all the same
	c.must(id, 1, "", "", "a b c | ", true)                          // nothing changed
	c.must(id, 1, "", "", ErrSessionEpoch.Error(), false)            // a repeat
	c.must(id, 3, "", "", ErrSessionEpoch.Error(), false)            // a skip
	c.byID = true
	c.must(id, 2, "", "", ErrSessionTopicID.Error(), false)
	c.byID = false

	c.got["b"] = some
	c.must(id, 2, "", "", "a b c | b", true) // none of the refused ones moved the epoch
	c.must(id, 3, "", "", "a c b | b", true) // what answered data goes to the end
	c.got["b"] = Got{Watermark: 9}
	c.must(id, 4, "", "", "a c b | ", true)
	c.got["a"] = Got{Watermark: 1}
	c.must(id, 5, "", "", "a c b | a", true) // the watermark moved
	c.got["a"] = Got{Watermark: 1, LogStart: 1}
	c.must(id, 6, "", "", "a c b | a", true)
	c.got["c"] = Got{Err: ErrOutOfRange, Watermark: -1}
	c.must(id, 7, "", "", "a c b | c", true)
	c.must(id, 8, "", "", "a c b | c", true) // an error each time
	c.got["c"] = Got{}
	c.must(id, 9, "", "", "a c b | c", true) // and once more when it is mended
	c.must(id, 10, "", "", "a c b | ", true)
	c.must(id, 11, "d", "a", "c b d | d", true)
	c.must(id, 12, "", "nowhere", "c b d | ", true)
	c.must(id, 13, "c", "c", "b d c | c", true) // forgotten, then named again
	c.must(id, 14, "", "b c d", " | ", false)   // nothing is left: the session is over
	c.must(id, 15, "", "", ErrNoSession.Error(), false)

	id = c.must(0, FirstEpoch, "a", "", "a | a", true)
	c.must(id, FinalEpoch, "a b", "", "a b | a b", false) // closes it and is served
	c.must(id, 1, "", "", ErrNoSession.Error(), false)
	id = c.must(0, FirstEpoch, "a", "", "a | a", true)
	next := c.must(id, FirstEpoch, "b", "", "b | b", true) // closes it and begins another
	c.must(id, 1, "", "", ErrNoSession.Error(), false)
	c.must(next, FinalEpoch, "", "", " | ", false)
	if n := c.sessions.Len(); n != 0 || c.sessions.kept != 0 {
		t.Errorf("%d sessions with %d partitions are left", n, c.sessions.kept)
	}
}

func TestASessionKeepsWhatTheClientDoesNotRepeat(t *testing.T) {
	c, _ := newClient(t, 10)
	id := c.must(0, FirstEpoch, "a b", "", "a b | a b", true)
	changed := Item{Key: Key{Name: "a"}, Offset: 50, MaxBytes: 100, LeaderEpoch: 1, FetchedEpoch: 2}
	turn, err := c.sessions.Begin(Owner{c.principal, c.conn}, false, id, 1, []Item{{Key: Key{Name: "a"}, Offset: 1}, changed}, nil)
	if err != nil || len(turn.Items) != 2 || turn.Items[0] != changed || turn.Items[1].Offset != 5 {
		t.Errorf("%+v, %v", turn.Items, err)
	}
}

func TestTheSamePartitionTwiceIsOne(t *testing.T) {
	c, _ := newClient(t, 10)
	c.must(0, FinalEpoch, "a b a", "", "a b | a b", false)
	id := c.must(0, FirstEpoch, "a b a", "", "a b | a b", true)
	c.must(id, 1, "b b", "", "a b | ", true)
}

// TestASessionIsItsPrincipalsAlone is rule R12.
func TestASessionIsItsPrincipalsAlone(t *testing.T) {
	c, _ := newClient(t, 10)
	id := c.must(0, FirstEpoch, "a", "", "a | a", true)
	c.principal = "User:b"
	c.must(id, 1, "", "", ErrNoSession.Error(), false)
	c.must(id, FinalEpoch, "b", "", "b | b", false) // closes nothing
	c.must(id, FirstEpoch, "b", "", "b | b", true)
	c.principal = "User:a"
	c.must(id, 1, "", "", "a | ", true)
}

// TestASessionOfAnotherAgentOrConnectionIsUnknown is rule R12 too: the id may even be one that is in use here.
func TestASessionOfAnotherAgentOrConnectionIsUnknown(t *testing.T) {
	here, _ := newClient(t, 10)
	there, _ := newClient(t, 10)
	id := there.must(0, FirstEpoch, "a", "", "a | a", true)
	here.must(id, 1, "", "", ErrNoSession.Error(), false)
	here.conn = 1
	mine := here.must(0, FirstEpoch, "b", "", "b | b", true)
	here.conn = 2
	here.must(mine, 1, "", "", ErrNoSession.Error(), false)
	here.must(mine, FinalEpoch, "a", "", "a | a", false) // closes nothing
	here.conn = 1
	here.must(mine, 1, "", "", "b | ", true)
}

func TestIDsOfSessionsAreDrawnAnewByEveryAgent(t *testing.T) {
	seen := map[int32]bool{}
	for range 100 {
		c, _ := newClient(t, 10)
		seen[c.must(0, FirstEpoch, "a", "", "a | a", true)] = true
	}
	if len(seen) < 99 {
		t.Errorf("%d different first ids of 100 agents", len(seen))
	}
}

func TestEpochsGoRound(t *testing.T) {
	c, _ := newClient(t, 10)
	id := c.must(0, FirstEpoch, "a", "", "a | a", true)
	c.sessions.byID[id].epoch = 1<<31 - 1
	c.must(id, 1<<31-1, "", "", "a | ", true)
	c.must(id, 1, "", "", "a | ", true) // 0 and -1 have a meaning of their own
}

func TestTheLeastRecentlyUsedSessionMakesRoomAfterAWhile(t *testing.T) {
	c, now := newClient(t, 2)
	one := c.must(0, FirstEpoch, "a", "", "a | a", true)
	*now = now.Add(time.Minute)
	two := c.must(0, FirstEpoch, "b", "", "b | b", true)
	c.must(0, FirstEpoch, "c", "", "c | c", false) // full: served without a session
	*now = now.Add(time.Minute)
	c.must(one, 1, "", "", "a | ", true) // used again, so that the other is the oldest
	c.must(0, FirstEpoch, "c", "", "c | c", false)
	*now = now.Add(time.Minute)
	c.must(0, FirstEpoch, "c", "", "c | c", true)
	c.must(two, 1, "", "", ErrNoSession.Error(), false)
	c.must(one, 2, "", "", "a | ", true)
	none := NewSessions(0, time.Now)
	turn, err := none.Begin(Owner{}, false, 0, FirstEpoch, items("a"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if id, _ := turn.Finish([]Got{{}}); id != 0 {
		t.Error("a session where none is allowed")
	}
}

func TestKeptPartitionsAreBounded(t *testing.T) {
	c, _ := newClient(t, 10)
	c.sessions.most = 100
	many := make([]Item, 100)
	for i := range many {
		many[i].Key = Key{ID: state.UUID{byte(i)}}
	}
	id, _, _, err := c.ask(0, FirstEpoch, many, nil)
	if err != nil || id == 0 {
		t.Fatal(id, err)
	}
	c.must(0, FirstEpoch, "a", "", "a | a", false)
	if _, _, _, err := c.ask(id, 1, items("a"), nil); !errors.Is(err, ErrNoSession) {
		t.Errorf("one more: %v", err)
	}
	if c.sessions.kept != 0 {
		t.Errorf("%d partitions are left", c.sessions.kept)
	}
	c.must(0, FirstEpoch, "a", "", "a | a", true)
}

func TestAnAnswerAfterItsSessionWasDroppedHarmsNobody(t *testing.T) {
	c, _ := newClient(t, 10)
	id := c.must(0, FirstEpoch, "a b", "", "a b | a b", true)
	slow, err := c.sessions.Begin(Owner{c.principal, c.conn}, false, id, 1, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.must(id, FinalEpoch, "", "", " | ", false)
	slow.Finish([]Got{some, some})
	if c.sessions.Len() != 0 || c.sessions.kept != 0 {
		t.Error("it came back")
	}
	id = c.must(0, FirstEpoch, "a b", "", "a b | a b", true)
	if slow, err = c.sessions.Begin(Owner{c.principal, c.conn}, false, id, 1, nil, nil); err != nil {
		t.Fatal(err)
	}
	c.must(id, 2, "", "a", "b | ", true)
	if _, listed := slow.Finish([]Got{some, some}); fmt.Sprint(listed) != "[false true]" {
		t.Errorf("a partition that was forgotten meanwhile: %v", listed)
	}
}
