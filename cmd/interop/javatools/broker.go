package javatools

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/leat-stream/leat/localstack/proc"
)

// Broker is a running single-node Apache Kafka broker (KRaft, broker and controller in one process) on 127.0.0.1. The
// goroutine that started it owns it and calls Stop.
type Broker struct {
	Addr string // host:port that clients connect to
	Dir  string // everything that it writes is below this folder, which Stop removes

	process *proc.Process
}

// StartBroker starts a broker in a folder of its own on a free loopback port, with Kafka's defaults except the
// replication factors of internal topics (1: there is one broker) and what props overrides. The broker outlives neither
// Stop nor this process.
func (k *Kit) StartBroker(props map[string]string) (*Broker, error) {
	dir, err := os.MkdirTemp("", "leat-kafka-")
	if err != nil {
		return nil, err
	}
	b := &Broker{Dir: dir}
	if err := b.start(k, props); err != nil {
		b.Stop()
		return nil, err
	}
	return b, nil
}

func (b *Broker) start(k *Kit, props map[string]string) (err error) {
	var controller string
	if err := proc.FillAddresses(&b.Addr, &controller); err != nil {
		return err
	}
	file := filepath.Join(b.Dir, "server.properties")
	if err := writeProperties(file, brokerProperties(b.Dir, b.Addr, controller, props)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), proc.Patience) // for both programs; they take about 5 s on an idle machine
	defer cancel()
	if _, err := k.Run(ctx, nil, storage, "format", "-t", "bGVhdC1pbnRlcm9wLTAwMQ", "-c", file); err != nil {
		return err
	}
	if b.process, err = proc.Start("Apache Kafka at "+b.Addr, k.Command(context.Background(), 768, broker, file)); err != nil {
		return err
	}
	return b.process.Await(ctx, proc.Patience, func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", b.Addr)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// Stop ends the broker, waits for it, and removes what it wrote. It is safe to call more than once.
func (b *Broker) Stop() {
	if b.process != nil {
		_ = b.process.Stop(stopTimeout) // Java exits with 143 after SIGTERM
	}
	_ = os.RemoveAll(b.Dir)
}

func brokerProperties(dir, addr, controller string, props map[string]string) map[string]string {
	p := map[string]string{
		"process.roles":                    "broker,controller",
		"node.id":                          "1",
		"listeners":                        "PLAINTEXT://" + addr + ",CONTROLLER://" + controller,
		"controller.listener.names":        "CONTROLLER",
		"controller.quorum.voters":         "1@" + controller,
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
