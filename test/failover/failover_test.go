//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rpcpool.dev/test/internal/program"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheSameSeedMakesTheSameScript(t *testing.T) {
	o := &settings{kills: 50, stops: 8, freezes: 4, seed: 3}
	script := o.script()
	if !reflect.DeepEqual(script, o.script()) {
		t.Error("it does not")
	}
	count, early := map[kind]int{}, 0
	for _, a := range script {
		count[a.kind]++
		if a.early {
			early++
		}
	}
	if count[kill] != 50 || count[stop] != 8 || count[freeze] != 4 || early == 0 || script[0].early {
		t.Errorf("%v, %d early", count, early)
	}
	o.seed++
	if reflect.DeepEqual(script, o.script()) {
		t.Error("another seed makes the same one")
	}
}

func TestEachOperatorHasItsOwnAddress(t *testing.T) {
	seen := map[string]bool{}
	for n := range maxOperators {
		host := hostOf(n)
		if ip := net.ParseIP(host); ip == nil || ip.IsLoopback() || seen[host] {
			t.Errorf("operator %d is at %s", n, host)
		}
		seen[host] = true
	}
}

func TestBadFlagsAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{"-kills", "0", "-stops", "0", "-freezes", "0"}, {"-kills", "-1"}, {"-kills", "1000"}, {"-devices", "0"}, {"-clients", "many"}, {"-limit", "0s"}, {"now"},
	} {
		var errors bytes.Buffer
		if status := run(t.Context(), args, io.Discard, &errors); status != program.Usage || errors.Len() == 0 {
			t.Errorf("%q: status %d, %s", args, status, errors.String())
		}
	}
}

// backend is a listener that says its name to everybody who connects.
func backend(t *testing.T, name string) (*net.TCPListener, endpoint) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var conns []net.Conn
		for {
			conn, err := l.Accept()
			if err != nil {
				break
			}
			_, _ = io.WriteString(conn, name)
			conns = append(conns, conn)
		}
		for _, conn := range conns {
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l, endpoint{"192.0.2." + name, l.Addr().(*net.TCPAddr).Port}
}

// hear reads a byte; nothing comes of a connection that has ended.
func hear(conn net.Conn) string {
	b := make([]byte, 1)
	n, _ := conn.Read(b)
	return string(b[:n])
}

func TestAConnectionThroughTheServiceEndsWithItsEndpoint(t *testing.T) {
	s, err := newService(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	dial := func() (conn net.Conn, says string) {
		conn, err := net.Dial("tcp", s.address())
		if err != nil {
			return nil, "" // reset, and sooner than it was made
		}
		t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(patience))
		return conn, hear(conn)
	}
	if _, says := dial(); says != "" {
		t.Errorf("without an endpoint, %q", says)
	}
	one, at1 := backend(t, "1")
	_, at2 := backend(t, "2")
	s.point(at1)
	first, says1 := dial()
	s.point(at2)
	second, says2 := dial()
	if says1 != "1" || says2 != "2" {
		t.Fatalf("the endpoints say %q and %q", says1, says2)
	}
	to1, ok1 := s.endpointOf(first.LocalAddr().String())
	to2, ok2 := s.endpointOf(second.LocalAddr().String())
	if !ok1 || !ok2 || to1 != at1 || to2 != at2 {
		t.Errorf("connections lead to %v and %v", to1, to2)
	}
	one.Close() // and its connections
	if says := hear(first); says != "" {
		t.Errorf("after the endpoint's end, %q", says)
	}
	s.point(at1)
	if _, says := dial(); says != "" {
		t.Errorf("an endpoint that does not listen says %q", says)
	}
}

// TestLeadersGoUnderLoad runs the whole program at a small size: promises are
// judged, figures are not.
func TestLeadersGoUnderLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "result.json")
	var out, progress bytes.Buffer
	status := run(t.Context(), []string{"-kills", "5", "-stops", "1", "-freezes", "1", "-devices", "4", "-clients", "12", "-json", file}, &out, &progress)
	t.Logf("%s\n%s", progress.String(), out.String())
	if status != program.OK {
		t.Fatalf("status %d", status)
	}
	for _, want := range []string{"5 leaders killed, 1 stopped, 1 frozen", "0 double grants, 0 lost devices", " 0 violations"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %q", want)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var result struct {
		Sessions int `json:"sessions"`
		Across   int `json:"sessions_in_progress"`
	}
	if err := json.Unmarshal(text, &result); err != nil || result.Sessions == 0 || result.Across == 0 {
		t.Errorf("%v: %d sessions, %d in progress when a leader went", err, result.Sessions, result.Across)
	}
}
