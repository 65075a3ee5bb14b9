package proc

import (
	"os/exec"
	"syscall"
)

// DieWithParent has the kernel kill the process when the program that starts it dies without having ended it. That is tied to the
// thread that starts the process, which Go keeps as long as it is not locked to a goroutine that ends.
func DieWithParent(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
}
