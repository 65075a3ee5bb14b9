package door

import (
	"net"
	"os"
	"os/exec"
	"testing"
)

func TestCallerIsTheProcessThatConnected(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	other := exec.Command("cat") // waits for its input
	if _, err := other.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = accepted.Close() }()
	if got := CallerOf(accepted, []int{0, other.Process.Pid, os.Getpid()}); got != 2 {
		t.Errorf("it is %d", got)
	}
	if got := CallerOf(accepted, []int{0, other.Process.Pid}); got != Stranger {
		t.Errorf("it is %d, though nobody asked about connected", got)
	}
}
