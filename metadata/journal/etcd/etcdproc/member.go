package etcdproc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Member is one member of an etcd. Address is set once; the process is replaced by Start.
type Member struct {
	Address string // host:port for clients, the same after every restart

	peer, health string // host:port for other members, and for ready
	name, dir    string
	cluster      *Cluster

	process *exec.Cmd     // nil until it was launched
	exited  chan struct{} // closed when the process has ended
	output  tail
}

// config writes what the member is told, in etcd's own words.
func (m *Member) config() (path string, err error) {
	var initial []string
	for _, other := range m.cluster.Members {
		initial = append(initial, other.name+"=http://"+other.peer)
	}
	c := map[string]any{
		"name": m.name, "data-dir": filepath.Join(m.dir, "data"), "log-level": "warn",
		"listen-client-urls": m.url(), "advertise-client-urls": m.url(),
		"listen-peer-urls": "http://" + m.peer, "initial-advertise-peer-urls": "http://" + m.peer,
		"initial-cluster": strings.Join(initial, ","), "initial-cluster-token": m.cluster.Members[0].peer,
		"listen-metrics-urls": "http://" + m.health, // what asks whether the member is ready has no certificate
	}
	if o := m.cluster.options; o.Cert != "" {
		c["client-transport-security"] = map[string]any{
			"trusted-ca-file": o.CA, "cert-file": o.Cert, "key-file": o.Key, "client-cert-auth": true,
		}
	}
	b, err := json.Marshal(c) // which is YAML
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return "", err
	}
	path = filepath.Join(m.dir, "etcd.yaml")
	return path, os.WriteFile(path, b, 0o600)
}

func (m *Member) url() string { return m.cluster.scheme + "://" + m.Address }

// Start runs the member again, over what it had stored, and waits until it is ready: at most 30 s, or as long as ctx. A member
// is ready when the cluster has a leader, so of members that make a quorum only together all but the last are for Launch.
func (m *Member) Start(ctx context.Context) error {
	if err := m.Launch(); err != nil {
		return err
	}
	return m.wait(ctx)
}

// Launch runs the member again, over what it had stored, without waiting for anything.
func (m *Member) Launch() error {
	if m.Running() {
		return fmt.Errorf("etcd at %s runs already", m.Address)
	}
	path, err := m.config()
	if err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	m.process = exec.Command(m.cluster.options.Binary, path)
	m.process.Stdout, m.process.Stderr = &m.output, &m.output
	m.process.SysProcAttr = attributes()
	if err := m.process.Start(); err != nil {
		m.process = nil
		return fmt.Errorf("start etcd: %w", err)
	}
	process, exited := m.process, make(chan struct{})
	m.exited = exited
	go func() { // owned by m; ends with the process, which Kill kills
		_ = process.Wait()
		close(exited)
	}()
	return nil
}

// Running tells whether the process is there.
func (m *Member) Running() bool {
	if m.process == nil {
		return false
	}
	select {
	case <-m.exited:
		return false
	default:
		return true
	}
}

// PID is the member's process, for signals. 0 before it was ever started.
func (m *Member) PID() int {
	if m.process == nil {
		return 0
	}
	return m.process.Process.Pid
}

// Kill kills the process, as kill -9 does, and waits for its end. It may be called again.
func (m *Member) Kill() {
	if m.process == nil {
		return
	}
	_ = m.process.Process.Kill()
	<-m.exited
}

// wait waits until the member answers requests.
func (m *Member) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for !m.ready(ctx) {
		if !m.Running() {
			return fmt.Errorf("etcd at %s ended at once; it said: %s", m.Address, &m.output)
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("etcd at %s is not ready: %w; it said: %s", m.Address, err, &m.output)
		}
	}
	return nil
}

// ready asks for the health of the member, which includes a linearizable read.
func (m *Member) ready(ctx context.Context) bool {
	var health struct{ Health string }
	return call(ctx, http.MethodGet, "http://"+m.health+"/health", &health) == nil && health.Health == "true"
}

// status answers the member's id and whom it takes for the leader; "" if it does not answer.
func (m *Member) status(ctx context.Context) (id, leader string) {
	var s struct {
		Header struct {
			Member string `json:"member_id"`
		}
		Leader string
	}
	if call(ctx, http.MethodPost, m.url()+"/v3/maintenance/status", &s) != nil {
		return "", ""
	}
	return s.Header.Member, s.Leader
}

// call makes one HTTP request and decodes the answer.
func call(ctx context.Context, method, url string, to any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader("{}"))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return json.NewDecoder(response.Body).Decode(to)
}

// pause waits a little before a condition is looked at again.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(20 * time.Millisecond):
		return nil
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
