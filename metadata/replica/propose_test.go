package replica_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/journal/object"
	"github.com/leat-stream/leat/metadata/replica"
	"github.com/leat-stream/leat/metadata/state"
)

// TestAProposalIsAnsweredWithItsOwnEntry: who proposed waits until that is applied there, not for what others commit meanwhile.
func TestAProposalIsAnsweredWithItsOwnEntry(t *testing.T) {
	w := newWorld(t)
	p := w.run(func(cfg *replica.Config) { cfg.EntryCommands = 1 })
	const many = 200
	answers := make([]replica.Proposed, many)
	topic := func(i int) string { return fmt.Sprintf("topic-%03d", i) }
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			id := state.UUID{0: 1}
			copy(id[1:], topic(i))
			body := state.EncodeEntry(state.Entry{Commands: []state.Command{{Op: state.CreateTopic{Topic: id, Name: topic(i), Partitions: 1, ReplicationFactor: 1}}}})
			var err error
			if answers[i], err = p.Server().Propose(t.Context(), replica.Proposal{Commands: body}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	j, err := object.Open(t.Context(), w.store, w.keys)
	must(t, err)
	made := map[string]uint64{} // by topic, the entry
	for e, err := range j.Read(t.Context(), 1) {
		must(t, err)
		if e.Kind == journal.KindFence {
			continue
		}
		entry, err := state.DecodeEntry(e.Index, e.Body)
		must(t, err)
		for _, c := range entry.Commands {
			if create, ok := c.Op.(state.CreateTopic); ok {
				made[create.Name] = e.Index
			}
		}
	}
	for i, a := range answers {
		if at := made[topic(i)]; a.Index != at || at == 0 {
			t.Errorf("%s is in entry %d, and its proposer was told %d", topic(i), at, a.Index)
		}
	}
}
