// Package localstack shows that agents work on AWS as far as a local stand-in can: on LocalStack's bucket, with a role's temporary
// credentials that run out and are renewed, within the role's policy. It is tests only (build tag localstack, `make localstack`) and must never
// be imported.
//
//	localstack/up                                 a local AWS for people, with containers or without
//	go test -tags localstack ./localstack         starts one of its own, tries agents on it, ends it
package localstack
