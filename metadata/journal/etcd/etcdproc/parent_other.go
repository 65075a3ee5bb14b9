//go:build !linux

package etcdproc

import "syscall"

// attributes cannot end the server with its parent where the kernel cannot: a program that dies without Stop leaves it running.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
