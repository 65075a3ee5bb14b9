package topics

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/leat-stream/leat/agent/topicconfig"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// world is a real state, and a local replica of it that may lag until something is committed through this agent.
type world struct {
	t            *testing.T
	truth, local *state.State
	missing      []state.Entry
	index        uint64
	lags         bool
	fresh        int // proofs asked for
	entries      int // committed through Do
	freshErr     error
	before       func() error // a Do; an error: nothing is applied
}

func newCatalog(t *testing.T) (*Catalog, *world) {
	w := &world{t: t, truth: state.New(), local: state.New()}
	c, err := New(Default(), w)
	if err != nil {
		t.Fatal(err)
	}
	return c, w
}

// elsewhere commits through another agent.
func (w *world) elsewhere(ops ...state.Op) []state.Result {
	w.t.Helper()
	w.index++
	e := state.Entry{Index: w.index}
	for _, op := range ops {
		e.Commands = append(e.Commands, state.Command{Op: op})
	}
	results, _, err := w.truth.Apply(e)
	if err != nil {
		w.t.Fatal(err)
	}
	w.missing = append(w.missing, e)
	if !w.lags {
		w.catchUp()
	}
	return results
}

func (w *world) catchUp() {
	for _, e := range w.missing {
		if _, _, err := w.local.Apply(e); err != nil {
			w.t.Fatal(err)
		}
	}
	w.missing = nil
}

func (w *world) Do(_ context.Context, ops ...state.Op) ([]state.Result, error) {
	if w.before != nil {
		if err := w.before(); err != nil {
			return nil, err
		}
	}
	w.entries++
	results := w.elsewhere(ops...)
	w.catchUp()
	return results, nil
}

func (w *world) Ask(_ context.Context, f metadata.Freshness, read func(state.Reader)) error {
	if !f.IsFresh() {
		read(w.local.Reader())
		return nil
	}
	w.fresh++
	if w.freshErr == nil {
		read(w.truth.Reader())
	}
	return w.freshErr
}

func create(name string, partitions int32) state.CreateTopic {
	return state.CreateTopic{Topic: newID(), Name: name, Partitions: partitions, ReplicationFactor: 1}
}

// told is "kind: message" of an error, or "ok".
func told(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return fmt.Sprintf("%d: %s", e.Kind, e.Message)
	}
	if e, ok := errors.AsType[*topicconfig.Error](err); ok {
		return "config: " + e.Message
	}
	if err == nil {
		return "ok"
	}
	return err.Error()
}

func text(s string) *string { return &s }

const (
	invalidName = "4: Topic name is invalid: "
	characters  = " contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
)

// TestCreateInKafkasWords holds the recorded answers of Apache Kafka 4.3.
func TestCreateInKafkasWords(t *testing.T) {
	long := strings.Repeat("a", 250)
	plain := func(name string) Spec { return Spec{Name: name, Partitions: 1, ReplicationFactor: 1} }
	with := func(change func(*Spec)) Spec {
		s := plain("new")
		change(&s)
		return s
	}
	assigned := func(a ...Assignment) Spec {
		return Spec{Name: "new", Partitions: -1, ReplicationFactor: -1, Assignments: a}
	}
	tests := []struct {
		spec Spec
		told string
	}{
		{plain("a/b"), invalidName + "'a/b'" + characters},
		{plain("a b"), invalidName + "'a b'" + characters},
		{plain("ä"), invalidName + "'ä'" + characters},
		{plain("."), invalidName + "'.' is not allowed"},
		{plain(".."), invalidName + "'..' is not allowed"},
		{plain(""), invalidName + "the empty string is not allowed"},
		{plain(long), invalidName + "the length of '" + long + "' is longer than the max allowed length 249"},
		{plain(long[1:]), "ok"},
		{plain("taken"), "3: Topic 'taken' already exists."},
		{plain("coll.ide"), "4: Topic 'coll.ide' collides with existing topic: coll_ide"},
		{plain("coll-ide"), "ok"},
		{plain("__cluster_metadata"), "9: Creation of internal topic __cluster_metadata is prohibited."},
		{with(func(s *Spec) { s.Partitions = 0 }), "5: Number of partitions was set to an invalid non-positive value."},
		{with(func(s *Spec) { s.Partitions = -2 }), "5: Number of partitions was set to an invalid non-positive value."},
		{with(func(s *Spec) { s.Partitions = 10_001 }), "10: Excessively large number of partitions per request."},
		{with(func(s *Spec) { s.ReplicationFactor = 0 }), "6: Replication factor must be larger than 0, or -1 to use the default value."},
		{with(func(s *Spec) { s.ReplicationFactor = -2 }), "6: Replication factor must be larger than 0, or -1 to use the default value."},
		{with(func(s *Spec) { s.ReplicationFactor = 3 }), "ok"},
		{with(func(s *Spec) { s.Partitions, s.ReplicationFactor = -1, -1 }), "ok"},
		{with(func(s *Spec) { s.Assignments, s.ReplicationFactor = []Assignment{{0, []int32{1}}}, 1 }),
			"9: A manual partition assignment was specified, but replication factor was not set to -1."},
		{with(func(s *Spec) { s.Assignments, s.ReplicationFactor = []Assignment{{0, []int32{1}}}, -1 }),
			"9: A manual partition assignment was specified, but numPartitions was not set to -1."},
		{assigned(Assignment{0, []int32{1, 2, 1}}), "7: The manual partition assignment includes the broker 1 more than once."},
		{assigned(Assignment{0, nil}), "7: The manual partition assignment includes an empty replica list."},
		{assigned(Assignment{0, []int32{1}}, Assignment{2, []int32{1}}), "7: partitions should be a consecutive 0-based integer sequence"},
		{assigned(Assignment{0, []int32{1}}, Assignment{0, []int32{1}}), "7: Found multiple manual partition assignments for partition 0"},
		{assigned(Assignment{0, []int32{1}}, Assignment{1, []int32{1, 2}}), "7: The manual partition assignment includes a partition with " +
			"2 replica(s), but this is not consistent with previous partitions, which have 1 replica(s)."},
		{assigned(Assignment{1, []int32{9}}, Assignment{0, []int32{1}}), "ok"},
		{with(func(s *Spec) { s.Configs = []Setting{{"no.such", text("1")}} }), "config: Unknown topic config name: no.such"},
		{with(func(s *Spec) { s.Configs = []Setting{{"retention.ms", text("soon")}} }),
			"config: Invalid value soon for configuration retention.ms: Not a number of type LONG"},
		{with(func(s *Spec) { s.Configs = []Setting{{"retention.ms", nil}} }), "8: Null value not supported for topic configs: retention.ms"},
		{with(func(s *Spec) { s.Configs = []Setting{{"retention.ms", text("1")}, {"retention.ms", text("2")}} }), "ok"},
	}
	for _, tt := range tests {
		for _, validateOnly := range []bool{true, false} {
			c, w := newCatalog(t)
			w.elsewhere(create("taken", 1), create("coll_ide", 1))
			made := c.Create(t.Context(), []Spec{tt.spec}, validateOnly)[0]
			if got := told(made.Err); got != tt.told {
				t.Errorf("%+v: %s\nwant %s", tt.spec, got, tt.told)
			}
			_, there := w.truth.Reader().TopicByName(tt.spec.Name)
			if tt.spec.Name != "taken" && there != (tt.told == "ok" && !validateOnly) {
				t.Errorf("%+v: validate only %v, and it is there: %v", tt.spec, validateOnly, there)
			}
		}
	}
}

func TestWhatIsCreatedIsWhatWasAskedFor(t *testing.T) {
	c, w := newCatalog(t)
	c.cfg.Partitions, c.cfg.ReplicationFactor = 7, 2
	spec := Spec{Name: "t", Partitions: -1, ReplicationFactor: -1, Configs: []Setting{
		{"retention.ms", text("1")}, {"cleanup.policy", text(" compact ")}, {"retention.ms", text(" 2")},
	}}
	made := c.Create(t.Context(), []Spec{spec}, false)[0]
	stored, ok := w.truth.Reader().Topic(made.ID)
	if made.Err != nil || !ok || fmt.Sprint(stored.Configs) != "[{cleanup.policy compact} {retention.ms 2}]" || stored.Partitions != 7 || stored.ReplicationFactor != 2 {
		t.Errorf("%+v, %v", stored, made.Err)
	}
	if made.Partitions != 7 || made.ReplicationFactor != 2 || !made.Config.Compact || made.Config.RetentionMs != 2 {
		t.Errorf("answered %+v", made.Found)
	}
	assigned := c.Create(t.Context(), []Spec{{Name: "u", Partitions: -1, ReplicationFactor: -1, Assignments: []Assignment{{1, []int32{4, 5}}, {0, []int32{5, 4}}}}}, false)[0]
	if assigned.Err != nil || assigned.Partitions != 2 || assigned.ReplicationFactor != 2 {
		t.Errorf("%+v", assigned)
	}
}

// TestManyTopicsNeedFewEntries: an entry of the journal may be a request to the bucket.
func TestManyTopicsNeedFewEntries(t *testing.T) {
	c, w := newCatalog(t)
	var specs []Spec
	var refs []Ref
	for i := range 250 {
		specs = append(specs, Spec{Name: fmt.Sprint("t", i), Partitions: 1, ReplicationFactor: 1})
		refs = append(refs, Ref{Name: specs[i].Name})
	}
	specs[17].Name = "a/b"
	for i, made := range c.Create(t.Context(), specs, false) {
		if (made.Err != nil) != (i == 17) {
			t.Errorf("%d: %v", i, made.Err)
		}
	}
	if topics, _ := w.truth.Reader().TopicCount(); topics != 249 || w.entries != 3 || w.fresh != 0 {
		t.Errorf("%d topics in %d entries, %d proofs", topics, w.entries, w.fresh)
	}
	w.entries = 0
	for i, gone := range c.Delete(t.Context(), refs) {
		if (gone.Err != nil) != (i == 17) || i != 17 && gone.Name != refs[i].Name {
			t.Errorf("%d: %+v", i, gone)
		}
	}
	if topics, _ := w.truth.Reader().TopicCount(); topics != 0 || w.entries != 3 {
		t.Errorf("%d topics left after %d entries", topics, w.entries)
	}
}

func TestNamesCollideWithinARequestToo(t *testing.T) {
	c, _ := newCatalog(t)
	made := c.Create(t.Context(), []Spec{{Name: "a.b", Partitions: 1, ReplicationFactor: 1}, {Name: "a_b", Partitions: 1, ReplicationFactor: 1}}, false)
	if made[0].Err != nil || told(made[1].Err) != "4: Topic 'a_b' collides with existing topic: a.b" {
		t.Errorf("%v, %v", made[0].Err, made[1].Err)
	}
}

// TestOthersMayBeFirst has a race lost between the check and the command.
func TestOthersMayBeFirst(t *testing.T) {
	c, w := newCatalog(t)
	w.before = func() error {
		w.before = nil
		w.elsewhere(create("t", 1))
		return nil
	}
	if made := c.Create(t.Context(), []Spec{{Name: "t", Partitions: 1, ReplicationFactor: 1}}, false)[0]; told(made.Err) != "3: Topic 't' already exists." || made.Config != nil {
		t.Errorf("%+v", made)
	}
	found, err := c.FindOne(t.Context(), Ref{Name: "t"})
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []Ref{{Name: "t"}, {ID: found.ID}} {
		w.before = func() error {
			w.before = nil
			w.elsewhere(state.DeleteTopic{Topic: found.ID})
			return nil
		}
		expected := "1: This server does not host this topic-partition."
		if !ref.ID.IsZero() {
			expected = "2: This server does not host this topic ID."
		}
		if gone := c.Delete(t.Context(), []Ref{ref})[0]; told(gone.Err) != expected {
			t.Errorf("%+v", gone)
		}
		if results := w.elsewhere(state.CreateTopic{Topic: found.ID, Name: "t", Partitions: 1}); results[0].Code != state.CodeOK {
			t.Fatal(results)
		}
	}
}

func TestAnErrorOfTheMetadataIsEverybodysError(t *testing.T) {
	c, w := newCatalog(t)
	w.before = func() error { return metadata.ErrUnknown }
	specs := []Spec{{Name: "t", Partitions: 1, ReplicationFactor: 1}, {Name: "", Partitions: 1}, {Name: "u", Partitions: 1, ReplicationFactor: 1}}
	made := c.Create(t.Context(), specs, false)
	if !errors.Is(made[0].Err, metadata.ErrUnknown) || !strings.HasPrefix(told(made[1].Err), invalidName) || !errors.Is(made[2].Err, metadata.ErrUnknown) {
		t.Errorf("%+v", made)
	}
}

func TestAutoCreate(t *testing.T) {
	c, w := newCatalog(t)
	w.elsewhere(create("a_b", 1))
	errs := c.AutoCreate(t.Context(), []string{"x", "a.b", "y", "a/b"})
	if errs[0] != nil || told(errs[1]) != "4: Topic 'a.b' collides with existing topic: a_b" || errs[2] != nil || errs[3] == nil || w.entries != 1 {
		t.Errorf("%v in %d entries", errs, w.entries)
	}
	c.cfg.AutoCreate = false
	if errs := c.AutoCreate(t.Context(), []string{"z"}); told(errs[0]) != "1: This server does not host this topic-partition." || w.entries != 1 {
		t.Error(errs)
	}
}

// TestNoVerdictFromALaggingReplica is rule R7.
func TestNoVerdictFromALaggingReplica(t *testing.T) {
	c, w := newCatalog(t)
	old, extended, deleted := create("old", 1), create("extended", 1), create("deleted", 1)
	w.elsewhere(old, extended, deleted)
	w.lags = true
	created := create("created", 1)
	w.elsewhere(created, state.CreatePartitions{Topic: extended.Topic, Count: 5}, state.DeleteTopic{Topic: deleted.Topic})
	refs := []Ref{
		{Name: "old"}, {ID: old.Topic}, {Name: "created"}, {ID: created.Topic}, {Name: "extended", Partition: 4},
		{Name: "nowhere"}, {ID: state.UUID{9}}, {Name: "a/b"}, {Name: ""}, {Name: "old", Partition: 1}, {Name: "deleted", Partition: 1},
	}
	found, errs := c.Find(t.Context(), refs)
	const unknown, unknownID = "1: This server does not host this topic-partition.", "2: This server does not host this topic ID."
	expected := []string{"ok", "ok", "ok", "ok", "ok", unknown, unknownID, unknown, unknown, "ok", unknown}
	for i := range refs {
		if told(errs[i]) != expected[i] || (errs[i] == nil) != (found[i].Config != nil) {
			t.Errorf("%+v: %v, %+v", refs[i], errs[i], found[i])
		}
	}
	if w.fresh != 1 || found[4].Partitions != 5 || found[9].Partitions != 1 {
		t.Errorf("%d proofs, %d partitions", w.fresh, found[4].Partitions)
	}
	w.fresh = 0
	if _, errs := c.Find(t.Context(), []Ref{{Name: "old"}, {Name: "a/b"}}); w.fresh != 0 || errs[1] == nil {
		t.Errorf("%d proofs for what is certain", w.fresh)
	}
	w.freshErr = metadata.ErrUnavailable
	_, errs = c.Find(t.Context(), refs)
	for i, err := range errs {
		certain := i == 0 || i == 1 || i == 7 || i == 8
		if errors.Is(err, metadata.ErrUnavailable) == certain {
			t.Errorf("without proof, %+v: %v", refs[i], err)
		}
	}
	w.freshErr = nil
	again := Spec{Name: "deleted", Partitions: 1, ReplicationFactor: 1}
	if made := c.Create(t.Context(), []Spec{again}, false)[0]; made.Err != nil {
		t.Errorf("a name that is free again: %v", made.Err)
	}
	w.lags = true
	w.elsewhere(create("late", 1))
	if all, err := c.All(t.Context()); err != nil || len(all) != 5 || all[0].Name != "created" {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestConfigsAreResolvedAnewWhenTheyChange(t *testing.T) {
	c, w := newCatalog(t)
	w.elsewhere(create("t", 1))
	look := func() *topicconfig.Topic {
		found, err := c.FindOne(t.Context(), Ref{Name: "t"})
		if err != nil {
			t.Fatal(err)
		}
		return found.Config
	}
	first := look()
	if first != look() || first.Compact {
		t.Error("resolved again without a change")
	}
	if err := c.Alter(t.Context(), "t", []topicconfig.Change{{Name: "cleanup.policy", Op: topicconfig.Append, Value: text("compact")}}, false); err != nil {
		t.Fatal(err)
	}
	second := look()
	if !second.Compact || !second.Delete || first.Compact {
		t.Errorf("%+v", second)
	}
	if err := c.Alter(t.Context(), "t", []topicconfig.Change{{Name: "cleanup.policy", Op: topicconfig.Delete}}, false); err != nil || look().Compact {
		t.Errorf("after deletion: %v", err)
	}
}

func TestAlter(t *testing.T) {
	set := func(name, value string) []topicconfig.Change {
		return []topicconfig.Change{{Name: name, Op: topicconfig.Set, Value: &value}}
	}
	c, w := newCatalog(t)
	w.elsewhere(create("t", 1))
	for _, tt := range []struct {
		name    string
		changes []topicconfig.Change
		told    string
	}{
		{"t", set("retention.ms", "5"), "ok"},
		{"t", nil, "ok"},
		{"t", set("no.such", "5"), "config: Unknown topic config name: no.such"},
		{"nowhere", set("retention.ms", "5"), "1: The topic 'nowhere' does not exist."},
		{"a/b", set("retention.ms", "5"), invalidName + "'a/b'" + characters},
	} {
		if got := told(c.Alter(t.Context(), tt.name, tt.changes, false)); got != tt.told {
			t.Errorf("%s: %s", tt.name, got)
		}
	}
	w.entries = 0
	if err := c.Alter(t.Context(), "t", set("retention.ms", "5"), false); err != nil || w.entries != 0 {
		t.Errorf("what changes nothing is not committed: %v, %d entries", err, w.entries)
	}
	if err := c.Alter(t.Context(), "t", set("retention.ms", "6"), true); err != nil || w.entries != 0 {
		t.Errorf("only validated: %v, %d entries", err, w.entries)
	}
	conflicts := 2
	w.before = func() error {
		if conflicts--; conflicts >= 0 {
			topic, _ := w.truth.Reader().TopicByName("t")
			w.elsewhere(state.AlterConfigs{Type: state.ResourceTopic, Topic: topic.ID, Expect: w.index,
				Set: []state.Config{{Name: "segment.bytes", Value: fmt.Sprint(2_000_000 + conflicts)}}})
		}
		return nil
	}
	if err := c.Alter(t.Context(), "t", set("retention.ms", "7"), false); err != nil || w.entries != 3 {
		t.Errorf("%v in %d tries", err, w.entries)
	}
	found, _ := c.FindOne(t.Context(), Ref{Name: "t"})
	if fmt.Sprint(found.Configs) != "[{retention.ms 7} {segment.bytes 2000000}]" {
		t.Errorf("both changes must be there: %v", found.Configs)
	}
	conflicts, w.entries = 1<<20, 0
	if err := c.Alter(t.Context(), "t", set("retention.ms", "8"), false); !errors.Is(err, metadata.ErrNotApplied) || w.entries != alterTries {
		t.Errorf("%v after %d tries", err, w.entries)
	}
}

func TestExtend(t *testing.T) {
	c, w := newCatalog(t)
	w.elsewhere(create("t", 2))
	for _, tt := range []struct {
		name        string
		count       int32
		assignments [][]int32
		told        string
	}{
		{"t", 1, nil, "5: The topic t currently has 2 partition(s); 1 would not be an increase."},
		{"t", -1, nil, "5: The topic t currently has 2 partition(s); -1 would not be an increase."},
		{"t", 2, nil, "5: Topic already has 2 partition(s)."},
		{"nowhere", 2, nil, "1: This server does not host this topic-partition."},
		{"a/b", 2, nil, "1: This server does not host this topic-partition."},
		{"t", 4, [][]int32{{1}}, "7: Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified."},
		{"t", 3, [][]int32{{1, 1}}, "7: The manual partition assignment includes the broker 1 more than once."},
		{"t", 1<<31 - 1, nil, "10: Excessively large number of partitions per request."},
		{"t", 4, [][]int32{{1}, {2}}, "ok"},
	} {
		if got := told(c.Extend(t.Context(), tt.name, tt.count, tt.assignments, false)); got != tt.told {
			t.Errorf("%s to %d: %s", tt.name, tt.count, got)
		}
	}
	if err := c.Extend(t.Context(), "t", 5, nil, true); err != nil {
		t.Error(err)
	}
	topic, _ := w.truth.Reader().TopicByName("t")
	if topic.Partitions != 4 {
		t.Errorf("%d partitions", topic.Partitions)
	}
	w.before = func() error { // somebody else is first
		w.before = nil
		w.elsewhere(state.CreatePartitions{Topic: topic.ID, Count: 9})
		return nil
	}
	if got := told(c.Extend(t.Context(), "t", 6, nil, false)); got != "5: The topic t currently has 9 partition(s); 6 would not be an increase." {
		t.Error(got)
	}
}

// TestNamesCollideAcrossAgents: an agent that does not know yet what another one has just created is told by the metadata.
func TestNamesCollideAcrossAgents(t *testing.T) {
	c, w := newCatalog(t)
	w.lags = true
	w.elsewhere(state.CreateTopic{Topic: state.UUID{9}, Name: "a_b", Partitions: 1})
	made := c.Create(t.Context(), []Spec{{Name: "a.b", Partitions: 1, ReplicationFactor: 1}}, false)
	if told(made[0].Err) != "4: Topic 'a.b' collides with existing topic: a_b" {
		t.Error(made[0].Err)
	}
	if made[0].Config != nil || w.truth.Reader().Index() != 2 {
		t.Errorf("%+v", made[0])
	}
}

// A name that a lagging replica knows as that of a topic which is gone belongs to another topic by now: that one is meant.
func TestDeleteByNameFindsTheTopicThatHasTheNameNow(t *testing.T) {
	c, w := newCatalog(t)
	before := state.CreateTopic{Topic: state.UUID{1}, Name: "t", Partitions: 1, ReplicationFactor: 1}
	w.elsewhere(before)
	w.lags = true
	w.elsewhere(state.DeleteTopic{Topic: before.Topic})
	w.elsewhere(state.CreateTopic{Topic: state.UUID{2}, Name: "t", Partitions: 1, ReplicationFactor: 1})
	if gone := c.Delete(t.Context(), []Ref{{Name: "t"}})[0]; gone.Err != nil || gone.ID != (state.UUID{2}) {
		t.Errorf("deleted %v: %v", gone.ID, gone.Err)
	}
	if _, there := w.truth.Reader().TopicByName("t"); there {
		t.Error("the topic is still there")
	}
}

func TestAlterByNameFindsTheTopicThatHasTheNameNow(t *testing.T) {
	c, w := newCatalog(t)
	before := state.CreateTopic{Topic: state.UUID{1}, Name: "t", Partitions: 1, ReplicationFactor: 1}
	w.elsewhere(before)
	w.lags = true
	w.elsewhere(state.DeleteTopic{Topic: before.Topic})
	w.elsewhere(state.CreateTopic{Topic: state.UUID{2}, Name: "t", Partitions: 1, ReplicationFactor: 1})
	value := "compact"
	change := topicconfig.Change{Name: "cleanup.policy", Op: topicconfig.Set, Value: &value}
	if err := c.Alter(t.Context(), "t", []topicconfig.Change{change}, false); err != nil {
		t.Error(err)
	}
	if len(w.truth.Reader().Configs(state.ResourceTopic, state.UUID{2}, "")) != 1 {
		t.Error("the topic has not been altered")
	}
}
