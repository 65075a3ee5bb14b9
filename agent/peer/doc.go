// Package peer is how agents of one cluster talk to each other: the replicas of the metadata (metadata/replica/peers.go), chunks
// of data objects, and requests of clients that need a certain agent.
//
//	Client ──► link per address ──► TLS 1.3, both sides prove that they know the secret ──► Server ──► Handlers
//	           dialled when needed,   <cluster>/secret in the bucket                           replica, cache, API
//	           closed when unused
//
// It is gRPC over one connection from each agent to each other one that it needs; peerpb/peer.proto says what travels. It
// decides nothing: it passes on what handlers answer, errors as a closed set of kinds (errors.go).
//
// The package must never answer anybody who does not know the cluster's secret, never repeat a call whose outcome is
// unknown, never call an outcome "not applied" that may be otherwise, and never print the secret.
package peer
