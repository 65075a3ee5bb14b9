package topics

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/leat-stream/leat/agent/topicconfig"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// Spec is a topic to create.
type Spec struct {
	Name              string
	Partitions        int32 // -1: the default
	ReplicationFactor int16 // -1: the default; any other ≥ 1 is accepted and reported, since storage replicates by itself
	// Assignments of partitions to brokers are checked for form and then only counted: any agent serves any partition.
	Assignments []Assignment
	Configs     []Setting
}

// Assignment places one partition.
type Assignment struct {
	Partition int32
	Brokers   []int32
}

// Setting is one configuration value that a client sets; a nil Value is refused.
type Setting struct {
	Name  string
	Value *string
}

// Created is what became of one Spec.
type Created struct {
	Found
	Err error // an *Error or *topicconfig.Error, or one of the metadata's
}

// opsAtOnce is how many topics are created or deleted by one call of the metadata, and so by one entry of the journal.
const opsAtOnce = 100

// Create makes topics, each for itself, or only checks whether it could (validateOnly). It answers one Created for each spec,
// in order; no two may have the same name.
func (c *Catalog) Create(ctx context.Context, specs []Spec, validateOnly bool) []Created {
	made := make([]Created, len(specs))
	ops := make([]state.CreateTopic, len(specs))
	var names []string // of those that are well-formed
	for i, s := range specs {
		if ops[i], made[i].Err = c.prepare(s); made[i].Err == nil {
			names = append(names, s.Name)
		}
	}
	taken, err := c.taken(ctx, names)
	var chosen []int
	for i, op := range ops {
		switch {
		case made[i].Err != nil:
			continue
		case err != nil:
			made[i].Err = err
			continue
		case taken[op.Name] != nil:
			made[i].Err = taken[op.Name]
			continue
		}
		config := topicconfig.Resolve(Overrides(op.Configs))
		made[i].Found = Found{Config: &config, Topic: state.Topic{
			ID: op.Topic, Name: op.Name, Partitions: op.Partitions, ReplicationFactor: op.ReplicationFactor, Configs: op.Configs,
		}}
		chosen = append(chosen, i)
	}
	if validateOnly {
		return made
	}
	for part := range slices.Chunk(chosen, opsAtOnce) {
		batch := make([]state.Op, len(part))
		for n, i := range part {
			batch[n] = ops[i]
		}
		results, err := c.session.Do(ctx, batch...)
		for n, i := range part {
			switch {
			case err != nil:
				made[i] = Created{Err: err}
			case results[n].Code == state.CodeTopicExists: // somebody else was first
				made[i] = Created{Err: errExists(ops[i].Name)}
			case results[n].Code == state.CodeTopicCollides:
				made[i] = Created{Err: c.collided(ctx, ops[i].Name, results[n].Topic)}
			case results[n].Code != state.CodeOK:
				made[i] = Created{Err: fmt.Errorf("create topic %q: metadata answered %s", ops[i].Name, results[n].Code)}
			}
		}
	}
	return made
}

// collided is the refusal of a name by the metadata: another agent was first with one like it.
func (c *Catalog) collided(ctx context.Context, name string, with state.UUID) error {
	other := with.String() // should its name not be found out, because it was deleted again or the request gave up
	_ = c.session.Ask(ctx, metadata.Local(), func(r state.Reader) {
		if t, ok := r.Topic(with); ok {
			other = t.Name
		}
	})
	return errCollides(name, other)
}

func errExists(name string) error {
	return &Error{Kind: KindExists, Message: fmt.Sprintf("Topic '%s' already exists.", name)}
}

// prepare checks everything that needs no look at other topics.
func (c *Catalog) prepare(s Spec) (state.CreateTopic, error) {
	none := state.CreateTopic{}
	if err := CheckName(s.Name); err != nil {
		return none, err
	}
	if s.Name == "__cluster_metadata" {
		return none, &Error{Kind: KindInvalidRequest, Message: "Creation of internal topic __cluster_metadata is prohibited."}
	}
	op := state.CreateTopic{Topic: newID(), Name: s.Name, Partitions: s.Partitions, ReplicationFactor: s.ReplicationFactor}
	if len(s.Assignments) > 0 {
		replicas, err := checkAssignments(s)
		if err != nil {
			return none, err
		}
		op.Partitions, op.ReplicationFactor = int32(len(s.Assignments)), replicas
	}
	if op.Partitions == -1 {
		op.Partitions = c.cfg.Partitions
	}
	if op.ReplicationFactor == -1 {
		op.ReplicationFactor = c.cfg.ReplicationFactor
	}
	switch {
	case op.ReplicationFactor < 1:
		return none, &Error{Kind: KindInvalidReplication,
			Message: "Replication factor must be larger than 0, or -1 to use the default value."}
	case op.Partitions < 1:
		return none, &Error{Kind: KindInvalidPartitions, Message: "Number of partitions was set to an invalid non-positive value."}
	case op.Partitions > MaxPartitions:
		return none, &Error{Kind: KindPolicy, Message: "Excessively large number of partitions per request."}
	}
	configs, err := checkConfigs(s.Configs)
	op.Configs = configs
	return op, err
}

// checkAssignments answers the replication factor of manual assignments (ReplicationControlManager.createTopic).
func checkAssignments(s Spec) (int16, error) {
	const kind = KindInvalidAssignment
	if s.ReplicationFactor != -1 {
		return 0, &Error{Kind: KindInvalidRequest,
			Message: "A manual partition assignment was specified, but replication factor was not set to -1."}
	}
	if s.Partitions != -1 {
		return 0, &Error{Kind: KindInvalidRequest,
			Message: "A manual partition assignment was specified, but numPartitions was not set to -1."}
	}
	seen := make(map[int32]bool, len(s.Assignments))
	replicas := len(s.Assignments[0].Brokers)
	for _, a := range s.Assignments {
		if seen[a.Partition] {
			return 0, &Error{Kind: kind, Message: fmt.Sprintf("Found multiple manual partition assignments for partition %d", a.Partition)}
		}
		seen[a.Partition] = true
		if err := CheckReplicas(a.Brokers); err != nil {
			return 0, err
		}
		if len(a.Brokers) != replicas {
			return 0, &Error{Kind: kind, Message: fmt.Sprintf("The manual partition assignment includes a partition with %d replica(s), "+
				"but this is not consistent with previous partitions, which have %d replica(s).", len(a.Brokers), replicas)}
		}
	}
	for p := range int32(len(s.Assignments)) {
		if !seen[p] {
			return 0, &Error{Kind: kind, Message: "partitions should be a consecutive 0-based integer sequence"}
		}
	}
	return int16(min(replicas, math.MaxInt16)), nil
}

// CheckReplicas refuses a list of brokers that names none, or one twice.
func CheckReplicas(brokers []int32) error {
	if len(brokers) == 0 {
		return &Error{Kind: KindInvalidAssignment, Message: "The manual partition assignment includes an empty replica list."}
	}
	for i, b := range brokers {
		if slices.Contains(brokers[:i], b) {
			return &Error{Kind: KindInvalidAssignment,
				Message: fmt.Sprintf("The manual partition assignment includes the broker %d more than once.", b)}
		}
	}
	return nil
}

// checkConfigs answers the overrides in canonical form, ordered by name.
func checkConfigs(settings []Setting) ([]state.Config, error) {
	values := make(map[string]string, len(settings))
	for _, s := range settings {
		if s.Value == nil {
			return nil, &Error{Kind: KindInvalidConfig, Message: "Null value not supported for topic configs: " + s.Name}
		}
		canonical, err := topicconfig.Canonical(s.Name, *s.Value)
		if err != nil {
			return nil, err
		}
		values[s.Name] = canonical
	}
	if err := topicconfig.ValidateTogether(values); err != nil {
		return nil, err
	}
	return Configs(values), nil
}

// Configs answers values as a list ordered by name.
func Configs(values map[string]string) []state.Config {
	var list []state.Config
	for name, value := range values {
		list = append(list, state.Config{Name: name, Value: value})
	}
	slices.SortFunc(list, func(a, b state.Config) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// taken tells why each of the names cannot be given to a new topic: it is taken, or differs from another topic's, or from another one
// of names, only in dots and underscores. That a name is taken is looked for at a fresh index, too: it may have been deleted.
func (c *Catalog) taken(ctx context.Context, names []string) (why map[string]error, err error) {
	look := func(r state.Reader) {
		why = map[string]error{}
		alike := map[string]string{} // names that could collide, with underscores only
		for _, name := range names {
			if _, taken := r.TopicByName(name); taken {
				why[name] = errExists(name)
			} else if strings.ContainsAny(name, "._") {
				if other, ok := alike[underscored(name)]; ok {
					why[name] = errCollides(name, other)
					continue
				}
				alike[underscored(name)] = name
			}
		}
		if len(alike) == 0 {
			return
		}
		for t := range r.Topics() {
			if name, ok := alike[underscored(t.Name)]; ok {
				why[name] = errCollides(name, t.Name)
			}
		}
	}
	if err = c.session.Ask(ctx, metadata.Local(), look); err == nil && len(why) > 0 {
		err = c.session.Ask(ctx, metadata.Fresh(), look)
	}
	return why, err
}

func errCollides(name, other string) error {
	return &Error{Kind: KindInvalidName, Message: fmt.Sprintf("Topic '%s' collides with existing topic: %s", name, other)}
}

// Deleted is what became of one Ref that was to be deleted.
type Deleted struct {
	state.Topic
	Err error
}

// Delete deletes topics, each for itself, their data and the offsets committed for them. It answers one Deleted for each ref,
// in order.
//
// A replica that lags may give the id of a topic that is gone, while another has its name by now. When that was noticed, the
// deletion has been applied here, and the name is looked up once more (R7): then it is nobody's, or the other's.
func (c *Catalog) Delete(ctx context.Context, refs []Ref) []Deleted {
	gone, missed := c.delete(ctx, refs)
	if len(missed) == 0 {
		return gone
	}
	again := make([]Ref, len(missed))
	for n, i := range missed {
		again[n] = refs[i]
	}
	second, _ := c.delete(ctx, again)
	for n, i := range missed {
		gone[i] = second[n]
	}
	return gone
}

// delete also answers which of the refs are names of topics that were found, and were gone when they were to be deleted.
func (c *Catalog) delete(ctx context.Context, refs []Ref) (gone []Deleted, missed []int) {
	gone = make([]Deleted, len(refs))
	found, errs := c.Find(ctx, refs)
	var chosen []int
	for i := range refs {
		if gone[i] = (Deleted{Topic: found[i].Topic, Err: errs[i]}); errs[i] == nil {
			chosen = append(chosen, i)
		}
	}
	for part := range slices.Chunk(chosen, opsAtOnce) {
		batch := make([]state.Op, len(part))
		for n, i := range part {
			batch[n] = state.DeleteTopic{Topic: gone[i].ID}
		}
		results, err := c.session.Do(ctx, batch...)
		for n, i := range part {
			switch {
			case err != nil:
				gone[i] = Deleted{Err: err}
			case results[n].Code == state.CodeUnknownTopic: // deleted in between, or before: this replica lagged
				gone[i] = Deleted{Err: errUnknownRef(refs[i])}
				if refs[i].ID.IsZero() {
					missed = append(missed, i)
				}
			case results[n].Code != state.CodeOK:
				gone[i] = Deleted{Err: fmt.Errorf("delete topic %q: metadata answered %s", gone[i].Name, results[n].Code)}
			}
		}
	}
	return gone, missed
}
