// Package sim is tests only: several agents in one process, in virtual time, over a bucket and a network that fail, driven by a
// seed, and the history of what their clients saw checked for linearizability and for Kafka's promises.
//
//	clients (clients_test.go) ──► network (network_test.go) ──► agents (agent_test.go): the real parts, assembled as agent does
//	        │                          ▲    │                        │
//	        ▼                          │    ▼                        ▼
//	history (history_test.go)      scheduler (scheduler_test.go) ◄── bucket (bucket_test.go)
//	                                   ▲
//	                               nemesis (nemesis_test.go): crash, pause, drain, cut off from others, from the bucket
//
// testing/synctest gives time, not scheduling. So every step of store and network is handed to the scheduler, which lets one
// happen at a time, when all goroutines are blocked, in an order that the seed decides. What repeats depends on how the tests are built:
//
//	make sim    with copies of a few files of the standard library (overlay), and the tag simseed: the same seed is the same run,
//	            step by step and in any process, with the same hash of its trace; but about one run in 160 still parts
//	            from the others of its seed. TestTheSameSeedTwiceIsTheSameRun, which is run without the tag, builds that, and
//	            shows it within that bound.
//	go test     The seed still decides the faults, the profile, and how the n-th step of a name fares. But the runtime draws which
//	            of several ready cases a select takes, which of two timers of the same moment goes off first and in which order
//	            contexts end, and it preempts: so runs of one seed part sooner or later, and nothing is promised.
//
// `make sim SEED=1 COUNT=1000` runs many. mutants_test.go breaks the product on purpose, and shows that the checks find it.
//
// What it leaves out: whether a coordinator can still be reached while a JoinGroup or SyncGroup that was passed on waits (api.Forwarder's
// Reach, which always says yes here), so no seed has such a request give its coordinator up. The tests of agent/api and agent/peer do.
//
// It must never be imported, never open a socket, and never let two steps happen at once.
package sim
