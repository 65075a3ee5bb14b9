package main

import (
	"syscall"
	"testing"
)

// A process that is stopped sleeps in the middle of whatever it did, until it is continued.
const (
	stopSignal     = syscall.SIGSTOP
	continueSignal = syscall.SIGCONT
)

func signalPID(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}
