package javatools

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Broker is a running single-node Apache Kafka broker (KRaft, broker and controller in one process) on 127.0.0.1. The
// goroutine that started it owns it and calls Stop.
type Broker struct {
	addr string
	log  string
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended; err is set before
	err  error
	stop context.CancelFunc
}

// startTimeout bounds how long a broker may take to answer its port; it takes about 5 s on an idle machine.
const startTimeout = 90 * time.Second

// StartBroker formats dir and starts a broker in it on a free loopback port, with Kafka's defaults except the
// replication factors of internal topics (1: there is one broker) and what props overrides. dir must be empty and is
// left to the caller to delete after Stop. The broker outlives neither Stop nor this process.
func (k *Kit) StartBroker(dir string, props map[string]string) (*Broker, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", ports[0])
	file := filepath.Join(dir, "server.properties")
	if err := writeProperties(file, brokerProperties(dir, ports, props)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if _, err := k.Run(ctx, nil, storage, "format", "-t", "bGVhdC1pbnRlcm9wLTAwMQ", "-c", file); err != nil {
		return nil, err
	}
	b, err := k.spawn(addr, filepath.Join(dir, "server.log"), file)
	if err != nil {
		return nil, err
	}
	if err := b.awaitPort(ctx); err != nil {
		b.Stop()
		return nil, err
	}
	return b, nil
}

func (k *Kit) spawn(addr, log, properties string) (*Broker, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the child has its own descriptor
	life, stop := context.WithCancel(context.Background())
	cmd := k.Command(life, 768, broker, properties)
	cmd.Stdout, cmd.Stderr = out, out
	b := &Broker{addr: addr, log: log, cmd: cmd, done: make(chan struct{}), stop: stop}
	if err := cmd.Start(); err != nil {
		stop()
		return nil, err
	}
	go func() {
		b.err = cmd.Wait()
		close(b.done)
	}()
	return b, nil
}

// awaitPort returns once the broker accepts connections, or with the end of its log if it ended or ctx is done.
func (b *Broker) awaitPort(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.DialTimeout("tcp", b.addr, time.Second)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-b.done:
			return fmt.Errorf("broker ended: %w: %s", b.err, b.Log())
		case <-ctx.Done():
			return fmt.Errorf("broker does not answer at %s: %w: %s", b.addr, ctx.Err(), b.Log())
		case <-tick.C:
		}
	}
}

// Addr is the host:port that clients connect to.
func (b *Broker) Addr() string { return b.addr }

// Log returns the end of what the broker has logged.
func (b *Broker) Log() string {
	data, err := os.ReadFile(b.log)
	if err != nil {
		return err.Error()
	}
	return lastBytes(string(data), 4000)
}

// Stop ends the broker and waits for it. It is safe to call more than once.
func (b *Broker) Stop() {
	b.stop()
	<-b.done
}

func brokerProperties(dir string, ports []int, props map[string]string) map[string]string {
	p := map[string]string{
		"process.roles":                    "broker,controller",
		"node.id":                          "1",
		"listeners":                        fmt.Sprintf("PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d", ports[0], ports[1]),
		"controller.listener.names":        "CONTROLLER",
		"controller.quorum.voters":         fmt.Sprintf("1@127.0.0.1:%d", ports[1]),
		"log.dirs":                         filepath.Join(dir, "log"),
		"offsets.topic.replication.factor": "1",
		"transaction.state.log.replication.factor":         "1",
		"transaction.state.log.min.isr":                    "1",
		"share.coordinator.state.topic.replication.factor": "1",
		"share.coordinator.state.topic.min.isr":            "1",
	}
	maps.Copy(p, props)
	return p
}

func writeProperties(file string, p map[string]string) error {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&b, "%s=%s\n", name, p[name])
	}
	return os.WriteFile(file, []byte(b.String()), 0o600)
}

// freePorts asks the kernel for n different loopback ports. Another process may take one before it is used; the broker
// then fails to start and says so.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
