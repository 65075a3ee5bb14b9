package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/leat-stream/leat/localstack/proc"
)

// toxiproxy is a running toxiproxy: a TCP proxy for each way, told over HTTP what to do to the bytes.
type toxiproxy struct {
	address string
	process *proc.Process
}

func startToxiproxy(ctx context.Context, log string) (*toxiproxy, error) {
	binary, err := proc.Tool("toxiproxy")
	if err != nil {
		return nil, err
	}
	address, err := proc.FreeAddress()
	if err != nil {
		return nil, err
	}
	output, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer output.Close() // the process has its own
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command(binary, "-host", "127.0.0.1", "-port", port)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	process, err := proc.Start("toxiproxy", cmd)
	if err != nil {
		return nil, err
	}
	if err := process.Await(ctx, proc.Patience, proc.Answers("http://"+address+"/version")); err != nil {
		process.Kill()
		return nil, err
	}
	return &toxiproxy{address, process}, nil
}

// call makes one request; what is not 2xx is an error.
func (t *toxiproxy) call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+t.address+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("toxiproxy: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	switch {
	case err != nil:
		return fmt.Errorf("toxiproxy: %w", err)
	case response.StatusCode/100 != 2:
		return fmt.Errorf("toxiproxy: %s %s: %s: %s", method, path, response.Status, text)
	case out != nil:
		return json.Unmarshal(text, out)
	}
	return nil
}

// way is how one agent reaches the bucket: agent ─► toxiproxy ─► hurdle ─► MinIO.
type way struct {
	name    string
	address string // of toxiproxy, for the agent
	proxy   *toxiproxy
	hurdle  *hurdle
}

func openWay(ctx context.Context, name string, t *toxiproxy, minio string) (*way, error) {
	h, err := openHurdle(minio)
	if err != nil {
		return nil, err
	}
	w := &way{name: name, proxy: t, hurdle: h}
	if w.address, err = proc.FreeAddress(); err == nil {
		err = t.call(ctx, http.MethodPost, "/proxies", map[string]any{"name": name, "listen": w.address, "upstream": h.address, "enabled": true}, nil)
	}
	if err != nil {
		h.close()
		return nil, err
	}
	return w, nil
}

// enable cuts the way (every connection ends, new ones are refused) or opens it again.
func (w *way) enable(ctx context.Context, on bool) error {
	return w.proxy.call(ctx, http.MethodPost, "/proxies/"+w.name, map[string]any{"enabled": on}, nil)
}

// poison adds a toxic; stream is upstream (requests) or downstream (answers).
func (w *way) poison(ctx context.Context, kind, stream string, attributes map[string]any) error {
	return w.proxy.call(ctx, http.MethodPost, "/proxies/"+w.name+"/toxics",
		map[string]any{"name": kind + "_" + stream, "type": kind, "stream": stream, "toxicity": 1, "attributes": attributes}, nil)
}

// cure takes a toxic away again.
func (w *way) cure(ctx context.Context, kind, stream string) error {
	return w.proxy.call(ctx, http.MethodDelete, "/proxies/"+w.name+"/toxics/"+kind+"_"+stream, nil, nil)
}

// hurdle is an HTTP proxy before MinIO that does what a TCP proxy cannot: it refuses requests as S3 does when it is overloaded,
// answers 500 to requests that it has carried out, and delivers PUTs long after their sender gave up.
type hurdle struct {
	address string
	server  *http.Server
	forward *httputil.ReverseProxy
	target  *url.URL

	refuse, deny, late atomic.Int64   // chance of each, in percent
	delay              time.Duration  // longest, of a late PUT
	running            sync.WaitGroup // the server, and PUTs that are on their way
}

// lateBytes bounds a PUT that is delivered late; a larger one is cut off and never delivered.
const lateBytes = 64 << 20

func openHurdle(minio string) (*hurdle, error) {
	target, err := url.Parse("http://" + minio)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h := &hurdle{address: l.Addr().String(), target: target, delay: 20 * time.Second}
	h.forward = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // which is signed
		},
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
			panic(http.ErrAbortHandler) // MinIO is there; whoever asked has gone
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	h.server = &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	h.running.Go(func() { _ = h.server.Serve(l) })
	return h, nil
}

func (h *hurdle) close() {
	_ = h.server.Close()
	h.running.Wait()
}

func chance(percent *atomic.Int64) bool { return rand.Int64N(100) < percent.Load() }

// ServeHTTP implements http.Handler.
func (h *hurdle) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case chance(&h.refuse):
		fail(w, http.StatusServiceUnavailable, "SlowDown")
	case chance(&h.deny):
		h.forward.ServeHTTP(blind{http.Header{}}, r)
		fail(w, http.StatusInternalServerError, "InternalError")
	case r.Method == http.MethodPut && chance(&h.late):
		h.deliver(r)
		panic(http.ErrAbortHandler) // the connection ends without an answer
	default:
		h.forward.ServeHTTP(w, r)
	}
}

// deliver sends a PUT on after a while, whoever may still wait for it.
func (h *hurdle) deliver(r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, lateBytes+1))
	if err != nil || len(body) > lateBytes {
		return
	}
	late := r.Clone(context.WithoutCancel(r.Context()))
	late.Body, late.RequestURI = io.NopCloser(bytes.NewReader(body)), ""
	late.URL.Scheme, late.URL.Host = h.target.Scheme, h.target.Host
	h.running.Go(func() {
		<-time.After(rand.N(h.delay))
		if response, err := h.forward.Transport.RoundTrip(late); err == nil {
			_ = response.Body.Close()
		}
	})
}

// fail answers as S3 does.
func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s by the nemesis</Message></Error>", code, code)
}

// blind throws an answer away.
type blind struct{ header http.Header }

func (b blind) Header() http.Header         { return b.header }
func (b blind) Write(p []byte) (int, error) { return len(p), nil }
func (b blind) WriteHeader(int)             {}
