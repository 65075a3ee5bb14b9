package door

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/leat-stream/leat/localstack/proc"
)

// world is a door before an agent that sends back what it gets. Whoever connects is taken for agent 1.
type world struct {
	t      *testing.T
	door   *Door
	exited chan struct{}
	over   sync.WaitGroup
}

func newWorld(t *testing.T) *world {
	t.Helper()
	agent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	own, err := proc.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	d := New(own, agent.Addr().String(), func(net.Conn) int { return 1 })
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
		if err := d.Attend(w.exited); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		_ = agent.Close()
		close(w.exited)
		d.Close()
		w.over.Wait()
	})
	return w
}

// dial connects, and waits until the door is open.
func (w *world) dial() net.Conn {
	w.t.Helper()
	for {
		c, err := net.Dial("tcp", w.door.Address())
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
	for _, held := range []Trouble{Lost, {Holds: [2]int{There: 1}}, {Holds: [2]int{Back: 1}}} {
		w.door.Suffer(2, held, 1)
		if got, err := w.echo(c, "free", long); got != "free" || err != nil {
			t.Errorf("held, though another agent is: %q, %v", got, err)
		}
		w.door.Suffer(1, held, 1)
		w.door.Suffer(1, held, 1) // by another fault
		if got, err := w.echo(c, "late", brief); got != "" || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("not held: %q, %v", got, err)
		}
		w.door.Suffer(1, held, -1)
		if got, err := w.get(c, 4, brief); got != "" || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("not held any more after one of two faults: %q, %v", got, err)
		}
		w.door.Suffer(1, held, -1)
		if got, err := w.get(c, 4, long); got != "late" || err != nil {
			t.Errorf("Lost: %q, %v", got, err)
		}
		w.door.Suffer(2, held, -1)
	}
}

func TestDoorHoldsTheEndOfAConnection(t *testing.T) {
	w := newWorld(t)
	c := w.dial()
	if got, err := w.echo(c, "one", long); got != "one" || err != nil {
		t.Fatal(got, err)
	}
	w.door.Suffer(1, Lost, 1)
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.get(c, 1, brief); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the end came through: %v", err)
	}
	w.door.Suffer(1, Lost, -1)
	if _, err := w.get(c, 1, long); !errors.Is(err, io.EOF) {
		t.Errorf("the end did not come: %v", err)
	}
}

func TestDoorDelays(t *testing.T) {
	w := newWorld(t)
	c := w.dial()
	w.door.Suffer(1, Trouble{Delay: brief}, 1)
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
	w.door.Suffer(2, Trouble{Resets: 1}, 1)
	if got, err := w.echo(c, "two", long); got != "two" || err != nil {
		t.Errorf("reset, though another agent is: %q, %v", got, err)
	}
	w.door.Suffer(1, Trouble{Resets: 1}, 1)
	if _, err := w.get(c, 1, long); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("not reset: %v", err)
	}
	if _, err := w.get(w.dial(), 1, long); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a new one is not reset: %v", err)
	}
	w.door.Suffer(1, Trouble{Resets: 1}, -1)
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
	if err := w.door.Shut(true); err != nil {
		t.Fatal(err)
	}
	if _, err := w.get(c, 1, long); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("not reset: %v", err)
	}
	if _, err := net.Dial("tcp", w.door.Address()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("not refused: %v", err)
	}
	if err := w.door.Shut(false); err != nil {
		t.Fatal(err)
	}
	if got, err := w.echo(w.dial(), "again", long); got != "again" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	close(w.exited)
	for {
		c, err := net.Dial("tcp", w.door.Address())
		if err != nil {
			break
		}
		_ = c.Close()
	}
	w.exited = make(chan struct{})
	w.over.Go(func() { _ = w.door.Attend(w.exited) })
	if got, err := w.echo(w.dial(), "reborn", long); got != "reborn" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}
