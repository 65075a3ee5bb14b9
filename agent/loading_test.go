package agent

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/localstack/proc"
	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/journal/mem"
)

// TestAnAgentThatStartsForLongSaysSo: after two seconds, then every ten, until it has started.
func TestAnAgentThatStartsForLongSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log startLog
		l := beginLoading(slog.New(slog.NewTextHandler(&log, nil)))
		time.Sleep(slowStart + time.Millisecond)
		synctest.Wait()
		if got := log.String(); !strings.Contains(got, startOpens) || strings.Count(got, "\n") != 1 {
			t.Errorf("after two seconds the log is %q", got)
		}
		if got := l.String(); got != "starting: "+startOpens {
			t.Errorf("readyz says %q", got)
		}
		log.Reset()
		l.does(startReads)
		j := l.journal(written(t, 3))
		for _, err := range j.Read(t.Context(), 1) {
			if err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * slowStartAgain)
		synctest.Wait()
		if got := log.String(); !strings.Contains(got, "entries=3") || !strings.Contains(got, "index=3") || strings.Count(got, "\n") != 2 {
			t.Errorf("twenty seconds later the log is %q", got)
		}
		if got := l.String(); !strings.Contains(got, "3 entries") {
			t.Errorf("readyz says %q", got)
		}
		if strings.Contains(log.String(), "WARN") {
			t.Errorf("soon the log is %q", log.String())
		}
		time.Sleep(longStart)
		synctest.Wait()
		if !strings.Contains(log.String(), "WARN") {
			t.Errorf("after a minute the log is %q", log.String())
		}
		log.Reset()
		l.end()
		l.end()
		time.Sleep(time.Hour)
		synctest.Wait()
		if log.String() != "" || l.String() != "not serving" {
			t.Errorf("after the start: %q, log %q", l, log.String())
		}
	})
}

// written answers a journal with n entries.
func written(t *testing.T, n int) journal.Journal {
	t.Helper()
	j := mem.New().Open()
	term, err := j.Lead(t.Context(), 0, nil)
	for i := 1; i < n && err == nil; i++ {
		_, err = term.Append(t.Context(), []byte("x"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// TestAFastStartIsQuiet: there is nothing in the log.
func TestAFastStartIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log startLog
		l := beginLoading(slog.New(slog.NewTextHandler(&log, nil)))
		time.Sleep(slowStart - time.Millisecond)
		l.end()
		time.Sleep(time.Hour)
		synctest.Wait()
		if log.String() != "" {
			t.Errorf("the log is %q", log.String())
		}
	})
}

// TestAnAgentIsAliveWhileItStarts: health answers from the beginning, readiness says what is done, and clients are turned away
// once that takes long. The bucket of this one takes connections and never answers.
func TestAnAgentIsAliveWhileItStarts(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	cfg := Default()
	cfg.Store = "minio://" + silent.Addr().String() + "/bucket?tls=false"
	cfg.Wire.Listeners = []wire.Listener{{Name: "default", Address: freeAddress(t)}}
	cfg.HTTP = freeAddress(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "x")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "x")
	ctx, cancel := context.WithCancel(t.Context())
	opened := make(chan error, 1)
	go func() {
		_, err := Open(ctx, cfg, slog.New(slog.DiscardHandler))
		opened <- err
	}()
	page := func(path string) (status int, body string) {
		for {
			r, err := http.Get("http://" + cfg.HTTP + path)
			if err == nil {
				defer r.Body.Close()
				b, _ := io.ReadAll(r.Body)
				return r.StatusCode, string(b)
			}
			select {
			case err := <-opened:
				t.Fatalf("the agent ended: %v", err)
			case <-time.After(10 * time.Millisecond): // its port is not bound yet
			}
		}
	}
	if status, body := page("/healthz"); status != http.StatusOK || body != "alive\n" {
		t.Errorf("health: %d, %q", status, body)
	}
	if status, body := page("/readyz"); status != http.StatusServiceUnavailable || body != "starting: "+startOpens+"\n" {
		t.Errorf("readiness: %d, %q", status, body)
	}
	client, err := net.Dial("tcp", cfg.Wire.Listeners[0].Address)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_ = client.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := client.Read(make([]byte, 1)); !gone(err) {
		t.Errorf("a client waits: %v", err)
	}
	cancel()
	if err := <-opened; err == nil {
		t.Error("the agent started")
	}
	if _, err := net.Dial("tcp", cfg.HTTP); err == nil {
		t.Error("an agent that did not start still listens")
	}
}

// freeAddress is a port that nobody listens on at the moment.
func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := proc.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// TestAPeerAddressThatIsNotUsedIsTold: with a journal for one agent.
func TestAPeerAddressThatIsNotUsedIsTold(t *testing.T) {
	for _, peer := range []string{"", "127.0.0.1:9600"} {
		var log startLog
		cfg := Default()
		cfg.Peer.Address = peer
		g := &ground{journalName: "bolt:///journal"}
		if _, err := openNeighbours(t.Context(), cfg, g, slog.New(slog.NewTextHandler(&log, nil)), nil); err != nil {
			t.Fatal(err)
		}
		if told := strings.Contains(log.String(), "not used"); told != (peer != "") || strings.Count(log.String(), "\n") > 1 {
			t.Errorf("with the address %q the log is %q", peer, log.String())
		}
	}
}

// startLog is what a start logs, from a timer's goroutine.
type startLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *startLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *startLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *startLog) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Reset()
}
