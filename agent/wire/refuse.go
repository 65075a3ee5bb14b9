package wire

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// Refuse closes every connection at once that is made after grace, so that clients try elsewhere instead of waiting for an agent that
// takes long to start. Before that they wait, and are served if Serve comes soon. It is called after Listen; the function that it
// answers ends it, must be called before Serve, and may be called twice.
func (s *Server) Refuse(grace time.Duration) (end func()) {
	s.mu.Lock()
	bound := s.bound
	s.mu.Unlock()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, nl := range bound {
		wg.Go(func() { s.refuse(nl, grace, stop) })
	}
	until := func(t time.Time) {
		for _, nl := range bound {
			if l, ok := nl.(*net.TCPListener); ok {
				_ = l.SetDeadline(t) // fails if it is closed, which ends refuse as well
			}
		}
	}
	return sync.OnceFunc(func() {
		close(stop)
		until(time.Unix(1, 0))
		wg.Wait()
		until(time.Time{})
	})
}

// refuse takes and closes connections until stop is closed and the listener's deadline is over, or the listener is closed.
func (s *Server) refuse(nl net.Listener, grace time.Duration, stop <-chan struct{}) {
	for wait := grace; ; wait = refusePause {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-stop:
			timer.Stop()
			return
		}
		for {
			nc, err := nl.Accept()
			if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
				return
			}
			if err != nil { // too many open files: it passes
				break
			}
			s.log.Debug("connection refused", "host", hostOf(nc.RemoteAddr()), "reason", "starting")
			_ = nc.Close() // nothing was sent that could be lost
		}
	}
}

// refusePause is how long to wait if a connection cannot be accepted.
const refusePause = 100 * time.Millisecond
