package metrics

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRegistryIsLintedAndHasTheBuild(t *testing.T) {
	reg := NewRegistry()
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, name := range []string{"rpcpool_build_info", "go_goroutines", "process_open_fds"} {
		if n, err := testutil.GatherAndCount(reg, name); err != nil || n != 1 {
			t.Errorf("%s: %d series, %v", name, n, err)
		}
	}
}

// serve runs Serve on a free port until the test ends, and returns its address
// and how to stop it.
func serve(t *testing.T, reg *prometheus.Registry, probes Probes) (address string, stop func() error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ServeListener(ctx, l, reg, probes, slog.New(slog.DiscardHandler)) }()
	stop = func() error {
		cancel()
		err := <-done
		done <- err
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return l.Addr().String(), stop
}

func get(t *testing.T, client *http.Client, url, accept string) (status int, header http.Header, body string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

func TestServe(t *testing.T) {
	reg := NewRegistry()
	sessions := prometheus.NewCounter(prometheus.CounterOpts{Name: "rpcpool_test_sessions_total", Help: "Sessions."})
	reg.MustRegister(sessions)
	sessions.(prometheus.ExemplarAdder).AddWithExemplar(1, prometheus.Labels{"session": "s1"})
	var notAlive, notReady, noAgent error
	address, stop := serve(t, reg, Probes{
		Alive: func() error { return notAlive }, Ready: func() error { return notReady }, Agent: func() error { return noAgent },
	})
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	url := "http://" + address

	if status, _, body := get(t, client, url+"/healthz", ""); status != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz: %d %q", status, body)
	}
	if status, _, body := get(t, client, url+"/readyz", ""); status != http.StatusOK || body != "ok\n" {
		t.Errorf("/readyz: %d %q", status, body)
	}
	notReady = errors.New("1 of 4 servers started")
	if status, _, body := get(t, client, url+"/readyz", ""); status != http.StatusServiceUnavailable || body != "not ready: 1 of 4 servers started\n" {
		t.Errorf("/readyz: %d %q", status, body)
	}
	if status, _, body := get(t, client, url+"/healthz", ""); status != http.StatusOK {
		t.Errorf("/healthz while it is not ready: %d %q", status, body)
	}
	notAlive, notReady = errors.New("a loop hangs"), nil
	if status, _, body := get(t, client, url+"/healthz", ""); status != http.StatusServiceUnavailable || body != "not alive: a loop hangs\n" {
		t.Errorf("/healthz: %d %q", status, body)
	}
	if status, _, body := get(t, client, url+"/readyz", ""); status != http.StatusOK {
		t.Errorf("/readyz while it is not alive: %d %q", status, body)
	}
	if status, _, body := get(t, client, url+"/agentz", ""); status != http.StatusOK || body != "ok\n" {
		t.Errorf("/agentz: %d %q", status, body)
	}
	noAgent = errors.New("it is stopped")
	if status, _, body := get(t, client, url+"/agentz", ""); status != http.StatusServiceUnavailable || body != "agent not alive: it is stopped\n" {
		t.Errorf("/agentz: %d %q", status, body)
	}
	status, header, body := get(t, client, url+"/metrics", "application/openmetrics-text; version=1.0.0")
	if status != http.StatusOK || !strings.HasPrefix(header.Get("Content-Type"), "application/openmetrics-text") {
		t.Errorf("/metrics: %d, %s", status, header.Get("Content-Type"))
	}
	if want := `rpcpool_test_sessions_total 1.0 # {session="s1"} 1.0`; !strings.Contains(body, want) {
		t.Errorf("no exemplar %q in:\n%s", want, body)
	}
	if strings.Contains(body, "_created") {
		t.Error("_created series double the number of series for nothing")
	}
	if _, _, body := get(t, client, url+"/metrics", "text/plain"); !strings.Contains(body, "rpcpool_test_sessions_total 1\n") {
		t.Error("no plain text for a plain scraper")
	}
	if status, _, _ := get(t, client, url+"/", ""); status != http.StatusNotFound {
		t.Errorf("/: %d", status)
	}
	if err := stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	if _, err := net.DialTimeout("tcp", address, time.Second); err == nil {
		t.Error("still listens")
	}
}

func TestServeWithoutProbesIsWell(t *testing.T) {
	address, _ := serve(t, NewRegistry(), Probes{})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, _, _ := get(t, client, "http://"+address+path, ""); status != http.StatusOK {
			t.Errorf("%s: %d", path, status)
		}
	}
}

// TestServeStopsAlthoughAScraperHangs: a connection in the middle of a request
// holds the stop up for a bounded time only.
func TestServeStopsAlthoughAScraperHangs(t *testing.T) {
	reg := prometheus.NewRegistry()
	inside, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "rpcpool_test_slow", Help: "Slow."}, func() float64 {
		close(inside)
		<-release
		return 1
	}))
	address, stop := serve(t, reg, Probes{})
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-inside
	if err := stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
}

func TestServeReportsAPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = Serve(context.Background(), l.Addr().String(), NewRegistry(), Probes{}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("got %v, want an error that names %s", err, l.Addr())
	}
}

func TestServeWithoutAddressWaits(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, "", NewRegistry(), Probes{}, nil) }()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestServeLogsWhereItListens(t *testing.T) {
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Serve(ctx, "127.0.0.1:0", NewRegistry(), Probes{}, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "addr=127.0.0.1:") {
		t.Errorf("log %q", log.String())
	}
}

// TestCheckAddr: what CheckAddr refuses, Serve would refuse; and the other way
// round, but for what only binding can tell.
func TestCheckAddr(t *testing.T) {
	for addr, want := range map[string]string{
		"": "", "127.0.0.1:0": "", ":9191": "", "[::1]:9191": "", "localhost:9191-9199": "",
		"foo":                 `address "foo": want HOST:PORT`,
		"::1:9191":            `want HOST:PORT`,
		"host:":               `"" is not a port`,
		"host:http":           `"http" is not a port`,
		"host:65536":          `"65536" is not a port`,
		"127.0.0.1:9199-9191": `"9199-9191" is not a range of ports`,
		"127.0.0.1:0-9":       `"0-9" is not a range of ports`,
		"127.0.0.1:1-x":       `"1-x" is not a range of ports`,
	} {
		err := CheckAddr(addr)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: error %v, want %q", addr, err, want)
		}
	}
}
