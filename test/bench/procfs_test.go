//go:build linux

package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestSockstat(t *testing.T) {
	if got, err := sockstatPages("sockets: used 9\nTCP: inuse 5 orphan 0 tw 0 alloc 7 mem 3\nUDP: mem 8\n"); err != nil || got != 3 {
		t.Errorf("TCP memory is %v, %v, want 3", got, err)
	}
	if _, err := sockstatPages("UDP: inuse 1 mem 8\n"); err == nil {
		t.Error("no TCP line is no error")
	}
	if _, _, err := kernelMemory(); err != nil {
		t.Error(err)
	}
}

func TestScrapeReadsSeriesByNameAndLabels(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte("# HELP go_goroutines Goroutines.\ngo_goroutines 12\nx_total{key=\"a b\",r=\"1\"} 2.5e+03\n"))
	}))
	defer server.Close()
	host, port, err := net.SplitHostPort(strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := scrape(context.Background(), net.JoinHostPort(host, port))
	if err != nil || got["go_goroutines"] != 12 || got[`x_total{key="a b",r="1"}`] != 2500 {
		t.Errorf("scraped %v, %v", got, err)
	}
	for _, bad := range []string{"nothing", "a b"} {
		if _, err := parseMetrics(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is taken for metrics", bad)
		}
	}
}
