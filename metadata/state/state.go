package state

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
