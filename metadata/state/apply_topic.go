package state

import (
	"slices"
	"strconv"
)

// MaxPartitions is the most partitions that one topic may have.
const MaxPartitions = 100_000

func (a *step) createTopic(op CreateTopic) Result {
	if id, ok := a.topics.names[op.Name]; ok {
		return Result{Code: CodeTopicExists, Index: a.index, Topic: id}
	}
	if id, ok := a.topics.collision(op.Name); ok {
		return Result{Code: CodeTopicCollides, Index: a.index, Topic: id}
	}
	if op.Partitions < 1 || op.Partitions > MaxPartitions {
		return a.result(CodeInvalidPartitions)
	}
	values, ok := sortedConfigs(op.Configs)
	if _, taken := a.topics.get(op.Topic); !ok || taken || op.Topic.IsZero() || op.Name == "" || tooLong(op.Name) {
		return a.result(CodeInvalid)
	}
	a.topics.insert(&topic{id: op.Topic, name: op.Name, partitions: op.Partitions, factor: op.ReplicationFactor, created: a.index},
		a.index)
	if len(values) > 0 {
		a.configs.set(&configs{of: resource{typ: ResourceTopic, topic: op.Topic}, version: a.index, values: values}, a.index)
	}
	a.changed(Change{Kind: ChangeTopic, Topic: op.Topic})
	return Result{Index: a.index, Topic: op.Topic}
}

// sortedConfigs answers an ordered copy; false if a name is missing, too long, or there twice.
func sortedConfigs(values []Config) ([]Config, bool) {
	values = slices.Clone(values)
	slices.SortFunc(values, compareConfig)
	for i, v := range values {
		if v.Name == "" || tooLong(v.Name) || i > 0 && values[i-1].Name == v.Name {
			return nil, false
		}
	}
	return values, true
}

func (a *step) deleteTopic(op DeleteTopic) Result {
	t, ok := a.topics.get(op.Topic)
	if !ok {
		return a.result(CodeUnknownTopic)
	}
	for n := range t.partitions {
		a.partitions.remove(TopicPartition{op.Topic, n}, a.index, a.dereference)
	}
	a.producers.removeTopic(op.Topic, t.name, a.index)
	a.offsets.removeTopic(op.Topic, a.index)
	a.configs.remove(resource{typ: ResourceTopic, topic: op.Topic}, a.index)
	a.topics.remove(t, a.index)
	a.changed(Change{Kind: ChangeTopic, Topic: op.Topic})
	return a.result(CodeOK)
}

func (a *step) createPartitions(op CreatePartitions) Result {
	t, ok := a.topics.get(op.Topic)
	if !ok {
		return a.result(CodeUnknownTopic)
	}
	if op.Count <= t.partitions || op.Count > MaxPartitions {
		return a.result(CodeInvalidPartitions)
	}
	a.topics.extend(op.Topic, op.Count, a.index)
	a.changed(Change{Kind: ChangeTopic, Topic: op.Topic})
	return a.result(CodeOK)
}

func (a *step) alterConfigs(op AlterConfigs) Result {
	of := resource{typ: op.Type}
	switch op.Type {
	case ResourceTopic:
		if _, ok := a.topics.get(op.Topic); !ok {
			return a.result(CodeUnknownTopic)
		}
		of.topic = op.Topic
	case ResourceBroker:
		if op.Broker != "" {
			if n, err := strconv.ParseInt(op.Broker, 10, 32); err != nil || n < 0 || strconv.FormatInt(n, 10) != op.Broker {
				return a.result(CodeInvalid)
			}
		}
		of.broker = op.Broker
	default:
		return a.result(CodeInvalid)
	}
	set, ok := sortedConfigs(op.Set)
	if !ok {
		return a.result(CodeInvalid)
	}
	if a.configVersion(of) > op.Expect {
		return a.result(CodeConflict)
	}
	for _, name := range op.Remove {
		if slices.ContainsFunc(set, func(c Config) bool { return c.Name == name }) {
			return a.result(CodeInvalid)
		}
	}
	values := slices.Clone(set)
	if old, ok := a.configs.get(of); ok {
		for _, c := range old.values {
			_, replaced := slices.BinarySearchFunc(set, c, compareConfig)
			if !replaced && !slices.Contains(op.Remove, c.Name) {
				values = append(values, c)
			}
		}
	}
	slices.SortFunc(values, compareConfig)
	a.configs.set(&configs{of: of, version: a.index, values: values}, a.index)
	if of.typ == ResourceTopic {
		a.changed(Change{Kind: ChangeTopic, Topic: op.Topic})
	} else {
		a.changed(Change{Kind: ChangeAll})
	}
	return a.result(CodeOK)
}

// configVersion is the index of the last change of a resource's configs.
func (s *State) configVersion(of resource) uint64 {
	if c, ok := s.configs.get(of); ok {
		return c.version
	}
	if t, ok := s.topics.get(of.topic); ok && of.typ == ResourceTopic {
		return t.created
	}
	return 0
}
