// Package agentproc runs the built leat binary as a process of its own, for demo, benchmarks, chaos and development, and tells
// what that process counts and costs. It must never be used by tests of the agent's parts, which need no process.
package agentproc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// patience is how long an agent may take to be ready, and to end after SIGTERM (it promises 10 s).
const patience = 30 * time.Second

// Agent is a running agent. Its fields are set once.
type Agent struct {
	Address string // host:port for Kafka clients
	HTTP    string // host:port of /metrics and /readyz

	process *exec.Cmd
	exited  chan struct{} // closed when the process has ended; err is set before
	err     error
}

// Options says how Start runs an agent.
type Options struct {
	Binary  string    // file of leat
	Address string    // host:port to listen on; "" means a free port of 127.0.0.1
	HTTP    string    // the same, of metrics and health
	Store   string    // --store
	Env     []string  // beside this process's own, as "NAME=value"
	Args    []string  // beside --listen, --http and --store
	Log     io.Writer // gets the agent's log
}

// Start runs an agent until Stop and waits until it is ready. The end of ctx after that does not stop it.
func Start(ctx context.Context, o Options) (*Agent, error) {
	a, err := Launch(o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := a.Ready(ctx); err != nil {
		return nil, errors.Join(err, a.Stop())
	}
	return a, nil
}

// Launch runs an agent until Stop or Kill, without waiting for anything. The agent has a process group of its own, so that
// Ctrl-C does not reach it before whoever started it is ready to stop it in order.
func Launch(o Options) (*Agent, error) {
	a := &Agent{Address: o.Address, HTTP: o.HTTP, exited: make(chan struct{})}
	for _, address := range []*string{&a.Address, &a.HTTP} {
		if *address == "" {
			var err error
			if *address, err = freeAddress(); err != nil {
				return nil, err
			}
		}
	}
	args := append([]string{"agent", "--listen", a.Address, "--http", a.HTTP, "--store", o.Store}, o.Args...)
	a.process = exec.Command(o.Binary, args...)
	a.process.Env = append(os.Environ(), o.Env...)
	a.process.Stdout, a.process.Stderr = o.Log, o.Log
	a.process.SysProcAttr = attributes()
	if err := a.process.Start(); err != nil {
		return nil, fmt.Errorf("start agent: %w", err)
	}
	go func() { // owned by a; ends with the process, which Stop or Kill ends
		a.err = a.process.Wait()
		close(a.exited)
	}()
	return a, nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// Ready waits until the agent says that it serves, as long as ctx and as the process lives.
func (a *Agent) Ready(ctx context.Context) error {
	for {
		if body, err := a.get(ctx, "/readyz"); err == nil {
			return body.Close()
		}
		select {
		case <-a.exited:
			return errors.New("the agent ended before it was ready; its log says why")
		case <-ctx.Done():
			return fmt.Errorf("the agent is not ready: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// get asks the agent's HTTP address and refuses any answer but 200.
func (a *Agent) get(ctx context.Context, path string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.HTTP+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, fmt.Errorf("get %s: %s", path, response.Status)
	}
	return response.Body, nil
}

// Exited is closed when the process has ended, for whatever reason.
func (a *Agent) Exited() <-chan struct{} { return a.exited }

// Stop sends SIGTERM, waits for the end of the process, and kills it if it takes longer than it may. An agent that did not
// drain and exit 0 is an error. It may be called again.
func (a *Agent) Stop() error {
	_ = a.process.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	select {
	case <-a.exited:
	case <-time.After(patience):
		_ = a.process.Process.Kill()
		<-a.exited
		return errors.New("stop agent: it did not drain and had to be killed")
	}
	if a.err != nil {
		return fmt.Errorf("stop agent: %w", a.err)
	}
	return nil
}

// Kill kills the process, as kill -9 does, and waits for its end. It may be called again.
func (a *Agent) Kill() {
	_ = a.process.Process.Kill() // fails only if it has ended
	<-a.exited
}

// PID is the agent's process.
func (a *Agent) PID() int { return a.process.Process.Pid }
