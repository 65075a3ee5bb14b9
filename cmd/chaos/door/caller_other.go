//go:build !linux

package door

import "net"

// KnowsCallers: nothing portable tells which process opened a connection, so faults between two agents are left out.
const KnowsCallers = false

// CallerOf answers Stranger.
func CallerOf(net.Conn, []int) int { return Stranger }
