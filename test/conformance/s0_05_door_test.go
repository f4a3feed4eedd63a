//go:build linux

package conformance

import (
	"flag"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/internal/tcp"
	"rpcpool.dev/sidecar"
	"rpcpool.dev/tracker"
	"rpcpool.dev/tvm"
	"rpcpool.dev/workers/go/client"
)

func TestS0_04_IPv6(t *testing.T) {
	t.Parallel()
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	} else {
		closeOf(t, l)
	}
	tr := startTrackerWith(t, "[::1]:0", tracker.Options{})
	s := startServer(t, tr, func(o *sidecar.Options) {
		l, err := tcp.Listen("[::1]:0")
		if err != nil {
			t.Fatal(err)
		}
		o.Listener = l
	}).ready()
	session := tr.open(client.Options{})
	if session.Server() != s.addr || !strings.HasPrefix(s.addr, "[::1]:") {
		t.Errorf("session is with %s, server is %s", session.Server(), s.addr)
	}
	checkAddOne(t, session)
}

// listenAs parses --listen as the programs do, and returns the port.
func listenAs(t *testing.T, value string) (port int, err error) {
	t.Helper()
	var f sidecar.Flags
	flags := flag.NewFlagSet("test", flag.ContinueOnError)
	f.Register(flags)
	if err := flags.Parse([]string{"--key", key, "--listen", value}); err != nil {
		t.Fatal(err)
	}
	o, err := f.Options()
	if err != nil {
		return 0, err
	}
	t.Cleanup(func() { _ = o.Listener.Close() })
	return o.Listener.Addr().(*net.TCPAddr).Port, nil
}

func TestS0_05_ListenPorts(t *testing.T) {
	// Not parallel: it needs ports next to each other that nobody else takes.
	first := threePorts(t)
	if port, err := listenAs(t, "127.0.0.1:0"); err != nil || port == 0 {
		t.Errorf("port 0: %d, %v", port, err)
	}
	fixed := fmt.Sprintf("127.0.0.1:%d", first)
	if port, err := listenAs(t, fixed); err != nil || port != first {
		t.Errorf("fixed port %d: %d, %v", first, port, err)
	}
	if _, err := listenAs(t, fixed); err == nil || !strings.Contains(err.Error(), "--listen: ") || !strings.Contains(err.Error(), fixed) {
		t.Errorf("busy fixed port: %v, want an error that names it", err)
	}
	span := fmt.Sprintf("127.0.0.1:%d-%d", first, first+2)
	for want := first + 1; want <= first+2; want++ {
		if port, err := listenAs(t, span); err != nil || port != want {
			t.Errorf("range %s with %d busy: %d, %v", span, want-first, port, err)
		}
	}
	if _, err := listenAs(t, span); err == nil || !strings.Contains(err.Error(), span) {
		t.Errorf("busy range: %v, want an error that names it", err)
	}
	// What was bound is what is printed and what the tracker is told.
	tr := startTracker(t)
	p := startServe(t, tr)
	tr.works()
	if host, port := tr.Summary().Servers[0].Addr(); net.JoinHostPort(host, port) != p.addr {
		t.Errorf("printed %s, registered %s:%s", p.addr, host, port)
	}
}

// threePorts finds three neighbours that are free.
func threePorts(t *testing.T) (first int) {
	t.Helper()
	for first = 20000; first < 30000; first += 3 {
		free := true
		for port := first; port < first+3; port++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if free = free && err == nil; err == nil {
				closeOf(t, l)
			}
		}
		if free {
			return first
		}
	}
	t.Fatal("no three free ports")
	return 0
}

// flood connects over and over, at about 1,000 a second, and sends garbage.
func flood(addr string, stop <-chan struct{}) (connects int) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	garbage := []string{"", "GET / HTTP/1.1\r\n\r\n", "\x71\xf2\x0f\x00\xff\xff\xff\xff", "\x71\xf2\x0f\x00\x0a\x00\x00\x00client:dev", "\x00"}
	for {
		select {
		case <-stop:
			return connects
		case <-tick.C:
		}
		for range 5 {
			if c, err := net.DialTimeout("tcp", addr, patience); err == nil {
				_, _ = c.Write([]byte(garbage[connects%len(garbage)]))
				_ = c.Close()
				connects++
			}
		}
	}
}

// drip sends a handshake at a byte a second, for as long as the server listens.
func drip(addr string, stop <-chan struct{}) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for _, b := range hello("client:dev:0.123456789 -timeout=10") {
		if _, err := c.Write([]byte{b}); err != nil {
			return
		}
		select {
		case <-stop:
			return
		case <-tick.C:
		}
	}
}

func TestS0_06_GoodClientAmongBadOnes(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	p := startServe(t, tr, "--handshake-timeout", "2s")
	tr.works()
	eventually(t, patience, "device is back", func() bool { return tr.Summary().Queue[key].Free == 1 })
	base := len(openFDs(p.Process.Pid))
	stop := make(chan struct{})
	var bad sync.WaitGroup
	connects := 0
	bad.Go(func() { connects = flood(p.addr, stop) })
	for range 100 {
		bad.Go(func() { drip(p.addr, stop) })
	}
	var worst, sum time.Duration
	sessions, began := 0, time.Now()
	for ; sessions < 20 || time.Since(began) < 4*time.Second; sessions++ {
		addr, ticket := tr.ticket()
		connecting := time.Now()
		r := dialRaw(t, addr)
		if a := r.shake("client:" + ticket); a.Code != tvm.HandshakeSuccess {
			t.Fatalf("good client is answered %#x", a.Code)
		}
		took := time.Since(connecting)
		worst, sum = max(worst, took), sum+took
		r.bye()
	}
	close(stop)
	bad.Wait()
	t.Logf("%d good clients among %d bad connects in %v: accepted after %v on average, %v at worst",
		sessions, connects, time.Since(began).Round(time.Millisecond), sum/time.Duration(sessions), worst)
	if worst > 100*time.Millisecond+slack {
		t.Errorf("a good client waited %v, want 100ms", worst)
	}
	eventually(t, patience, "descriptors are back to what they were", func() bool { return len(openFDs(p.Process.Pid)) <= base+1 })
}
