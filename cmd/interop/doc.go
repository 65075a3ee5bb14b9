// Package interop shows that Apache Kafka's own tools and librdkafka work with Leat: with one agent, and with several, behind HAProxy
// and without, while they are restarted and killed. It is tests only (build tag interop, `make interop`) and must never be imported.
//
//	cmd/interop/setup                             fetches the tools, once
//	go test -tags interop ./cmd/interop           Leat on the file store and on MinIO
//	INTEROP_TARGETS=kafka go test -tags …         Apache Kafka itself: shows that the tests are right
//	INTEROP_TARGETS=127.0.0.1:9092 go test …      whatever listens there
package interop
