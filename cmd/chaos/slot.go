package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/leat-stream/leat/cmd/agentproc"
	"github.com/leat-stream/leat/cmd/chaos/door"
	"github.com/leat-stream/leat/localstack/proc"
)

// slot is where an agent runs: addresses, way to the bucket, cache folder and log outlive its processes. An agent that ends by
// itself is started again, as a supervisor would. It is safe for concurrent use.
type slot struct {
	number  int
	name    string
	options agentproc.Options
	cache   string // folder
	way     *way
	door    *door.Door
	logs    *os.File
	notes   *notebook

	mu     sync.Mutex
	agent  *agentproc.Agent // nil while none is wanted
	watch  sync.WaitGroup   // one goroutine for each process
	broken int              // how often an agent ended by itself
	pid    int              // of the newest process, 0 before the first
	jammed error            // the door could not be opened
}

func newSlot(b *bed, number int, w *way) (*slot, error) {
	s := &slot{number: number, name: fmt.Sprintf("agent-%d", number), way: w, notes: b.notes}
	s.cache = filepath.Join(b.dir, s.name+"-cache")
	var peers, told, clients, http string
	err := proc.FillAddresses(&peers, &told, &clients, &http)
	if err != nil {
		return nil, err
	}
	s.door = door.New(told, peers, b.caller)
	if s.logs, err = os.OpenFile(s.logPath(b.dir), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return nil, err
	}
	s.options = agentproc.Options{
		Binary: b.plan.leat, Address: clients, HTTP: http, Store: b.storeURL(number, w.address), Env: b.minio.Env(), Log: s.logs,
	}
	s.options.Args = append([]string{"--name", s.name, "--journal", b.journalURL(), "--peer", peers + "=" + s.door.Address(), "--log-level", "debug",
		"--cache-dir", s.cache, "--cache-memory", "48MiB", "--cache-disk", "128MiB"}, b.advertise()...)
	return s, nil
}

func (s *slot) logPath(dir string) string { return filepath.Join(dir, s.name+".log") }

// start runs an agent unless one runs; it does not wait until it serves.
func (s *slot) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.agent != nil {
		return nil
	}
	return s.launch()
}

// launch begins a process. mu is held.
func (s *slot) launch() error {
	a, err := agentproc.Launch(s.options)
	if err != nil {
		return err
	}
	s.agent, s.pid = a, a.PID()
	s.watch.Go(func() {
		if err := s.door.Attend(a.Exited()); err != nil {
			s.mu.Lock()
			s.jammed = err
			s.mu.Unlock()
		}
		s.mu.Lock()
		mine := s.agent == a
		if mine {
			s.broken++
		}
		s.mu.Unlock()
		if !mine {
			return
		}
		s.notes.note("%s ended by itself: %v", s.name, a.Stop())
		<-time.After(time.Second)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.agent != a { // stopped meanwhile
			return
		}
		if err := s.launch(); err != nil {
			s.notes.note("%s: %v", s.name, err)
		}
	})
	return nil
}

// take answers the agent and is no longer responsible for it.
func (s *slot) take() *agentproc.Agent {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.agent
	s.agent = nil
	return a
}

// running answers the agent that should be running, nil if none.
func (s *slot) running() *agentproc.Agent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.agent
}

// newest is the process that runs, or ran last; 0 if there was none.
func (s *slot) newest() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pid
}

// kill is kill -9.
func (s *slot) kill() {
	if a := s.take(); a != nil {
		a.Kill()
	}
}

// stop drains the agent; one that does not end in time, or not well, is an error.
func (s *slot) stop() error {
	if a := s.take(); a != nil {
		if err := a.Stop(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// signal sends SIGSTOP or SIGCONT.
func (s *slot) signal(sig syscall.Signal) {
	if a := s.running(); a != nil {
		a.Signal(sig)
	}
}

// errAbsent is answered for a slot without an agent.
var errAbsent = errors.New("no agent runs there")

// ready waits until the slot's agent serves, through restarts, as long as ctx.
func (s *slot) ready(ctx context.Context) error {
	for {
		a := s.running()
		if a == nil {
			return fmt.Errorf("%s: %w", s.name, errAbsent)
		}
		err := a.Ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", s.name, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// leads tells whether the agent says that it is the metadata leader.
func (s *slot) leads(ctx context.Context) bool {
	a := s.running()
	if a == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	m, err := a.Metrics(ctx)
	return err == nil && m.Sum("leat_metadata_leading") == 1
}

// close ends the agent at once and waits for everything that belongs to the slot.
func (s *slot) close() error {
	s.kill()
	s.watch.Wait()
	s.door.Close()
	s.way.hurdle.close()
	return errors.Join(s.jammed, s.logs.Close())
}
