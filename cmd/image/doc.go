// Package image does what the Dockerfile and compose.yaml say, on machines without containers: it builds the binary with the Dockerfile's own
// command from what .dockerignore leaves, puts the image's files into a root folder, and runs agents there as the image would: read-only, as
// its user, with its environment; and all of compose.yaml's agents behind its balancer. It is tests only (build tag image,
// `make image`) and must never be imported.
//
// The tests run in network and mount namespaces of their own, so that every service has its usual port and nothing can be reached by or
// reach the outside. That takes root's rights; without them they fail and say so.
package image
