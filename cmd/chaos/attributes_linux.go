package main

import "syscall"

// attributes: a group of its own, and killed by the kernel when the program that started it dies without having stopped it.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
