package topics

import (
	"context"
	"fmt"
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

// Create makes a topic, or only checks whether it could (validateOnly). It fails with an *Error.
func (c *Catalog) Create(ctx context.Context, s Spec, validateOnly bool) (Found, error) {
	op, err := c.prepare(s)
	if err != nil {
		return Found{}, err
	}
	if err := c.checkFree(ctx, s.Name); err != nil {
		return Found{}, err
	}
	found := Found{Topic: state.Topic{
		ID: op.Topic, Name: op.Name, Partitions: op.Partitions, ReplicationFactor: op.ReplicationFactor, Configs: op.Configs,
	}}
	config := topicconfig.Resolve(Overrides(op.Configs))
	found.Config = &config
	if validateOnly {
		return found, nil
	}
	results, err := c.session.Do(ctx, op)
	if err != nil {
		return Found{}, err
	}
	switch results[0].Code {
	case state.CodeOK:
		return found, nil
	case state.CodeTopicExists:
		return Found{}, errExists(s.Name)
	}
	return Found{}, fmt.Errorf("create topic %q: metadata answered code %d", s.Name, results[0].Code)
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
	for _, a := range s.Assignments {
		if seen[a.Partition] {
			return 0, &Error{Kind: kind, Message: fmt.Sprintf("Found multiple manual partition assignments for partition %d", a.Partition)}
		}
		seen[a.Partition] = true
		if err := CheckReplicas(a.Brokers); err != nil {
			return 0, err
		}
	}
	for p := range int32(len(s.Assignments)) {
		if !seen[p] {
			return 0, &Error{Kind: kind, Message: "partitions should be a consecutive 0-based integer sequence"}
		}
	}
	return int16(len(s.Assignments[0].Brokers)), nil
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

// checkFree refuses a name that is taken, or that differs from another topic's only in dots and underscores.
func (c *Catalog) checkFree(ctx context.Context, name string) error {
	var err error
	askErr := c.session.Ask(ctx, metadata.Local(), func(r state.Reader) {
		if _, taken := r.TopicByName(name); taken {
			err = errExists(name)
			return
		}
		if !strings.ContainsAny(name, "._") {
			return
		}
		for t := range r.Topics() {
			if collides(t.Name, name) {
				err = &Error{Kind: KindInvalidName, Message: fmt.Sprintf("Topic '%s' collides with existing topic: %s", name, t.Name)}
				return
			}
		}
	})
	if askErr != nil {
		return askErr
	}
	return err
}

// Delete deletes a topic, its data and the offsets committed for it.
func (c *Catalog) Delete(ctx context.Context, ref Ref) (state.Topic, error) {
	found, err := c.FindOne(ctx, ref)
	if err != nil {
		return state.Topic{}, err
	}
	results, err := c.session.Do(ctx, state.DeleteTopic{Topic: found.ID})
	switch {
	case err != nil:
		return state.Topic{}, err
	case results[0].Code == state.CodeUnknownTopic: // deleted in between
		return state.Topic{}, errUnknown()
	case results[0].Code != state.CodeOK:
		return state.Topic{}, fmt.Errorf("delete topic %q: metadata answered code %d", found.Name, results[0].Code)
	}
	return found.Topic, nil
}

// Extend raises a topic's number of partitions to count, or only checks whether it could.
func (c *Catalog) Extend(ctx context.Context, name string, count int32, assignments [][]int32, validateOnly bool) error {
	found, err := c.FindOne(ctx, Ref{Name: name})
	if err != nil {
		return err
	}
	have := found.Partitions
	switch {
	case count == have:
		return &Error{Kind: KindInvalidPartitions, Message: fmt.Sprintf("Topic already has %d partition(s).", have)}
	case count < have:
		return &Error{Kind: KindInvalidPartitions,
			Message: fmt.Sprintf("The topic %s currently has %d partition(s); %d would not be an increase.", name, have, count)}
	case count-have > MaxPartitions:
		return &Error{Kind: KindPolicy, Message: "Excessively large number of partitions per request."}
	case assignments != nil && int32(len(assignments)) != count-have:
		return &Error{Kind: KindInvalidAssignment, Message: fmt.Sprintf(
			"Attempted to add %d additional partition(s), but only %d assignment(s) were specified.", count-have, len(assignments))}
	}
	for _, brokers := range assignments {
		if err := CheckReplicas(brokers); err != nil {
			return err
		}
	}
	if validateOnly {
		return nil
	}
	results, err := c.session.Do(ctx, state.CreatePartitions{Topic: found.ID, Count: count})
	switch {
	case err != nil:
		return err
	case results[0].Code == state.CodeUnknownTopic:
		return errUnknown()
	case results[0].Code == state.CodeInvalidPartitions: // somebody else was first
		return &Error{Kind: KindInvalidPartitions, Message: fmt.Sprintf("Topic already has %d partition(s).", count)}
	case results[0].Code != state.CodeOK:
		return fmt.Errorf("create partitions of %q: metadata answered code %d", name, results[0].Code)
	}
	return nil
}
