//go:build simseed

package sim

import _ "unsafe" // for linkname

// runtimeSeed is where a runtime that was built with this folder's overlay draws from.
//
//go:linkname runtimeSeed runtime.simSeed
var runtimeSeed uint64

// seedRuntime has the runtime choose by a seed; 0: at random again.
func seedRuntime(seed uint64) { runtimeSeed = seed }
