package etcdproc

import "syscall"

// attributes have the kernel kill the server when the program that started it dies without having stopped it, and keep Ctrl-C
// from it. The first is tied to the thread that starts the process, which Go keeps as long as it is not locked to a
// goroutine that ends.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
