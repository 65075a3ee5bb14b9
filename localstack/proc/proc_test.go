package proc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// roles are what this test binary does as a process that a test started.
var roles = map[string]func(){
	"fails": func() { fmt.Println("no bucket"); os.Exit(3) },
	"obeys": func() { await := told(); fmt.Println("up"); <-await },
	"stays": func() { signal.Ignore(syscall.SIGTERM); fmt.Println("up"); <-time.After(2 * Patience) },
	"talks": func() { fmt.Println(strings.Repeat("words\n", 100<<10), "the end"); fmt.Println("up"); <-told() },
	"dies":  func() { startHolder(); <-time.After(2 * Patience) },
	"holds": func() {
		pipe := os.NewFile(3, "pipe")
		_, _ = pipe.WriteString("up\n")
		<-time.After(2 * Patience)
		runtime.KeepAlive(pipe) // else it may be closed, and its end pass for that of the process
	},
	"leaves": func() {
		await, child := told(), self("outlives")
		child.Stdin, child.Stdout = os.Stdin, os.Stdout
		if err := child.Start(); err != nil {
			panic(err)
		}
		<-await
	},
	"outlives": func() { fmt.Println("up"); _, _ = io.Copy(io.Discard, os.Stdin) },
}

func told() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	return c
}

func TestMain(m *testing.M) {
	if role := roles[os.Getenv("PROC_ROLE")]; role != nil {
		role()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func self(role string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PROC_ROLE="+role)
	return cmd
}

func start(t *testing.T, role string) *Process {
	t.Helper()
	p, err := Start(role, self(role))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// up waits until the process has said that it is.
func up(t *testing.T, p *Process) {
	t.Helper()
	err := p.Await(t.Context(), Patience, func(context.Context) error {
		if !strings.HasSuffix(p.String(), "up") {
			return errors.New("not up")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestWaitEndsWithTheProcessAndTellsItsLastWords(t *testing.T) {
	for name, answer := range map[string]error{"not ready": errors.New("no"), "another one ready": nil} {
		p := start(t, "fails")
		if answer == nil {
			<-p.Done()
		}
		err := p.Await(t.Context(), time.Hour, func(context.Context) error { return answer })
		if err == nil || !strings.Contains(err.Error(), "fails ended") || !strings.Contains(err.Error(), "status 3") || !strings.Contains(err.Error(), "no bucket") {
			t.Errorf("%s: %v", name, err)
		}
		if p.Running() || p.ExitCode() != 3 || p.Stop(time.Hour) == nil {
			t.Errorf("%s: a process that failed passes for one that runs, or ended well", name)
		}
	}
}

func TestWaitEndsInTime(t *testing.T) {
	p := start(t, "obeys")
	up(t, p)
	reason := errors.New("still loading")
	no := func(context.Context) error { return reason }
	err := p.Await(t.Context(), time.Millisecond, no)
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, reason) || !strings.Contains(err.Error(), "up") {
		t.Errorf("after its patience: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Await(ctx, time.Hour, no); !errors.Is(err, context.Canceled) || !errors.Is(err, reason) {
		t.Errorf("after the end of its context: %v", err)
	}
}

func TestStopAsksFirstAndKillsThen(t *testing.T) {
	p := start(t, "obeys")
	up(t, p)
	for range 2 {
		if err := p.Stop(time.Hour); err != nil {
			t.Error(err)
		}
	}
	p = start(t, "stays")
	up(t, p)
	if code := p.ExitCode(); code != -1 {
		t.Errorf("it runs, and has exited with %d", code)
	}
	if err := p.Stop(time.Millisecond); !errors.Is(err, ErrKilled) {
		t.Errorf("a process that does not heed SIGTERM: %v", err)
	}
	if p.Running() {
		t.Error("it still runs")
	}
	p.Kill()
}

func TestAProcessWhoseOutputAChildHoldsWasNotKilled(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close() // ends the child
	cmd := self("leaves")
	cmd.Stdin, cmd.WaitDelay = r, time.Second
	p, err := Start("leaves", cmd)
	_ = r.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	up(t, p)
	p.Signal(syscall.SIGTERM)
	err = Await(t.Context(), Patience, func(context.Context) error {
		if !errors.Is(p.cmd.Process.Signal(syscall.SIGTERM), os.ErrProcessDone) {
			return errors.New("it has not exited")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(time.Millisecond); errors.Is(err, ErrKilled) || !errors.Is(err, exec.ErrWaitDelay) || p.ExitCode() != 0 {
		t.Errorf("%v, exit code %d", err, p.ExitCode())
	}
}

func TestTheLastOutputIsKept(t *testing.T) {
	p := start(t, "talks")
	up(t, p)
	if said := p.String(); len(said) > tailSize || !strings.Contains(said, "the end") {
		t.Errorf("%d bytes that end with %q", len(said), said[max(0, len(said)-20):])
	}
}

func TestOutputGoesWhereTheCommandSays(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd := self("fails")
	cmd.Stdout = file
	p, err := Start("fails", cmd)
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if text, err := os.ReadFile(file.Name()); err != nil || string(text) != "no bucket\n" || p.String() != "" {
		t.Errorf("the file has %q (%v), the process %q", text, err, p)
	}
}

func TestAddressesAreFreeAndGivenOnce(t *testing.T) {
	seen := map[string]bool{}
	for range 50 {
		given, address := "10.0.0.1:1", ""
		if err := FillAddresses(&given, &address); err != nil {
			t.Fatal(err)
		}
		if given != "10.0.0.1:1" {
			t.Errorf("%s has taken the place of an address that was given", given)
		}
		if seen[address] {
			t.Errorf("%s again", address)
		}
		seen[address] = true
		if held, err := net.ListenPacket("udp", address); err == nil {
			_ = held.Close()
			t.Errorf("%s: another program could be given it too", address)
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatalf("not free: %v", err)
		}
		_ = l.Close()
	}
}

func TestToolsAreBesideTheModule(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	below := filepath.Join(root, "a", "b")
	if err := errors.Join(os.MkdirAll(below, 0o755), os.Mkdir(filepath.Join(root, ".tools"), 0o755),
		os.WriteFile(filepath.Join(root, "go.mod"), nil, 0o600), os.WriteFile(filepath.Join(root, ".tools", "minio"), nil, 0o700)); err != nil {
		t.Fatal(err)
	}
	t.Chdir(below)
	if found, err := Tool("minio"); err != nil || found != filepath.Join(root, ".tools", "minio") {
		t.Errorf("%q, %v", found, err)
	}
	if found, err := Tool("etcd"); err == nil || !strings.Contains(err.Error(), "make tools") {
		t.Errorf("%q, %v", found, err)
	}
}
