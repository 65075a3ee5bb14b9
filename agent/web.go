package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// web serves metrics, health and profiles to people and to what watches over them. It has no secrets and no writes.
type web struct {
	listener net.Listener // nil: not wanted
	server   *http.Server
	serving  atomic.Bool // readyz answers 200, unless aside
	aside    atomic.Bool // others do this agent's work for now
}

// listenWeb binds address, so that a port in use is found before anything else happens.
func listenWeb(address string, reg *prometheus.Registry, log *slog.Logger) (*web, error) {
	w := &web{}
	if address == "" {
		return w, nil
	}
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprintln(rw, "alive") })
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, _ *http.Request) {
		if !w.serving.Load() {
			http.Error(rw, "not serving", http.StatusServiceUnavailable)
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
	listener, err := net.Listen("tcp", strings.Replace(address, autoHTTP, usualHTTP, 1))
	if err != nil && address == autoHTTP {
		listener, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("listen for metrics and health: %w", err)
	}
	w.listener = listener
	w.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	return w, nil
}

func (w *web) addr() string {
	if w.listener == nil {
		return ""
	}
	return w.listener.Addr().String()
}

func (w *web) ready(yes bool) { w.serving.Store(yes) }

// run serves until ctx ends.
func (w *web) run(ctx context.Context) error {
	if w.listener == nil {
		return nil
	}
	defer context.AfterFunc(ctx, func() { _ = w.server.Close() })()
	if err := w.server.Serve(w.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (w *web) close() {
	if w.listener != nil {
		_ = w.listener.Close()
	}
}
