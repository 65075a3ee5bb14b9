//go:build interop

package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leat-stream/leat/cmd/agentproc"
	"github.com/leat-stream/leat/localstack/proc"
	"github.com/leat-stream/leat/metadata/journal/etcd/etcdproc"
)

// patience bounds every wait for something that must happen, on a machine that is as slow as may be.
const patience = 4 * time.Minute

// cluster is several agents over one MinIO, each a process of its own. The goroutine of the test owns it.
type cluster struct {
	store, journal string
	env            []string
	balancer       *balancer // nil: clients know the agents
	agents         []*member
}

// newCluster starts MinIO and, unless the journal is to be in the bucket, an etcd. It has no agents yet.
func newCluster(t *testing.T, journal string) *cluster {
	t.Helper()
	c := &cluster{journal: journal}
	c.store, c.env = minioStore(t)
	if journal == "etcd" {
		server, err := etcdproc.Start(t.Context(), t.TempDir(), etcdproc.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Stop)
		c.journal = server.URL("interop")
	}
	return c
}

// plan adds n agents without starting them. args say more than where to listen and what on.
func (c *cluster) plan(t *testing.T, n int, args ...string) []*member {
	t.Helper()
	for range n {
		m := &member{name: fmt.Sprintf("agent-%d", len(c.agents)), kafka: freeAddr(t), web: freeAddr(t), log: &tail{}}
		m.args = append([]string{
			"agent", "--name", m.name, "--http", m.web, "--store", c.store, "--journal", c.journal, "--cache-memory", "48MiB",
		}, args...)
		if c.balancer == nil {
			m.args = append(m.args, "--listen", m.kafka)
		} else {
			m.args = append(m.args, "--listen", "lb="+m.kafka+"?proxy=v2", "--advertise", "shared="+c.balancer.addr)
		}
		c.agents = append(c.agents, m)
	}
	added := c.agents[len(c.agents)-n:]
	t.Cleanup(func() {
		for _, m := range added {
			m.kill()
			if t.Failed() {
				t.Logf("%s said:\n%s", m.name, m.log)
			}
		}
	})
	return slices.Clone(added)
}

// start starts planned agents and waits until all serve.
func (c *cluster) start(t *testing.T, agents ...*member) {
	t.Helper()
	for _, m := range agents {
		if err := m.launch(binary(t), c.env); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range agents {
		if err := m.process.Await(t.Context(), patience, proc.Answers("http://"+m.web+"/readyz")); err != nil {
			t.Fatal(err)
		}
	}
	c.balancer.await(t, "UP", agents...)
}

// addr is where clients begin.
func (c *cluster) addr() string {
	if c.balancer != nil {
		return c.balancer.addr
	}
	var all []string
	for _, m := range c.agents {
		all = append(all, m.kafka)
	}
	return strings.Join(all, ",")
}

// restart drains an agent and starts it again under the same name and port. It answers when it was told to end, when it had
// ended, and when it served again.
func (c *cluster) restart(t *testing.T, m *member) (told, ended, back time.Time) {
	t.Helper()
	told = time.Now()
	m.drain(t)
	ended = time.Now()
	c.start(t, m)
	return told, ended, time.Now()
}

// member is one agent of a cluster; its process may end and begin again.
type member struct {
	name, kafka, web string
	args             []string
	log              *tail
	process          *proc.Process // nil until it was launched
}

func (m *member) launch(binary string, env []string) (err error) {
	cmd := exec.Command(binary, m.args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = m.log, m.log
	m.process, err = proc.Start(m.name, cmd)
	return err
}

// kill ends the process as a power cut would.
func (m *member) kill() {
	if m.process != nil {
		m.process.Kill()
	}
}

// drain tells the process to stop and waits for its end. An agent that could not close its session in time, on a machine that is too
// busy, says so by its exit code; clients must not notice that either.
func (m *member) drain(t *testing.T) {
	t.Helper()
	if !m.process.Running() {
		t.Fatalf("%s ended by itself: %s", m.name, m.log)
	}
	switch err := m.process.Stop(patience); {
	case errors.Is(err, proc.ErrKilled):
		t.Fatal(err)
	case err != nil:
		t.Logf("after SIGTERM: %v: %s", err, m.log)
	}
}

// metrics scrapes the agent.
func (m *member) metrics(t *testing.T) agentproc.Metrics {
	t.Helper()
	all, err := (&agentproc.Agent{HTTP: m.web}).Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// balancer is a HAProxy that knows nothing of Kafka: it hands every connection to the next agent that says it is ready, and names
// the client in a PROXY header. A second set of checks asks the Kafka listeners themselves, with the header of a balancer that
// speaks for itself (LOCAL).
type balancer struct {
	addr, socket string
}

const haproxyConfig = `
global
  stats socket %[1]s mode 600
  maxconn 1000
defaults
  mode tcp
  retries 3
  option redispatch 1
  timeout connect 2s
  timeout client 1h
  timeout server 1h
  default-server inter 200ms fall 2 rise 1
frontend kafka
  bind %[2]s
  default_backend agents
backend agents
  balance roundrobin
  option httpchk GET /readyz
%[3]sbackend listeners
  option tcp-check
%[4]s`

// balance puts a HAProxy in front of n agents, which are planned and not started.
func (c *cluster) balance(t *testing.T, n int, args ...string) []*member {
	t.Helper()
	dir, err := os.MkdirTemp("", "leat-lb") // short: the path of a socket may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c.balancer = &balancer{addr: freeAddr(t), socket: filepath.Join(dir, "stats")}
	agents := c.plan(t, n, args...)
	var served, listening strings.Builder
	for _, m := range agents {
		_, port, _ := net.SplitHostPort(m.web)
		fmt.Fprintf(&served, "  server %s %s send-proxy-v2 check port %s\n", m.name, m.kafka, port)
		fmt.Fprintf(&listening, "  server %s %s send-proxy-v2 check\n", m.name, m.kafka)
	}
	file := filepath.Join(dir, "haproxy.cfg")
	text := fmt.Sprintf(haproxyConfig, c.balancer.socket, c.balancer.addr, served.String(), listening.String())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	haproxy, err := proc.Installed("haproxy")
	if err != nil {
		t.Fatalf("HAProxy is missing, cmd/interop/setup brings it: %v", err)
	}
	spawn(t, nil, haproxy, "-db", "-f", file)
	return agents
}

// await waits until the balancer's two checks of each agent say the same.
func (b *balancer) await(t *testing.T, want string, agents ...*member) {
	t.Helper()
	if b == nil {
		return
	}
	await(t, fmt.Sprintf("the balancer's view of %d agents as %s", len(agents), want), func(ctx context.Context) error {
		state, err := b.state(ctx)
		if err != nil {
			return err
		}
		for _, m := range agents {
			for _, backend := range []string{"agents", "listeners"} {
				if got := state[backend+"/"+m.name]; got != want {
					return fmt.Errorf("%s in %s is %q", m.name, backend, got)
				}
			}
		}
		return nil
	})
}

// state asks HAProxy for the state of its servers, by backend/server.
func (b *balancer) state(ctx context.Context) (map[string]string, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", b.socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := conn.Write([]byte("show stat -1 4 -1\n")); err != nil {
		return nil, err
	}
	var out strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		out.Write(buf[:n])
		if err != nil {
			break // HAProxy closes after the answer
		}
	}
	state := map[string]string{}
	for line := range strings.Lines(out.String()) {
		if f := strings.Split(line, ","); len(f) > 17 && !strings.HasPrefix(line, "#") {
			state[f[0]+"/"+f[1]] = f[17]
		}
	}
	return state, nil
}

// tail keeps the end of what a process prints, and counts how often it printed a phrase.
type tail struct {
	phrase string // may be empty

	mu     sync.Mutex
	text   []byte
	counts int
}

const tailBytes = 6000

func (o *tail) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	had := max(0, len(o.text)-len(o.phrase)+1) // the phrase may have begun before p
	o.text = append(o.text, p...)
	if o.phrase != "" {
		o.counts += bytes.Count(o.text[had:], []byte(o.phrase))
	}
	if len(o.text) > 2*tailBytes {
		o.text = slices.Clone(o.text[len(o.text)-tailBytes:])
	}
	return len(p), nil
}

// counted is how often the phrase was printed.
func (o *tail) counted() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.counts
}

func (o *tail) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text[max(0, len(o.text)-tailBytes):])
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	await(t, what, func(context.Context) error {
		if !holds() {
			return errors.New("it does not hold")
		}
		return nil
	})
}

// seconds prints a duration for a figure.
func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s" }
