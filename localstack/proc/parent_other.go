//go:build !linux

package proc

import "os/exec"

// DieWithParent does nothing where the kernel cannot help: a program that dies without having ended the process leaves it running.
func DieWithParent(*exec.Cmd) {}
