package etcdproc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/leat-stream/leat/localstack/proc"
)

// Member is one member of an etcd. Address is set once; the process is replaced by Start.
type Member struct {
	Address string // host:port for clients, the same after every restart

	peer, health string // host:port for other members, and for ready
	name, dir    string
	cluster      *Cluster

	process *proc.Process // nil until it was launched
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

// Start runs the member again, over what it had stored, and waits until it is ready: for proc.Patience, or as long as ctx. A member
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
	binary, err := proc.Tool("etcd")
	if err != nil {
		return err
	}
	path, err := m.config()
	if err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	cmd := exec.Command(binary, path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for whoever started it
	process, err := proc.Start("etcd at "+m.Address, cmd)
	if err == nil {
		m.process = process
	}
	return err
}

// Running tells whether the process is there.
func (m *Member) Running() bool { return m.process != nil && m.process.Running() }

// Signal sends the process a signal, unless it has ended.
func (m *Member) Signal(s syscall.Signal) {
	if m.process != nil {
		m.process.Signal(s)
	}
}

// Kill kills the process, as kill -9 does, and waits for its end. It may be called again.
func (m *Member) Kill() {
	if m.process != nil {
		m.process.Kill()
	}
}

// wait waits until the member answers requests.
func (m *Member) wait(ctx context.Context) error { return m.process.Await(ctx, proc.Patience, m.ready) }

// ready asks for the health of the member, which includes a linearizable read.
func (m *Member) ready(ctx context.Context) error {
	var health struct{ Health, Reason string }
	err := call(ctx, http.MethodGet, "http://"+m.health+"/health", &health)
	if err == nil && health.Health != "true" {
		err = errors.New(health.Reason)
	}
	return err
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
