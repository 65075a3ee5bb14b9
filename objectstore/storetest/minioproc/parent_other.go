//go:build !linux

package minioproc

import "os/exec"

// dieWithParent does nothing where the kernel cannot: a program that dies without Stop leaves its server running.
func dieWithParent(*exec.Cmd) {}
