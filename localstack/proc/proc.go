// Package proc starts the programs that tests and tools need beside them (MinIO, etcd, agents, balancers, brokers), each a process
// of its own, and sees that none of them is left. It must never be linked into what ships, and imports nothing but the standard
// library, so that every test may use it.
package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Patience is how long a program may take to be ready on a machine that does a hundred other things; most take less than a second.
const Patience = 3 * time.Minute

// Process is a program that was started. Its fields are set before Start returns, but for err. It is safe for concurrent use.
type Process struct {
	name  string
	cmd   *exec.Cmd
	print *tail
	done  chan struct{} // closed when the process has ended; err is set before
	err   error
}

// Start runs cmd until Stop or Kill. The kernel kills it if this program dies before, as DieWithParent says. What it prints goes
// where cmd says, or else is kept for errors and String. The name stands in errors. With Setpgid in cmd's attributes, Ctrl-C
// does not reach the process before whoever started it is ready to stop it in order. A process has ended, as Done, Stop and the
// others see it, when nobody holds its output any more either, or cmd.WaitDelay (30 s unless it is set) later.
func Start(name string, cmd *exec.Cmd) (*Process, error) {
	p := &Process{name: name, cmd: cmd, print: &tail{}, done: make(chan struct{})}
	if cmd.Stdout == nil && cmd.Stderr == nil {
		cmd.Stdout, cmd.Stderr = p.print, p.print
	}
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = 30 * time.Second // else a child of the process that holds its output delays done for ever
	}
	DieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() { // owned by p; ends with the process, which Stop or Kill ends
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Done is closed when the process has ended, for whatever reason.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running tells whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// ExitCode is what the process exited with, -1 if it runs or was killed.
func (p *Process) ExitCode() int {
	if p.Running() {
		return -1
	}
	return p.cmd.ProcessState.ExitCode()
}

// PID is the number of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal. It does nothing if the process has ended.
func (p *Process) Signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// Kill kills the process, as kill -9 does, and waits for its end. It may be called again.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // fails only if it has ended
	<-p.done
}

// ErrKilled is wrapped by Stop when a process did not heed SIGTERM in time. One that did, and left a child that holds its output, has
// exec.ErrWaitDelay instead if it exited with 0.
var ErrKilled = errors.New("it had to be killed")

// Stop sends SIGTERM, waits for the end of the process, and kills it if it takes longer than it may. A process that had to be
// killed (ErrKilled), or did not exit with 0, is an error. It may be called again.
func (p *Process) Stop(patience time.Duration) error {
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		p.Kill()
		if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
			return fmt.Errorf("%s did not end within %s: %w", p.name, patience, ErrKilled)
		}
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w", p.name, p.err)
	}
	return nil
}

// String is the last that the process printed, up to 4 KiB, unless its output goes elsewhere.
func (p *Process) String() string { return p.print.String() }

// Await is the package's Await, but gives up when the process ends. The error says what the process printed at last.
func (p *Process) Await(ctx context.Context, patience time.Duration, ready func(context.Context) error) error {
	err := await(ctx, patience, p.done, ready)
	switch {
	case errors.Is(err, errEnded):
		return fmt.Errorf("%s ended before it was ready, with %s%s", p.name, p.cmd.ProcessState, p.said())
	case err != nil:
		return fmt.Errorf("%s is not ready: %w%s", p.name, err, p.said())
	}
	return nil
}

func (p *Process) said() string {
	if text := p.String(); text != "" {
		return "; it said: " + text
	}
	return ""
}

// Await asks ready, again and again, until it answers no error: for so long, and as long as ctx.
func Await(ctx context.Context, patience time.Duration, ready func(context.Context) error) error {
	return await(ctx, patience, nil, ready)
}

var errEnded = errors.New("the process has ended")

func await(ctx context.Context, patience time.Duration, done <-chan struct{}, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := ready(ctx)
		select {
		case <-done: // then it was another server that was ready
			return errEnded
		default:
		}
		if err == nil {
			return nil
		}
		select {
		case <-done:
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// tail keeps the last few KiB of what a process prints.
type tail struct {
	mu   sync.Mutex
	data []byte // guarded by mu; at most tailSize, older bytes are dropped
}

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, p...)
	if len(t.data) > tailSize {
		t.data = append(t.data[:0], t.data[len(t.data)-tailSize:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.data))
}
