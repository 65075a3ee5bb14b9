// Package sim is tests only: several agents in one process, in virtual time, over a bucket and a network that fail, driven by a
// seed, and the history of what their clients saw checked for linearizability and for Kafka's promises.
//
//	clients (clients_test.go) ──► network (network_test.go) ──► agents (agent_test.go): the real parts, assembled as agent does
//	        │                          ▲    │                        │
//	        ▼                          │    ▼                        ▼
//	history (history_test.go)      scheduler (scheduler_test.go) ◄── bucket (bucket_test.go)
//	                                   ▲
//	                               nemesis (nemesis_test.go): crash, pause, drain, cut
//
// testing/synctest gives time, not scheduling. So every step of store and network is handed to the scheduler, which lets one
// happen at a time, when all goroutines are blocked, in an order that the seed decides; the same seed gives the same run. `make sim SEED=1 COUNT=1000` runs
// many. mutants_test.go breaks the product on purpose, and shows that the checks find it.
//
// It must never be imported, never open a socket, and never let two steps happen at once.
package sim
