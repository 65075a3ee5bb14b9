//go:build !linux

package main

import "net"

// knowsCallers: nothing portable tells which process opened a connection, so faults between two agents are left out.
const knowsCallers = false

func caller(net.Conn, []int) int { return stranger }
