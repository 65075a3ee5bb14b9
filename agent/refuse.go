package agent

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/leat-stream/leat/agent/wire"
)

// turnAway resets every connection at once that is made after grace, so that clients try elsewhere instead of waiting for an agent that
// takes long to start. Before that they wait, and are served if that comes soon. The function that it answers ends it, must be
// called before the listeners are served, and may be called twice.
//
// It must be a reset: on a connection that ends in good order before its first answer, kgo takes the address for one that wants TLS or
// SASL, and fails the records that it has for it (ErrFirstReadEOF). What is reset it tries again, as every client does.
func turnAway(bound []net.Listener, grace time.Duration, log *slog.Logger) (end func()) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, nl := range bound {
		wg.Go(func() { refuse(nl, grace, stop, log) })
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

// refuse takes and resets connections until stop is closed and the listener's deadline is over, or the listener is closed.
func refuse(nl net.Listener, grace time.Duration, stop <-chan struct{}, log *slog.Logger) {
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
			log.Debug("connection refused", "client", nc.RemoteAddr(), "reason", "starting")
			wire.Reset(nc)
			_ = nc.Close() // nothing was sent that could be lost
		}
	}
}

// refusePause is how long to wait if a connection cannot be accepted.
const refusePause = 100 * time.Millisecond
