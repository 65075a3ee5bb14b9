package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leat-stream/leat/localstack/proc"
)

// executable is the real leat, built once for all tests.
var executable string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "leat-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		executable = filepath.Join(dir, "leat")
		build := []string{"build", "-o", executable}
		if raceDetector {
			build = append(build, "-race")
		}
		if out, err := exec.Command("go", append(build, ".")...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build leat: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// patience bounds every wait for something that must happen, on a machine that is as slow as may be.
const patience = 3 * time.Minute

// process is a leat that was started; it is killed at the end of the test if it still runs.
type process struct {
	*proc.Process
	t          *testing.T
	stdout     output
	stderr     output
	addr, http string // set by serving
}

// launch starts leat with settings of its own only: nothing of the environment's LEAT_… reaches it.
func launch(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p, cmd := &process{t: t}, exec.Command(executable, args...)
	cmd.Dir = t.TempDir()
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "LEAT_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdout, cmd.Stderr = &p.stdout, &p.stderr
	var err error
	if p.Process, err = proc.Start("leat", cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%v said:\n%s", args, p.stderr.last(4000))
		}
	})
	return p
}

// run waits for the end of leat and answers its exit code.
func run(t *testing.T, env []string, args ...string) (p *process, code int) {
	t.Helper()
	p = launch(t, env, args...)
	return p, p.end()
}

// startAgent runs `leat agent` on free ports, unless args say otherwise, until it serves.
func startAgent(t *testing.T, args ...string) *process {
	t.Helper()
	return launch(t, nil, agentArgs(args...)...).serving()
}

func agentArgs(args ...string) []string {
	all := []string{"agent", "--http", "127.0.0.1:0", "--cache-memory", "48MiB"}
	if !strings.Contains(strings.Join(args, " "), "--listen") {
		all = append(all, "--listen", "127.0.0.1:0")
	}
	return append(all, args...)
}

var servingLine = regexp.MustCompile(`msg=serving .*listen=(\S+) .*http=(\S+) `)

// serving waits until the agent says that it serves.
func (p *process) serving() *process {
	p.t.Helper()
	p.until("it serves", func() bool {
		m := servingLine.FindStringSubmatch(p.stderr.String())
		if m != nil {
			p.addr, p.http = m[1], m[2]
		}
		return m != nil
	})
	return p
}

// until waits for a condition, and fails at once if the process ends.
func (p *process) until(what string, holds func() bool) {
	p.t.Helper()
	eventually(p.t, what, func() bool {
		if holds() {
			return true
		}
		if !p.Running() {
			if !holds() {
				p.t.Fatalf("leat ended before %s; it said:\n%s", what, p.stderr.last(4000))
			}
			return true
		}
		return false
	})
}

// end waits for the process to end by itself and answers its exit code.
func (p *process) end() int {
	p.t.Helper()
	select {
	case <-p.Done():
	case <-time.After(patience):
		p.t.Fatalf("leat did not end; it said:\n%s", p.stderr.last(4000))
	}
	return p.ExitCode()
}

// drain asks the process to stop and answers how long it took; the test fails unless it exits with 0.
func (p *process) drain() time.Duration {
	p.t.Helper()
	began := time.Now()
	p.alive()
	p.Signal(syscall.SIGTERM)
	if code := p.end(); code != 0 {
		p.t.Errorf("exit code %d after SIGTERM; it said:\n%s", code, p.stderr.last(4000))
	}
	return time.Since(began)
}

// alive fails the test if the process has ended.
func (p *process) alive() {
	p.t.Helper()
	if !p.Running() {
		p.t.Fatalf("leat ended; it said:\n%s", p.stderr.last(4000))
	}
}

// get answers a page of the HTTP listener, "" if there is none.
func (p *process) get(path string) string {
	resp, err := http.Get("http://" + p.http + path)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return string(body)
}

// client makes a kgo client of an address, closed when the test ends.
func client(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(addr), kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.AlwaysRetryEOF(), // else a connection that dies with its first request passes for a refused login
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// freeAddress answers an address that nothing listens on, for an agent that is to come back where it was.
func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := proc.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// bounded is the test's context with patience.
func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// oneError fails the test unless p ended with a failure and exactly one line on its standard error, which has all parts.
func oneError(t *testing.T, p *process, code int, parts ...string) {
	t.Helper()
	text := p.stderr.String()
	if code == 0 || code == -1 {
		t.Errorf("exit code %d", code)
	}
	if strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "leat: ") {
		t.Errorf("want one line that begins with leat:, got\n%s", text)
	}
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in %s", part, text)
		}
	}
	if strings.Contains(text, "panic") || strings.Contains(text, "goroutine ") {
		t.Errorf("it crashed: %s", text)
	}
}

// output keeps what a process prints.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// last answers at most the last n bytes.
func (o *output) last(n int) string {
	s := o.String()
	return s[max(0, len(s)-n):]
}
