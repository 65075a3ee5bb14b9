// Package agentproc runs the built leat binary as a process of its own, for demo, benchmarks, chaos and development, and tells
// what that process counts and costs. It must never be used by tests of the agent's parts, which need no process.
package agentproc

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/leat-stream/leat/localstack/proc"
)

// Agent is a running agent. Its fields are set once.
type Agent struct {
	Address string // host:port for Kafka clients
	HTTP    string // host:port of /metrics and /readyz

	process *proc.Process
}

// Options says how Start runs an agent.
type Options struct {
	Binary  string    // file of leat
	Address string    // host:port to listen on; "" means a free port of 127.0.0.1
	HTTP    string    // the same, of metrics and health
	Store   string    // --store
	Env     []string  // beside this process's own, as "NAME=value"
	Args    []string  // beside --listen, --http and --store
	Log     io.Writer // gets the agent's log; nil: the last of it stands in errors
}

// Start runs an agent until Stop and waits until it is ready. The end of ctx after that does not stop it.
func Start(ctx context.Context, o Options) (*Agent, error) {
	a, err := Launch(o)
	if err != nil {
		return nil, err
	}
	if err := a.Ready(ctx); err != nil {
		return nil, errors.Join(err, a.Stop())
	}
	return a, nil
}

// Launch runs an agent until Stop or Kill, without waiting for anything. The agent has a process group of its own, so that
// Ctrl-C does not reach it before whoever started it is ready to stop it in order.
func Launch(o Options) (*Agent, error) {
	a := &Agent{Address: o.Address, HTTP: o.HTTP}
	if err := proc.FillAddresses(&a.Address, &a.HTTP); err != nil {
		return nil, err
	}
	args := append([]string{"agent", "--listen", a.Address, "--http", a.HTTP, "--store", o.Store}, o.Args...)
	cmd := exec.Command(o.Binary, args...)
	cmd.Env = append(os.Environ(), o.Env...)
	cmd.Stdout, cmd.Stderr = o.Log, o.Log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var err error
	if a.process, err = proc.Start("agent", cmd); err != nil {
		return nil, err
	}
	return a, nil
}

// Ready waits until the agent says that it serves, for proc.Patience, and as long as ctx and as the process lives.
func (a *Agent) Ready(ctx context.Context) error {
	return a.process.Await(ctx, proc.Patience, proc.Answers("http://"+a.HTTP+"/readyz"))
}

// Exited is closed when the process has ended, for whatever reason.
func (a *Agent) Exited() <-chan struct{} { return a.process.Done() }

// stopPatience is how long an agent may take to end after SIGTERM; it promises 10 s.
const stopPatience = 30 * time.Second

// Stop sends SIGTERM, waits for the end of the process, and kills it if it takes longer than it may. An agent that did not
// drain and exit 0 is an error. It may be called again.
func (a *Agent) Stop() error { return a.process.Stop(stopPatience) }

// Kill kills the process, as kill -9 does, and waits for its end. It may be called again.
func (a *Agent) Kill() { a.process.Kill() }

// Signal sends the process a signal, unless it has ended.
func (a *Agent) Signal(s syscall.Signal) { a.process.Signal(s) }

// PID is the agent's process.
func (a *Agent) PID() int { return a.process.PID() }
