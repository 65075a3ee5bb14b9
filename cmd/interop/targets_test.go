//go:build interop

package interop

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/leat-stream/leat/cmd/interop/javatools"
)

// target is a server to try: start makes it ready for clients at addr and has it ended when the test ends.
type target interface {
	start(t *testing.T) (addr string)
}

// targets returns those that INTEROP_TARGETS names, by default Leat on each of its stores.
func targets(t *testing.T) map[string]target {
	t.Helper()
	names := os.Getenv("INTEROP_TARGETS")
	if names == "" {
		names = "file,minio"
	}
	chosen := map[string]target{}
	for name := range strings.SplitSeq(names, ",") {
		switch {
		case name == "kafka":
			chosen[name] = apacheKafka{}
		case name == "file":
			chosen[name] = leat{store: fileStore}
		case name == "minio":
			chosen[name] = leat{store: minioStore}
		case strings.Contains(name, ":"):
			chosen[name] = running(name)
		default:
			t.Fatalf("INTEROP_TARGETS: %q is not kafka, file, minio or host:port", name)
		}
	}
	return chosen
}

// running is a server that somebody else started.
type running string

func (r running) start(*testing.T) string { return string(r) }

type apacheKafka struct{}

func (apacheKafka) start(t *testing.T) string {
	broker, err := kit(t).StartBroker(t.TempDir(), map[string]string{
		"group.initial.rebalance.delay.ms": "0",
		"offsets.topic.num.partitions":     "5",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Stop)
	return broker.Addr()
}

// leat is an agent, built from this tree. store returns its --store and what must be in its environment.
type leat struct {
	store func(t *testing.T) (url string, env []string)
}

func (l leat) start(t *testing.T) string {
	url, env := l.store(t)
	addr, web := freeAddr(t), freeAddr(t)
	spawn(t, env, binary(t), "agent", "--listen", addr, "--http", web, "--store", url, "--cache-dir", t.TempDir())
	await(t, "the agent", answers("http://"+web+"/readyz"))
	return addr
}

// TestMain removes what binary has built.
func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

var built struct {
	once sync.Once
	dir  string
	err  error
}

// binary is leat, built from this tree once for all tests.
func binary(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "leat-interop"); built.err != nil {
			return
		}
		build := exec.Command("go", "build", "-o", filepath.Join(built.dir, "leat"), "./cmd/leat")
		build.Dir = moduleRoot(t)
		if out, err := build.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "leat")
}

func fileStore(t *testing.T) (string, []string) { return "file://" + t.TempDir(), nil }

func minioStore(t *testing.T) (string, []string) {
	binary := filepath.Join(moduleRoot(t), ".tools", "minio")
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("MinIO is missing, `make tools` builds it: %v", err)
	}
	const user, password = "interop-user", "interop-password"
	addr, data := freeAddr(t), t.TempDir()
	// A folder in MinIO's own is a bucket.
	if err := os.Mkdir(filepath.Join(data, "interop"), 0o755); err != nil {
		t.Fatal(err)
	}
	spawn(t, []string{"MINIO_ROOT_USER=" + user, "MINIO_ROOT_PASSWORD=" + password},
		binary, "server", data, "--quiet", "--address", addr, "--console-address", freeAddr(t))
	await(t, "MinIO", answers("http://"+addr+"/minio/health/cluster"))
	env := []string{"AWS_ACCESS_KEY_ID=" + user, "AWS_SECRET_ACCESS_KEY=" + password}
	return "minio://" + addr + "/interop/leat?tls=false", env
}

// spawn starts a process that ends with the test: SIGTERM, and SIGKILL 15 s later. Its output is logged if the test fails.
func spawn(t *testing.T, env []string, name string, args ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended, which Wait says better
		kill := time.AfterFunc(15*time.Second, func() { cmd.Process.Kill() })
		defer kill.Stop()
		err := cmd.Wait()
		log.Close()
		if !t.Failed() {
			return
		}
		if out, readErr := os.ReadFile(log.Name()); readErr == nil {
			t.Logf("%s ended: %v\n%s", filepath.Base(name), err, out[max(0, len(out)-4000):])
		}
	})
}

// answers asks whether url is answered with 200.
func answers(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answers %s", url, resp.Status)
		}
		return nil
	}
}

// await asks ready every 100 ms until it says yes, for at most 60 s.
func await(t *testing.T, what string, ready func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s is not ready: %v", what, err)
		}
	}
}

// freeAddr returns a loopback address that nobody listened on a moment ago, below the ports that systems give to outgoing
// connections: an agent that is started again must find its port free.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(12_000+rand.IntN(18_000)))
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	root, err := javatools.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func kit(t *testing.T) *javatools.Kit {
	t.Helper()
	k, err := javatools.Find()
	if err != nil {
		t.Fatal(err)
	}
	return k
}
