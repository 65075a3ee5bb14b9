//go:build !simseed

package sim

// seeded: the runtime's own choices (which of several ready cases a select takes, which of two timers of the same moment goes off
// first) cannot be seeded without the overlay. Most steps of a run repeat even so.
const seeded = false

func seedRuntime(uint64) {}
