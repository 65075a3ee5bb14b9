package state

import "errors"

// State is the whole metadata of one cluster.
type State struct{ _ int }

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
func New() *State { return &State{} }

// Apply applies the entry that follows the last one and answers one result for each of its commands. An error means
// that the state must not be used any more. Commands never make Apply panic, whatever they hold.
func (s *State) Apply(e Entry) ([]Result, []Change, error) { panic("") }

// Reader looks at the state. It is valid only while Apply is kept out.
func (s *State) Reader() Reader { return Reader{s} }
