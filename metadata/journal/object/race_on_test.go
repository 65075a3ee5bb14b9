//go:build race

package object

// underRace: the explorations run in coroutines, one at a time; the race detector only makes them slow.
const underRace = true
