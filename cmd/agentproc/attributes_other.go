//go:build !linux

package agentproc

import "syscall"

// attributes: a group of its own. A program that dies without Stop leaves its agent running.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
