package topics

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/leat-stream/leat/agent/topicconfig"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// alterTries bounds how often a change is made anew because somebody else changed the same topic in between.
const alterTries = 10

// Alter changes the overridden configs of a topic, all or nothing, or only checks whether it could. It fails with an *Error
// or a *topicconfig.Error.
func (c *Catalog) Alter(ctx context.Context, name string, changes []topicconfig.Change, validateOnly bool) error {
	for range alterTries {
		found, version, err := c.forAlter(ctx, name)
		if err != nil {
			return err
		}
		before := Overrides(found.Configs)
		after, err := topicconfig.Alter(before, changes)
		if err != nil {
			return err
		}
		op := state.AlterConfigs{Type: state.ResourceTopic, Topic: found.ID, Expect: version}
		for _, set := range Configs(after) {
			if value, ok := before[set.Name]; !ok || value != set.Value {
				op.Set = append(op.Set, set)
			}
		}
		for _, old := range slices.Sorted(maps.Keys(before)) {
			if _, ok := after[old]; !ok {
				op.Remove = append(op.Remove, old)
			}
		}
		if validateOnly || len(op.Set)+len(op.Remove) == 0 {
			return nil
		}
		results, err := c.session.Do(ctx, op)
		if err != nil {
			return err
		}
		switch results[0].Code {
		case state.CodeOK:
			return nil
		case state.CodeUnknownTopic, state.CodeConflict: // others were first, or this replica lagged: look again (R7)
			continue
		}
		return fmt.Errorf("alter configs of %q: metadata answered code %d", name, results[0].Code)
	}
	return fmt.Errorf("alter configs of %q: others changed them %d times meanwhile: %w", name, alterTries, metadata.ErrNotApplied)
}

// forAlter answers the topic and the version of its configs, of one index.
func (c *Catalog) forAlter(ctx context.Context, name string) (topic state.Topic, version uint64, err error) {
	if err := CheckName(name); err != nil {
		return topic, 0, err
	}
	known := false
	look := func(r state.Reader) {
		if topic, known = r.TopicByName(name); known {
			version = r.ConfigVersion(state.ResourceTopic, topic.ID, "")
		}
	}
	if err := c.session.Ask(ctx, metadata.Local(), look); err != nil {
		return topic, 0, err
	}
	if !known {
		if err := c.session.Ask(ctx, metadata.Fresh(), look); err != nil {
			return topic, 0, err
		}
	}
	if !known {
		return topic, 0, &Error{Kind: KindUnknown, Message: fmt.Sprintf("The topic '%s' does not exist.", name)}
	}
	return topic, version, nil
}
