// Package group coordinates consumer groups: Kafka's classic protocol (JoinGroup, SyncGroup, Heartbeat, LeaveGroup), committed
// offsets, and the calls that look at groups.
//
//	request ──► Coordinator ──► actor (one goroutine per group held in memory) ──► classic.Group (pure: phase, members, deadlines)
//	                              │  claims, loads, one write in flight                  │ wants a write
//	                              └──────────────► Door ◄────────────────────────────────┘
//
// What the journal knows of a group is generation, members and assignment; what only memory knows is who is rejoining
// right now ("PreparingRebalance"), which member ids were handed out but not used, and when sessions end. JoinGroup is
// answered only after generation and members are in the state, SyncGroup only after the assignment is (rule R11). So an agent
// may be killed between any two steps: the next coordinator claims the group, gives every member a whole session again, and
// goes on with the same generation.
//
// Which groups are this agent's is told by a view (Deps.Mine), whose claim counts by the state. A group that moves is given up
// at once: who waits is sent to the new coordinator, which adopts the group as after a kill. So neither a move nor a death
// makes anybody join again. Offsets belong to no coordinator: any agent commits and reads them.
//
// The package must never answer from memory without holding the group's claim and having confirmed it lately (package
// proof), never guess the outcome of a write (it forgets the group, claims it anew, and reads what is there), never let a
// timeout decide more than who is asked to rejoin, and knows no wire format: agent/api translates.
package group
