//go:build !linux

package minioproc

import "syscall"

// attributes cannot end the server with its parent where the kernel cannot: a program that dies without Stop leaves it running.
func attributes(ownGroup bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: ownGroup}
}
