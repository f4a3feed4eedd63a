package tcp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is a connection over loopback: our end, and the peer's.
func pair(t *testing.T) (ours *Conn, peer *net.TCPConn) {
	t.Helper()
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peer, err = net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(); _ = peer.Close() })
	return NewConn(c), peer
}

func option(t *testing.T, c *net.TCPConn, level, name int) int {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var value int
	var optErr error
	if err := raw.Control(func(fd uintptr) { value, optErr = unix.GetsockoptInt(int(fd), level, name) }); err != nil || optErr != nil {
		t.Fatal(err, optErr)
	}
	return value
}

func TestNewConnSetsEveryOption(t *testing.T) {
	c, _ := pair(t)
	for name, tc := range map[string]struct{ level, option, want int }{
		"TCP_NODELAY":      {unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		"SO_KEEPALIVE":     {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		"TCP_KEEPIDLE":     {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 10},
		"TCP_KEEPINTVL":    {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 5},
		"TCP_KEEPCNT":      {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 2},
		"TCP_USER_TIMEOUT": {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 20_000},
		"TCP_QUICKACK":     {unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1},
	} {
		if got := option(t, c.TCPConn, tc.level, tc.option); got != tc.want {
			t.Errorf("%s = %d, want %d", name, got, tc.want)
		}
	}
}

// TestTwoSendsWithNagleAreAnsweredAtOnce is the stock client: length and body
// in two sends, Nagle's algorithm on. Where the first segment's ACK is delayed,
// the second waits 40 ms in the client's kernel.
func TestTwoSendsWithNagleAreAnsweredAtOnce(t *testing.T) {
	c, peer := pair(t)
	if err := peer.SetNoDelay(false); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 8)
		for {
			if _, err := io.ReadFull(c, buf); err != nil {
				return
			}
			if _, err := c.Write(buf[:1]); err != nil {
				return
			}
		}
	}()
	const calls = 50
	began := time.Now()
	for range calls {
		for _, part := range []string{"size", "body"} {
			if _, err := io.WriteString(peer, part); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.ReadFull(peer, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	spent := time.Since(began)
	t.Logf("%d calls in %s", calls, spent)
	if spent > calls*20*time.Millisecond {
		t.Errorf("a call took %s: ACKs are delayed", spent/calls)
	}
	_ = peer.Close()
	<-done
}

func TestTuneOfAClosedConnectionSaysSo(t *testing.T) {
	c, _ := pair(t)
	_ = c.Close()
	if err := Tune(c.TCPConn); !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v", err)
	}
}

func TestListenTakesTheFirstFreePortOfARange(t *testing.T) {
	busy, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	port := busy.Addr().(*net.TCPAddr).Port
	l, err := Listen(fmt.Sprintf("127.0.0.1:%d-%d", port, port+50))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := l.Addr().(*net.TCPAddr).Port; got <= port || got > port+50 {
		t.Errorf("port %d, want one of %d-%d", got, port+1, port+50)
	}
	if _, err := Listen(fmt.Sprintf("127.0.0.1:%d-%d", port, port)); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a range that is in use: error %v", err)
	}
	if _, err := Listen(fmt.Sprintf("127.0.0.1:%d", port)); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a port that is in use: error %v", err)
	}
}

func TestListenOnIPv6(t *testing.T) {
	l, err := Listen("[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 on this machine: %v", err)
	}
	_ = l.Close()
}

func TestListenNamesWhatIsWrongWithAnAddress(t *testing.T) {
	for addr, want := range map[string]string{
		"":                    "want HOST:PORT",
		"9090":                "want HOST:PORT",
		"127.0.0.1:x":         `"x" is not a port`,
		"127.0.0.1:70000":     `"70000" is not a port`,
		"127.0.0.1:-1":        `"" is not a port`,
		"127.0.0.1:9099-9090": "port range 9099-9090 is empty",
		"127.0.0.1:0-10":      "port range 0-10 is empty",
		"127.0.0.1:9090-":     `"" is not a port`,
		"192.0.2.1:9090":      "listen on 192.0.2.1:9090",
	} {
		if l, err := Listen(addr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Listen(%q) = %v, %v; want an error with %q", addr, l, err, want)
		}
	}
}
