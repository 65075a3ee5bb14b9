package main

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// world is a door before an agent that sends back what it gets. Whoever connects is taken for agent 1.
type world struct {
	t      *testing.T
	door   *door
	exited chan struct{}
	over   sync.WaitGroup
}

func newWorld(t *testing.T) *world {
	t.Helper()
	agent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d, err := newDoor(agent.Addr().String(), func(net.Conn) int { return 1 })
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, door: d, exited: make(chan struct{})}
	w.over.Go(func() {
		for {
			c, err := agent.Accept()
			if err != nil {
				return
			}
			w.over.Go(func() {
				defer func() { _ = c.Close() }()
				_, _ = io.Copy(c, c)
			})
		}
	})
	w.over.Go(func() {
		if err := d.attend(w.exited); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		_ = agent.Close()
		close(w.exited)
		d.close()
		w.over.Wait()
	})
	return w
}

// dial connects, and waits until the door is open.
func (w *world) dial() net.Conn {
	w.t.Helper()
	for {
		c, err := net.Dial("tcp", w.door.address)
		if err == nil {
			w.t.Cleanup(func() { _ = c.Close() })
			return c
		}
		if w.t.Context().Err() != nil || !errors.Is(err, syscall.ECONNREFUSED) {
			w.t.Fatal(err)
		}
	}
}

// echo sends text and answers what came back within a while.
func (w *world) echo(c net.Conn, text string, patience time.Duration) (string, error) {
	if _, err := c.Write([]byte(text)); err != nil {
		return "", err
	}
	return w.get(c, len(text), patience)
}

func (w *world) get(c net.Conn, n int, patience time.Duration) (string, error) {
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		w.t.Fatal(err)
	}
	back := make([]byte, n)
	n, err := io.ReadFull(c, back)
	return string(back[:n]), err
}

// How long to wait for what must come, and for what must not.
const (
	long  = time.Minute
	brief = 50 * time.Millisecond
)

func TestDoorHoldsWhatIsSentAndDeliversItLate(t *testing.T) {
	w := newWorld(t)
	c := w.dial()
	if got, err := w.echo(c, "one", long); got != "one" || err != nil {
		t.Fatal(got, err)
	}
	for _, held := range []trouble{lost, {holds: [2]int{there: 1}}, {holds: [2]int{back: 1}}} {
		w.door.suffer(2, held, 1)
		if got, err := w.echo(c, "free", long); got != "free" || err != nil {
			t.Errorf("held, though another agent is: %q, %v", got, err)
		}
		w.door.suffer(1, held, 1)
		w.door.suffer(1, held, 1) // by another fault
		if got, err := w.echo(c, "late", brief); got != "" || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("not held: %q, %v", got, err)
		}
		w.door.suffer(1, held, -1)
		if got, err := w.get(c, 4, brief); got != "" || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("not held any more after one of two faults: %q, %v", got, err)
		}
		w.door.suffer(1, held, -1)
		if got, err := w.get(c, 4, long); got != "late" || err != nil {
			t.Errorf("lost: %q, %v", got, err)
		}
		w.door.suffer(2, held, -1)
	}
}

func TestDoorHoldsTheEndOfAConnection(t *testing.T) {
	w := newWorld(t)
	c := w.dial()
	if got, err := w.echo(c, "one", long); got != "one" || err != nil {
		t.Fatal(got, err)
	}
	w.door.suffer(1, lost, 1)
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.get(c, 1, brief); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the end came through: %v", err)
	}
	w.door.suffer(1, lost, -1)
	if _, err := w.get(c, 1, long); !errors.Is(err, io.EOF) {
		t.Errorf("the end did not come: %v", err)
	}
}

func TestDoorDelays(t *testing.T) {
	w := newWorld(t)
	c := w.dial()
	w.door.suffer(1, trouble{delay: brief}, 1)
	began := time.Now()
	if got, err := w.echo(c, "slow", long); got != "slow" || err != nil || time.Since(began) < 2*brief {
		t.Errorf("%q after %s, %v", got, time.Since(began), err)
	}
}

func TestDoorResets(t *testing.T) {
	w := newWorld(t)
	c := w.dial()
	if got, err := w.echo(c, "one", long); got != "one" || err != nil {
		t.Fatal(got, err)
	}
	w.door.suffer(2, trouble{resets: 1}, 1)
	if got, err := w.echo(c, "two", long); got != "two" || err != nil {
		t.Errorf("reset, though another agent is: %q, %v", got, err)
	}
	w.door.suffer(1, trouble{resets: 1}, 1)
	if _, err := w.get(c, 1, long); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("not reset: %v", err)
	}
	if _, err := w.get(w.dial(), 1, long); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a new one is not reset: %v", err)
	}
	w.door.suffer(1, trouble{resets: 1}, -1)
	if got, err := w.echo(w.dial(), "again", long); got != "again" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestDoorIsClosedWhileItIsShutAndWhenTheAgentIsGone(t *testing.T) {
	w := newWorld(t)
	c := w.dial()
	if got, err := w.echo(c, "one", long); got != "one" || err != nil {
		t.Fatal(got, err)
	}
	if err := w.door.shut(true); err != nil {
		t.Fatal(err)
	}
	if _, err := w.get(c, 1, long); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("not reset: %v", err)
	}
	if _, err := net.Dial("tcp", w.door.address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("not refused: %v", err)
	}
	if err := w.door.shut(false); err != nil {
		t.Fatal(err)
	}
	if got, err := w.echo(w.dial(), "again", long); got != "again" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	close(w.exited)
	for {
		c, err := net.Dial("tcp", w.door.address)
		if err != nil {
			break
		}
		_ = c.Close()
	}
	w.exited = make(chan struct{})
	w.over.Go(func() { _ = w.door.attend(w.exited) })
	if got, err := w.echo(w.dial(), "reborn", long); got != "reborn" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestCallerIsTheProcessThatConnected(t *testing.T) {
	if !knowsCallers {
		t.Skip("this system does not tell who connects")
	}
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
	if got := caller(accepted, []int{0, other.Process.Pid, os.Getpid()}); got != 2 {
		t.Errorf("it is %d", got)
	}
	if got := caller(accepted, []int{0, other.Process.Pid}); got != stranger {
		t.Errorf("it is %d, though nobody asked about connected", got)
	}
}

func TestFaultsBetweenAgentsLastAndAreUndone(t *testing.T) {
	for name, c := range map[string]struct {
		pick func(*bed, *slot, fault) []line
		want int
	}{"into": {into, 4}, "around": {around, 6}, "everywhere": {everywhere, 12}, "out of": {outOf, 1}, "between": {between, 2}} {
		synctest.Test(t, func(t *testing.T) {
			b := &bed{plan: plan{agents: 2}}
			for n := range 3 {
				b.slots = append(b.slots, &slot{number: n, door: &door{troubles: map[int]trouble{}, changed: make(chan struct{})}})
			}
			suffering := func() (lines int) {
				for _, s := range b.slots {
					s.door.mu.Lock()
					for _, now := range s.door.troubles {
						if now == lost {
							lines++
						} else if now != (trouble{}) {
							t.Errorf("%s: %+v", name, now)
						}
					}
					s.door.mu.Unlock()
				}
				return lines
			}
			done := make(chan error, 1)
			go func() {
				done <- troubled(c.pick, lost)(t.Context(), b, b.slots[1], fault{victim: 1, other: 0, length: time.Second})
			}()
			synctest.Wait()
			if got := suffering(); got != c.want {
				t.Errorf("%s: %d lines suffer in place of %d", name, got, c.want)
			}
			if err := <-done; err != nil || suffering() != 0 {
				t.Errorf("%s: %d lines suffer when all is over, %v", name, suffering(), err)
			}
		})
	}
}
