//go:build interop

package interop

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leat-stream/leat/cmd/interop/javatools"
	"github.com/leat-stream/leat/localstack/proc"
	"github.com/leat-stream/leat/objectstore/storetest/miniotest"
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
	broker, err := kit(t).StartBroker(map[string]string{
		"group.initial.rebalance.delay.ms": "0",
		"offsets.topic.num.partitions":     "5",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Stop)
	return broker.Addr
}

// leat is an agent, built from this tree. store returns its --store and what must be in its environment.
type leat struct {
	store func(t *testing.T) (url string, env []string)
}

func (l leat) start(t *testing.T) string {
	url, env := l.store(t)
	addr, web := freeAddr(t), freeAddr(t)
	agent := spawn(t, env, binary(t), "agent", "--listen", addr, "--http", web, "--store", url, "--cache-dir", t.TempDir())
	if err := agent.Await(t.Context(), patience, proc.Answers("http://"+web+"/readyz")); err != nil {
		t.Fatal(err)
	}
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
	server := miniotest.Start(t)
	return server.MinioURL("leat"), server.Env()
}

// spawn starts a process that ends with the test: SIGTERM, and SIGKILL 15 s later. Its last output is logged if the test fails.
func spawn(t *testing.T, env []string, name string, args ...string) *proc.Process {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	p, err := proc.Start(filepath.Base(name), cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := p.Stop(15 * time.Second)
		if t.Failed() {
			t.Logf("%s ended: %v\n%s", name, err, p)
		}
	})
	return p
}

// await asks ready until it says yes, for at most patience.
func await(t *testing.T, what string, ready func(context.Context) error) {
	t.Helper()
	if err := proc.Await(t.Context(), patience, ready); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// freeAddr returns a loopback address that nobody listens on, also when an agent is started there again.
func freeAddr(t *testing.T) string {
	t.Helper()
	address, err := proc.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	root, err := proc.Root()
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
