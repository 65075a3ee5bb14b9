package proc

import (
	"os"
	"testing"
	"time"
)

// startHolder starts a process that holds the pipe it was given.
func startHolder() {
	cmd := self("holds")
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "pipe")}
	if _, err := Start("holds", cmd); err != nil {
		panic(err)
	}
}

func TestProcessesEndWithAProgramThatIsKilled(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := self("dies")
	cmd.ExtraFiles = []*os.File{w}
	program, err := Start("dies", cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Kill()
	_ = w.Close()
	if err := r.SetReadDeadline(time.Now().Add(Patience)); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 10)
	if n, err := r.Read(said); err != nil || string(said[:n]) != "up\n" {
		t.Fatalf("%q, %v", said[:n], err)
	}
	program.Kill()
	if n, err := r.Read(said); n > 0 || err == nil || os.IsTimeout(err) {
		t.Errorf("what the killed program had started still runs (%q, %v)", said[:n], err)
	}
}
