package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/leat-stream/leat/agent/wire/proxy"
)

// web serves metrics, health and profiles to people and to what watches over them. It has no secrets and no writes.
type web struct {
	listener net.Listener // nil: not wanted
	server   *http.Server
	ended    chan error  // holds what the server ended with
	serving  atomic.Bool // readyz answers 200, unless aside
	aside    atomic.Bool // others do this agent's work for now

	starting *loading // what readyz says until then
	refusing func()   // ends that clients are turned away; nil: they are not
}

const headerPatience = 10 * time.Second

// listenWeb binds the address of setting, which is Config.HTTP, so that a port in use is found before anything else happens, and serves
// there from now on: an agent that starts is alive, and not ready.
func listenWeb(setting string, reg *prometheus.Registry, log *slog.Logger) (*web, error) {
	w := &web{starting: beginLoading(log), ended: make(chan error, 1)}
	if setting == "" {
		return w, nil
	}
	address, headers, err := HTTPAddress(setting)
	if err != nil {
		w.starting.end()
		return nil, err
	}
	auto := address == autoHTTP
	if auto {
		address = usualHTTP
	}
	listener, err := net.Listen("tcp", address)
	if err != nil && auto {
		listener, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		w.starting.end()
		return nil, fmt.Errorf("listen for metrics and health: %w", err)
	}
	if headers {
		listener = proxy.Optional(listener)
	}
	w.listener = listener
	w.server = w.pages(reg, log)
	go func() { w.ended <- w.server.Serve(listener) }() // until close
	return w, nil
}

// pages is the server of what w tells. It waits headerPatience for a request's header, one of the PROXY protocol before it included.
func (w *web) pages(reg *prometheus.Registry, log *slog.Logger) *http.Server {
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprintln(rw, "alive") })
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, _ *http.Request) {
		if !w.serving.Load() {
			http.Error(rw, w.starting.String(), http.StatusServiceUnavailable)
			return
		}
		if w.aside.Load() {
			http.Error(rw, "stepped aside: the object store does not answer this agent", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(rw, "serving")
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return &http.Server{Handler: mux, ReadHeaderTimeout: headerPatience, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
}

func (w *web) addr() string {
	if w.listener == nil {
		return ""
	}
	return w.listener.Addr().String()
}

// ready says whether this agent serves. From the first time on it does not start any more, and nobody is turned away.
func (w *web) ready(yes bool) {
	w.started()
	w.serving.Store(yes)
}

func (w *web) started() {
	w.starting.end()
	if w.refusing != nil {
		w.refusing()
	}
}

// run watches over the server until ctx ends.
func (w *web) run(ctx context.Context) error {
	if w.listener == nil {
		return nil
	}
	select {
	case err := <-w.ended:
		w.ended <- err // for close
		return err
	case <-ctx.Done():
		w.close()
		return nil
	}
}

// close ends all that listenWeb began. It may be called twice.
func (w *web) close() {
	w.started()
	if w.listener != nil {
		_ = w.server.Close()
		err := <-w.ended
		w.ended <- err
	}
}
