//go:build image

package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leat-stream/leat/localstack/proc"
)

// composition is a compose file as an engine understands it.
type composition struct {
	Services map[string]service
	Volumes  map[string]any
}

type service struct {
	Image, User string
	Command     []string
	Environment map[string]string
	Build       *struct{ Context, Dockerfile string }
	ReadOnly    bool     `json:"read_only"`
	CapDrop     []string `json:"cap_drop"`
	SecurityOpt []string `json:"security_opt"`
	Privileged  bool
	Tmpfs       []string
	NetworkMode string `json:"network_mode"`
	Volumes     []struct{ Type, Source, Target string }
	Ports       []struct {
		HostIP string `json:"host_ip"`
	}
	DependsOn    map[string]struct{ Condition string } `json:"depends_on"`
	StopGrace    string                                `json:"stop_grace_period"`
	HealthCheck  *struct{ Test []string }
	FreeEntrance []string `json:"entrypoint"`
}

// readCompose checks a compose file with compose-go, the reader that docker compose itself has, and answers what it understands.
func readCompose(t *testing.T, file string) (c composition) {
	t.Helper()
	cmd := exec.Command("../../.tools/composego", "-format", "json", filepath.Join(moduleRoot, file))
	cmd.Env = []string{} // the file's own defaults
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if errors.Is(err, os.ErrNotExist) {
		t.Fatalf("compose-go is missing, `make image` builds it: %v", err)
	}
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%s: %v %s", file, err, stderr.String())
	}
	if err := json.Unmarshal(out, &c); err != nil {
		t.Fatalf("%s: %v\n%s", file, err, out)
	}
	return c
}

// agents answers the services that run the image.
func (c composition) agents() (names []string) {
	for name, s := range c.Services {
		if s.Build != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// exactly matches an image that is named by registry, repository and a tag that is not moved to another release.
var exactly = regexp.MustCompile(`^[a-z0-9.]+\.[a-z]+/[a-z0-9/-]+:(\d+\.\d+\.\d+|RELEASE\.\d{4}-)[\w.-]*(@sha256:[0-9a-f]{64})?$`)

func TestComposeGivesNobodyMoreThanItNeeds(t *testing.T) {
	c := readCompose(t, "compose.yaml")
	if len(c.agents()) != 3 || len(c.Volumes) != 1 {
		t.Errorf("agents %v, volumes %v", c.agents(), c.Volumes)
	}
	_, stages := readDockerfile(t)
	for name, s := range c.Services {
		if s.Privileged || !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s: privileged %v, read-only %v, dropped capabilities %v, %v", name, s.Privileged, s.ReadOnly, s.CapDrop, s.SecurityOpt)
		}
		if s.Build == nil && !exactly.MatchString(s.Image) {
			t.Errorf("%s runs %s: want an exact tag", name, s.Image)
		}
		if s.Build != nil && (s.User != stages[1].only(t, "USER") || s.DependsOn["minio"].Condition != "service_healthy") {
			t.Errorf("%s runs as %s, after %v", name, s.User, s.DependsOn)
		}
		if root := strings.HasPrefix(s.User, "0") || s.User == ""; root && s.NetworkMode != "none" {
			t.Errorf("%s is root and has a network", name)
		}
		for _, p := range s.Ports {
			if p.HostIP != "127.0.0.1" {
				t.Errorf("%s listens on %q of this machine", name, p.HostIP)
			}
		}
		for _, v := range s.Volumes {
			if v.Type == "volume" && (v.Source != "minio" || !strings.HasPrefix(name, "minio")) {
				t.Errorf("%s keeps something in the volume %s", name, v.Source)
			}
		}
	}
	for _, name := range c.agents() {
		agent, minio := c.Services[name].Environment, c.Services["minio"].Environment
		if agent["AWS_ACCESS_KEY_ID"] != minio["MINIO_ROOT_USER"] || agent["AWS_SECRET_ACCESS_KEY"] != minio["MINIO_ROOT_PASSWORD"] {
			t.Errorf("%s has another key pair than MinIO", name)
		}
		if got := c.Services["balancer"].DependsOn[name].Condition; got != "service_healthy" {
			t.Errorf("the balancer starts when %s is %q", name, got)
		}
	}
}

func TestLocalStackComposeIsValid(t *testing.T) {
	c := readCompose(t, "localstack/compose.yaml")
	s := c.Services["localstack"]
	if len(c.Services) != 1 || !exactly.MatchString(s.Image) || s.HealthCheck == nil || len(s.Ports) != 1 || s.Ports[0].HostIP != "127.0.0.1" {
		t.Errorf("%+v", c)
	}
	pinned, err := os.ReadFile(filepath.Join(moduleRoot, "localstack/requirements.txt"))
	_, version, _ := strings.Cut(s.Image, ":")
	if err != nil || !strings.Contains(string(pinned), "localstack-core[runtime]=="+version+"\n") {
		t.Errorf("%s and requirements.txt are not of one version (%v)", s.Image, err)
	}
}

// TestComposeServes runs compose.yaml without containers: its three agents in the image's root folder with its environment, commands and
// tmpfs, behind a HAProxy with its configuration, over a MinIO. A producer goes on while an agent is killed.
//
// Because all share one loopback device, 0.0.0.0 is each agent's own address, and the balancer binds localhost only. Names are found as in an
// engine.
func TestComposeServes(t *testing.T) {
	c := readCompose(t, "compose.yaml")
	command := c.Services["minio"].Command
	if !slices.Contains(command, ":9000") {
		t.Fatalf("MinIO is started with %v", command)
	}
	server := startMinio(t, addresses["minio"]+":9000")
	// minioproc makes the bucket of this name, as minio-folder does.
	if entry := strings.Join(c.Services["minio-folder"].FreeEntrance, " "); !strings.Contains(entry, "/data/"+server.Bucket+" ") {
		t.Errorf("minio-folder makes another bucket: %s", entry)
	}
	agents := map[string]*container{}
	for _, name := range c.agents() {
		s := c.Services[name]
		var env []string
		for variable, value := range s.Environment {
			env = append(env, variable+"="+value)
		}
		a := newContainer(t, merged(env, server.Env())) // its key pair is minioproc's own
		for i := range a.env {
			a.env[i] = strings.ReplaceAll(a.env[i], "0.0.0.0:", addresses[name]+":")
		}
		if len(s.Tmpfs) != 1 {
			t.Fatalf("%s has tmpfs %v", name, s.Tmpfs)
		}
		a.start(t, s.Tmpfs[0], s.Command...)
		agents[name] = a
	}
	for _, a := range agents {
		a.ready(t)
	}
	startBalancer(t)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	const topic, half = "compose", 500
	client := newClient(t, "localhost:9092", kgo.DefaultProduceTopic(topic), kgo.MaxBufferedRecords(100))
	admin := kadm.NewClient(client)
	if _, err := admin.CreateTopic(ctx, 1, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	brokers, err := admin.ListBrokers(ctx)
	if err != nil || len(brokers) != 1 || brokers[0].Host != "localhost" || brokers[0].Port != 9092 {
		t.Errorf("clients are told of %+v, %v", brokers, err)
	}
	produce(ctx, t, client, 0, half)
	agents["agent-a"].process.Kill() // the one that leads, or another: clients must not care
	produce(ctx, t, client, half, 2*half)
	wantRecords(ctx, t, "localhost:9092", topic, 2*half)
	for _, name := range []string{"agent-b", "agent-c"} {
		agents[name].stop(t)
	}
}

// startBalancer checks and runs HAProxy with the configuration of compose.yaml, until the test ends.
func startBalancer(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(moduleRoot, "localstack/haproxy.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	const bind = "bind :9092\n"
	if strings.Count(string(text), bind) != 1 {
		t.Fatalf("haproxy.cfg has no single %q", bind)
	}
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), bind, "bind 127.0.0.1:9092\n", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	haproxy, err := proc.Installed("haproxy")
	if err != nil {
		t.Fatalf("HAProxy is missing, cmd/image/setup brings it: %v", err)
	}
	if out, err := exec.Command(haproxy, "-c", "-f", file).CombinedOutput(); err != nil || strings.Contains(string(out), "WARNING") {
		t.Fatalf("haproxy -c: %v\n%s", err, out)
	}
	balancer, err := proc.Start("HAProxy", exec.Command(haproxy, "-db", "-f", file))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = balancer.Stop(15 * time.Second)
		if t.Failed() {
			t.Logf("HAProxy said:\n%s", balancer)
		}
	})
	err = balancer.Await(t.Context(), patience, func(ctx context.Context) error { // until it reaches an agent
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		client, err := kgo.NewClient(kgo.SeedBrokers("127.0.0.1:9092"))
		if err != nil {
			return fmt.Errorf("client: %w", err)
		}
		defer client.Close()
		return client.Ping(ctx)
	})
	if err != nil {
		t.Fatal(err)
	}
}
