//go:build linux

package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseStat(t *testing.T) {
	cases := map[string]struct {
		line string
		want stat
		bad  bool
	}{
		"an ordinary process":              {line: "12 (bench) S 7 12 7 0", want: stat{12, 7, "bench", 'S'}},
		"a zombie":                         {line: "12 (bench) Z 7 12", want: stat{12, 7, "bench", 'Z'}},
		"a name with blanks and brackets":  {line: "12 (a) S 1 (b) R 9 1", want: stat{12, 9, "a) S 1 (b", 'R'}},
		"nothing":                          {bad: true},
		"no name":                          {line: "12 S 7", bad: true},
		"cut after the name":               {line: "12 (bench)", bad: true},
		"a parent that is no number":       {line: "12 (bench) S x", bad: true},
		"a process id that is no number":   {line: "x (bench) S 1", bad: true},
		"closing bracket before the first": {line: "12 )(", bad: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := parseStat([]byte(tc.line))
			if (err != nil) != tc.bad || got != tc.want {
				t.Errorf("parseStat(%q) = %+v, %v", tc.line, got, err)
			}
		})
	}
}

func TestParseCPUAddsUserAndSystemTime(t *testing.T) {
	got, err := parseCPU([]byte("12 (a) b) S 7 12 12 0 -1 4194304 1 2 3 4 150 50 9 9 20 0"))
	if err != nil || got != 2 {
		t.Errorf("CPU time is %v, %v, want 2 s", got, err)
	}
	for _, bad := range []string{"", "12 (a) S 7 12", "12 (a) S 7 12 12 0 -1 4194304 1 2 3 4 x 50 9 9"} {
		if _, err := parseCPU([]byte(bad)); err == nil {
			t.Errorf("%q has a CPU time", bad)
		}
	}
}

func TestDescendantsAreFoundAtAnyDepth(t *testing.T) {
	all := []stat{{pid: 5, parent: 4}, {pid: 2, parent: 1}, {pid: 4, parent: 2}, {pid: 3, parent: 1}, {pid: 9, parent: 8}}
	var pids []int
	for _, s := range descendantsAmong(all, 2) {
		pids = append(pids, s.pid)
	}
	if len(pids) != 2 || pids[0] != 4 || pids[1] != 5 {
		t.Errorf("descendants of 2 are %v, want 4 and 5", pids)
	}
}

func TestSockstatAndFields(t *testing.T) {
	if got, err := sockstatPages("sockets: used 9\nTCP: inuse 5 orphan 0 tw 0 alloc 7 mem 3\nUDP: mem 8\n"); err != nil || got != 3 {
		t.Errorf("TCP memory is %v, %v, want 3", got, err)
	}
	if _, err := sockstatPages("UDP: inuse 1 mem 8\n"); err == nil {
		t.Error("no TCP line is no error")
	}
	path := filepath.Join(t.TempDir(), "status")
	if err := os.WriteFile(path, []byte("Name:\tx\nVmRSS:\t  1234 kB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := fieldKiB(path, "VmRSS:"); err != nil || got != 1234 {
		t.Errorf("VmRSS is %v, %v", got, err)
	}
	if _, err := fieldKiB(path, "VmSwap:"); err == nil {
		t.Error("a missing field is no error")
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

func TestWeSeeOurselves(t *testing.T) {
	self := os.Getpid()
	if rss, err := residentBytes(self); err != nil || rss < 1<<20 {
		t.Errorf("our memory is %v, error %v", rss, err)
	}
	before, err := openFiles(self)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	after, err := openFiles(self)
	if err != nil || len(after) != len(before)+1 || !slices.Contains(after, file.Name()) {
		t.Errorf("descriptors were %q, and after opening one more %q, error %v", before, after, err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if found, err := descendants(os.Getppid()); err != nil || !containsPid(found, self) {
		t.Errorf("our parent's descendants are %v (error %v), without us", found, err)
	}
	if _, _, err := kernelMemory(); err != nil {
		t.Error(err)
	}
}

func containsPid(all []stat, pid int) bool {
	for _, s := range all {
		if s.pid == pid {
			return true
		}
	}
	return false
}
