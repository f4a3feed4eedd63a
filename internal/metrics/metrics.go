package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"rpcpool.dev/internal/tcp"
	"rpcpool.dev/internal/version"
)

// Time limits of the HTTP server. A scrape that takes longer than
// [ScrapeTimeout] is answered with an error instead of a half-written body.
const (
	ScrapeTimeout     = 10 * time.Second
	readHeaderTimeout = 5 * time.Second
	idleTimeout       = 2 * time.Minute
	stopTimeout       = 2 * time.Second
	// maxScrapes bounds concurrent scrapes, so that an eager scraper costs
	// memory for a few pages only.
	maxScrapes = 8
)

// NewRegistry returns a registry that has the Go runtime's and the process's
// collectors and rpcpool_build_info. It is not the global one: nothing that a
// dependency registers there leaks out.
func NewRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		buildInfo(version.Get()),
	)
	return reg
}

func buildInfo(info version.Info) prometheus.Collector {
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "rpcpool_build_info",
		Help: "The build of this process; the value is always 1.",
		ConstLabels: prometheus.Labels{
			"version": info.Version, "revision": info.Revision, "goversion": info.GoVersion,
		},
	})
	gauge.Set(1)
	return gauge
}

// Probes are what is behind the pages of a process's health: each returns nil, or
// why not, and must not block. A nil one never has a reason.
type Probes struct {
	// Alive is /healthz: only a new process helps where it fails.
	Alive func() error
	// Ready is /readyz: what the process is there for can be had from it now.
	Ready func() error
	// Agent is /agentz: the agent beside the process answers it. Only a server has
	// the page.
	Agent func() error
	// Blobs is /debug/blobs: who has which blob. Only a server of calls has the page.
	Blobs http.Handler
	// Calls is /debug/rpc: which calls are open. Only a server of calls has the page.
	Calls http.Handler
}

// Handler serves /metrics, /healthz, /readyz and, if there is something behind it,
// /agentz.
func Handler(reg *prometheus.Registry, probes Probes, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		Registry:            reg,
		EnableOpenMetrics:   true,
		ErrorHandling:       promhttp.ContinueOnError,
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelError),
		MaxRequestsInFlight: maxScrapes,
		Timeout:             ScrapeTimeout,
	}))
	mux.HandleFunc("GET /healthz", answer("not alive", probes.Alive))
	mux.HandleFunc("GET /readyz", answer("not ready", probes.Ready))
	if probes.Agent != nil {
		mux.HandleFunc("GET /agentz", answer("agent not alive", probes.Agent))
	}
	if probes.Blobs != nil {
		mux.Handle("GET /debug/blobs", probes.Blobs)
	}
	if probes.Calls != nil {
		mux.Handle("GET /debug/rpc", probes.Calls)
	}
	return mux
}

func answer(bad string, probe func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if probe != nil {
			if err := probe(); err != nil {
				w.WriteHeader(http.StatusServiceUnavailable)
				fmt.Fprintf(w, "%s: %v\n", bad, err)
				return
			}
		}
		fmt.Fprintln(w, "ok")
	}
}

// CheckAddr tells whether addr has a form that [Serve] takes: HOST:PORT,
// HOST:FIRST-LAST or nothing. It does not listen.
func CheckAddr(addr string) error {
	if addr == "" {
		return nil
	}
	_, ports, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("address %q: want HOST:PORT: %w", addr, err)
	}
	first, last, isRange := strings.Cut(ports, "-")
	low, err := strconv.ParseUint(first, 10, 16)
	if err != nil {
		return fmt.Errorf("address %q: %q is not a port (0 to 65535)", addr, first)
	}
	if !isRange {
		return nil
	}
	if high, err := strconv.ParseUint(last, 10, 16); err != nil || low == 0 || high < low {
		return fmt.Errorf("address %q: %q is not a range of ports", addr, ports)
	}
	return nil
}

// Serve listens on addr (HOST:PORT, see [tcp.Listen]) and serves [Handler]
// until ctx ends, then stops and returns nil. An empty addr serves nothing and
// waits for ctx. An address that cannot be bound is an error at once.
func Serve(ctx context.Context, addr string, reg *prometheus.Registry, probes Probes, log *slog.Logger) error {
	if addr == "" {
		<-ctx.Done()
		return nil
	}
	listener, err := tcp.Listen(addr)
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return ServeListener(ctx, listener, reg, probes, log)
}

// ServeListener is [Serve] on a listener that is open already; it closes it.
func ServeListener(
	ctx context.Context, listener net.Listener, reg *prometheus.Registry, probes Probes, log *slog.Logger,
) error {
	server := &http.Server{
		Handler:           Handler(reg, probes, log),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readHeaderTimeout,
		WriteTimeout:      ScrapeTimeout + readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	log.Info("serving metrics", "addr", listener.Addr().String())
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("metrics: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := server.Shutdown(stop); err != nil {
		// A scraper that holds its connection open must not hold up the stop.
		_ = server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}
