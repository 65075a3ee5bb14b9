package topics

import (
	"context"
	"fmt"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// Extend raises a topic's number of partitions to count, or only checks whether it could. It fails with an *Error. It looks at a
// fresh index: every refusal tells how many there are.
func (c *Catalog) Extend(ctx context.Context, name string, count int32, assignments [][]int32, validateOnly bool) error {
	for range alterTries {
		var t state.Topic
		known := false
		if err := c.session.Ask(ctx, metadata.Fresh(), func(r state.Reader) { t, known = r.TopicByName(name) }); err != nil {
			return err
		}
		if !known {
			return errUnknown()
		}
		if err := checkExtension(t, count, assignments); err != nil || validateOnly {
			return err
		}
		results, err := c.session.Do(ctx, state.CreatePartitions{Topic: t.ID, Count: count})
		if err != nil {
			return err
		}
		switch results[0].Code {
		case state.CodeOK:
			return nil
		case state.CodeUnknownTopic, state.CodeInvalidPartitions: // somebody else was first: look again
			continue
		}
		return fmt.Errorf("create partitions of %q: metadata answered %s", name, results[0].Code)
	}
	return fmt.Errorf("create partitions of %q: others changed it %d times meanwhile: %w", name, alterTries, metadata.ErrNotApplied)
}

func checkExtension(t state.Topic, count int32, assignments [][]int32) error {
	refuse := func(kind Kind, format string, args ...any) error {
		return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
	}
	more := count - t.Partitions
	switch {
	case count == t.Partitions:
		return refuse(KindInvalidPartitions, "Topic already has %d partition(s).", t.Partitions)
	case count < t.Partitions:
		return refuse(KindInvalidPartitions, "The topic %s currently has %d partition(s); %d would not be an increase.",
			t.Name, t.Partitions, count)
	case more > MaxPartitions || count > state.MaxPartitions:
		return refuse(KindPolicy, "Excessively large number of partitions per request.")
	case assignments != nil && int32(len(assignments)) != more:
		return refuse(KindInvalidAssignment, "Attempted to add %d additional partition(s), but only %d assignment(s) were specified.",
			more, len(assignments))
	}
	for _, brokers := range assignments {
		if err := CheckReplicas(brokers); err != nil {
			return err
		}
	}
	return nil
}
