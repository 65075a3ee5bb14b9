package state

import (
	"errors"
	"fmt"
)

// State is the whole metadata of one cluster. One goroutine owns it; see the package comment.
type State struct {
	index uint64
	clock clock
	level uint32

	topics     topics
	configs    configTable
	partitions partitions
	objects    objects
	sessions   sessions
	producers  producers
	groups     groupTable
	offsets    offsets
	misc       misc

	hashes [rememberedHashes]Check // of the last entries, each at its index modulo their number; not part of the state
}

// rememberedHashes is how many entries back a Check may reach. One further back proves nothing and is ignored.
const rememberedHashes = 16

// Entry is one journal entry as the state sees it.
type Entry struct {
	Index    uint64
	Fence    bool // then Leader is set and there are no commands
	Leader   LeaderInfo
	Commands []Command
	Check    Check
}

// Check lets a replica find out that it differs: the hash that the leader's state had after the entry at index Index.
// Index 0: none.
type Check struct {
	Index uint64
	Hash  uint64
}

// The errors of Apply and of the decoders. Each of them must stop the replica.
var (
	// ErrDiverged: the entry carries the leader's hash of an earlier state, and this state's hash then was another.
	ErrDiverged = errors.New("state differs from the leader's")
	// ErrIndex: the entry is not the one that follows the last applied one.
	ErrIndex = errors.New("entry is not the next one")
	// ErrUnknownCommand: the entry holds a command, or a field of one, that this version does not know.
	ErrUnknownCommand = errors.New("command is newer than this version of leat understands")
	// ErrLevel: the entry or image belongs to a level of state that this version does not understand.
	ErrLevel = errors.New("state level is newer than this version of leat understands")
	// ErrCorrupt: the bytes are not what any version of Leat writes.
	ErrCorrupt = errors.New("corrupt metadata encoding")
)

// New is the state of a cluster before its first entry: index 0, level 1.
func New() *State {
	s := &State{level: 1}
	s.topics.names = make(map[string]UUID)
	s.topics.alike = make(map[string]UUID)
	s.objects.names = make(map[ObjectName]*object)
	s.objects.owners = make(map[UUID]int)
	s.producers.byTopic = make(backrefs[int64])
	s.offsets.byTopic = make(backrefs[string])
	s.misc.nextProducer = 1
	s.misc.touch(0)
	return s
}

// Apply applies the entry that follows the last one and answers one result for each of its commands. An error means
// that the state must not be used any more. Commands never make Apply panic, whatever they hold. The state keeps parts of
// the entry and of the results: neither may be changed afterwards.
func (s *State) Apply(e Entry) ([]Result, []Change, error) {
	if e.Index != s.index+1 {
		return nil, nil, fmt.Errorf("%w: %d after %d", ErrIndex, e.Index, s.index)
	}
	if err := s.check(e.Check); err != nil {
		return nil, nil, fmt.Errorf("entry %d: %w", e.Index, err)
	}
	if e.Fence && len(e.Commands) > 0 {
		return nil, nil, fmt.Errorf("%w: entry %d is a fence with commands", ErrCorrupt, e.Index)
	}
	s.index = e.Index
	a := step{State: s}
	var results []Result
	if e.Fence {
		a.fence(e.Leader)
	} else {
		results = make([]Result, len(e.Commands))
		for i := range e.Commands {
			r, err := a.command(&e.Commands[i])
			if err != nil {
				return nil, nil, fmt.Errorf("entry %d, command %d: %w", e.Index, i, err)
			}
			results[i] = r
		}
	}
	s.hashes[s.index%rememberedHashes] = Check{s.index, s.Hash()}
	return results, a.changes, nil
}

func (s *State) check(c Check) error {
	if c.Index == 0 {
		return nil
	}
	if c.Index > s.index {
		return fmt.Errorf("%w: check of entry %d, which is still to come", ErrCorrupt, c.Index)
	}
	if own := s.hashes[c.Index%rememberedHashes]; own.Index == c.Index && own.Hash != c.Hash {
		return fmt.Errorf("%w: hash after entry %d is %016x, the leader's was %016x", ErrDiverged, c.Index, own.Hash, c.Hash)
	}
	return nil
}

// Hash is the hash of the whole state. Replicas that applied the same index have the same.
func (s *State) Hash() uint64 {
	sum := s.topics.sum + s.configs.sum + s.partitions.sum + s.sessions.sum + s.producers.sum + s.groups.sum + s.offsets.sum +
		s.misc.sum()
	return newHash(hashState).word(s.index).word(uint64(s.clock.latest)).word(uint64(s.clock.steady)).word(uint64(s.clock.began)).
		word(uint64(s.clock.till)).word(uint64(s.level)).word(sum).sum()
}

// Reader looks at the state. It is valid only while Apply is kept out.
func (s *State) Reader() Reader { return Reader{s} }
