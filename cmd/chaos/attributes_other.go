//go:build !linux

package main

import "syscall"

// attributes: a group of its own. A program that dies without Stop leaves toxiproxy running.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
